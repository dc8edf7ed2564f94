//! Random texts that follow the grammar of the policy language. What they say need not make sense: names are made up, and
//! types do not go together. Lines are as long as they come.

use super::rng::Rng;

/// A policy of some twenty declarations.
pub fn policy(rng: &mut Rng) -> String {
    let mut text = format!("policy p revision {}\n", 1 + rng.below(9));
    for _ in 0..20 {
        text.push_str(&declaration(rng));
        text.push('\n');
    }
    text
}

fn word(rng: &mut Rng) -> String {
    const WORDS: &[&str] = &[
        "a",
        "card",
        "amount",
        "declines_1h",
        "a_very_long_name_of_something_that_is_counted",
        "list",
        "test",
        "sca",
    ];
    (*rng.pick(WORDS)).to_owned()
}

fn several(rng: &mut Rng, most: usize, between: &str, mut one: impl FnMut(&mut Rng) -> String) -> String {
    let parts: Vec<String> = (0..1 + rng.below(most)).map(|_| one(rng)).collect();
    parts.join(between)
}

/// Between two items in braces.
fn separator(rng: &mut Rng) -> &'static str {
    const BETWEEN: &[&str] = &[", ", ",", "\n", ",\n", "\n\n\n", ",\n\n"];
    BETWEEN[rng.below(BETWEEN.len())]
}

fn items(rng: &mut Rng, most: usize, mut one: impl FnMut(&mut Rng) -> String) -> String {
    const ENDS: &[&str] = &["}", " }", "\n}", ",\n}"];
    let mut text = (*rng.pick(&["{", "{ ", "{\n", "{\n\n"])).to_owned();
    for at in 0..1 + rng.below(most) {
        if at > 0 {
            text.push_str(separator(rng));
        }
        text.push_str(&one(rng));
    }
    text.push_str(ENDS[rng.below(ENDS.len())]);
    text
}

fn declaration(rng: &mut Rng) -> String {
    let name = format!("n{}", rng.below(10_000));
    let event = *rng.pick(&["payment", "login"]);
    match rng.below(12) {
        0 => format!("entity {}", several(rng, 12, ",", word)),
        1 => {
            let text = |rng: &mut Rng| format!("\"{}\"", "long words ".repeat(rng.below(6)));
            let items = items(rng, 4, |rng| match rng.below(3) {
                0 => "withhold".to_owned(),
                1 => format!("analyst {}", text(rng)),
                _ => format!("customer {}", text(rng)),
            });
            format!("reason {name} {} {items}", rng.below(100))
        }
        2 => {
            let fields = items(rng, 9, |rng| {
                let ty = match rng.below(3) {
                    0 => format!("enum {}", items(rng, 12, word)),
                    _ => word(rng),
                };
                format!("{}: {ty}{}", word(rng), if rng.percent(30) { "?" } else { "" })
            });
            format!("event {name}{} {fields}", if rng.percent(30) { " amends payment" } else { "" })
        }
        3 => {
            let entries = items(rng, 30, |rng| format!("\"entry-{}\"", rng.below(1_000_000)));
            format!("list {name} of card{}", if rng.percent(70) { entries } else { String::new() })
        }
        4 => format!("let {name} on {event} = {}", expression(rng, 5)),
        5 => format!("feature {name} = {}", aggregate(rng)),
        6 => rule(rng, &format!("{name} on {event}")),
        7 => {
            let condition = expression(rng, 3);
            let rules = several(rng, 3, "\n", |rng| {
                let name = format!("s{}", rng.below(10_000));
                rule(rng, &name)
            });
            format!("scene {name} on {event} when {condition} {{\n{rules}\n}}")
        }
        8 => scorecard(rng, &format!("{name} on {event}")),
        9 => table(rng, &format!("{name} on {event}")),
        10 => format!("table {name} on {event}{} all = \"limits.csv\"", modifiers(rng)),
        _ => {
            let item = |rng: &mut Rng| match rng.below(4) {
                0 => format!("score = {}", expression(rng, 3)),
                1 => "unassessed review".to_owned(),
                2 => {
                    let branches = items(rng, 3, |rng| format!("allow when {}", expression(rng, 3)));
                    format!("late after 500us {branches}")
                }
                _ => format!("block when {}", expression(rng, 4)),
            };
            format!("decide {event} {}", items(rng, 5, item))
        }
    }
}

fn modifiers(rng: &mut Rng) -> &'static str {
    const MODIFIERS: &[&str] =
        &["", "", " mandatory", " monitor salience -3", " effective from 2026-01-31 in \"UTC\""];
    MODIFIERS[rng.below(MODIFIERS.len())]
}

fn effects(rng: &mut Rng) -> String {
    several(rng, 4, ", ", |rng| match rng.below(4) {
        0 => "block".to_owned(),
        1 => format!("score {}", rng.below(101)),
        2 => format!("reason {}", word(rng)),
        _ => format!("allow over {}", several(rng, 8, ", ", |rng| format!("r{}", rng.below(100_000)))),
    })
}

fn scorecard(rng: &mut Rng, head: &str) -> String {
    let points = |rng: &mut Rng| (*rng.pick(&["0", "-5", "- 2.5", "1_000", "12"])).to_owned();
    let inputs = items(rng, 6, |rng| {
        if rng.percent(15) {
            return format!("base {}", points(rng));
        }
        let bins = items(rng, 7, |rng| match rng.below(6) {
            0 => format!("else: {}", points(rng)),
            _ => format!("{}: {}", cell(rng, false), points(rng)),
        });
        format!("{} {bins}", expression(rng, 2))
    });
    format!("scorecard {head} {inputs}")
}

/// Rows end with their lines: a comma would go on with their effects.
fn table(rng: &mut Rng, head: &str) -> String {
    let columns = 1 + rng.below(4);
    let heads: Vec<String> = (0..columns).map(|_| expression(rng, 2)).collect();
    let mut text =
        format!("table {head}{} {} ({}) {{", modifiers(rng), rng.pick(&["first", "all"]), heads.join(", "));
    text += *rng.pick(&["", " ", "\n", "\n\n"]);
    for at in 0..1 + rng.below(9) {
        if at > 0 {
            text += *rng.pick(&["\n", "\n\n", "\n\n\n"]);
        }
        let cells: Vec<String> = (0..columns).map(|_| cell(rng, true)).collect();
        text.push_str(&format!("{} => {}", cells.join("|"), effects(rng)));
    }
    text += *rng.pick(&["}", " }", "\n}"]);
    text
}

fn cell(rng: &mut Rng, any: bool) -> String {
    let constant = |rng: &mut Rng| match rng.below(7) {
        0 => "42".to_owned(),
        1 => "-3".to_owned(),
        2 => "200.50 USD".to_owned(),
        3 => "2026-01-31".to_owned(),
        4 => "24h".to_owned(),
        5 => "true".to_owned(),
        _ => word(rng),
    };
    match rng.below(8) {
        0 if any => "-".to_owned(),
        1 => "missing".to_owned(),
        2 => format!("{{ {} }}", several(rng, 9, ",", constant)),
        3 => format!("{} to {}", constant(rng), constant(rng)),
        4 => format!("{}{}", rng.pick(&["==", "!= ", "<", "<= ", ">", ">="]), constant(rng)),
        _ => constant(rng),
    }
}

fn rule(rng: &mut Rng, head: &str) -> String {
    let (modifiers, effects) = (modifiers(rng), effects(rng));
    format!("rule {head}{modifiers} {{ when {} then {effects} }}", expression(rng, 5))
}

fn aggregate(rng: &mut Rng) -> String {
    let value = expression(rng, 2);
    let filter = if rng.percent(60) { format!(" where {}", expression(rng, 4)) } else { String::new() };
    let by = *rng.pick(&[
        "by card",
        "by (card, merchant)",
        "by account via payment.payer, login.owner, transfer.from",
    ]);
    let frame = *rng.pick(&[
        "last 1h",
        "last 10 events within 30d",
        "this day in \"UTC\" against every 1h delayed 1d",
    ]);
    format!("sum({value}{filter}) {by} {frame}{}", if rng.percent(20) { " assume high" } else { "" })
}

fn expression(rng: &mut Rng, depth: usize) -> String {
    let inner = |rng: &mut Rng| expression(rng, depth - 1);
    if depth == 0 {
        return match rng.below(9) {
            0 => "42".to_owned(),
            1 => "200 USD".to_owned(),
            2 => "900 km/h".to_owned(),
            3 => "5 km".to_owned(),
            4 => "30d".to_owned(),
            5 => format!("payment.{}", word(rng)),
            6 => "true".to_owned(),
            7 => "hour() in \"Europe/Paris\"".to_owned(),
            _ => word(rng),
        };
    }
    match rng.below(12) {
        0 | 1 => several(rng, 5, " and ", inner),
        2 | 3 => several(rng, 4, " or ", inner),
        4 => format!("({})", inner(rng)),
        5 => format!("not ({})", inner(rng)),
        6 => format!("-{}", expression(rng, 0)),
        7 => format!("max({})", several(rng, 4, ",", inner)),
        8 => format!("{} + 3 * {} - - 1", expression(rng, 0), expression(rng, 0)),
        9 => format!("{} is {}missing", word(rng), if rng.percent(50) { "not " } else { "" }),
        10 => format!("{} {} {}", expression(rng, 0), rng.pick(&["==", "!=", "<", ">="]), expression(rng, 0)),
        _ => format!("{} not in {}", word(rng), word(rng)),
    }
}
