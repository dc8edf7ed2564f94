//! Which groups share their rows, and which thresholds are known beforehand.

use crate::engine::amend::encode_row;
use crate::engine::decode::Decoded;
use crate::engine::lists::Edits;
use crate::engine::rates::Rates;
use crate::engine::rows;
use crate::engine::units::{Action, EventId, Time, Value};
use crate::engine::vm::Basis;
use crate::engine::{Limits, plan::Plan};
use crate::policy::{self, archive};
use crate::token::Tokenizer;

/// By insert of the first event, the place of its row; features are `AGGREGATE by KEY`.
fn places(features: &[&str]) -> Vec<usize> {
    let mut text = "policy rows revision 1\nentity card, device, account\n\
                    event payment { card: card, device: device, account: account, amount: money, open: bool, \
                    remote: bool }\n"
        .to_owned();
    for (number, feature) in features.iter().enumerate() {
        text.push_str(&format!("feature f{number} = {feature} last 1h\n"));
    }
    text.push_str("rule many on payment { when open then score 9 }\n");
    text.push_str("decide payment { score = rule_scores\n review when score >= 70\n unassessed allow }\n");
    let program = policy::compile(&text, &Tokenizer::default()).expect("a policy");
    let loaded = archive::open(archive::seal(&program)).expect("a program");
    let plan = Plan::new(loaded.program(), &Limits::default());
    let event = &plan.events[0];
    let made: Vec<usize> = event.rows.iter().map(|row| row.staged).collect();
    for insert in &event.inserts {
        let row = &event.rows[made.iter().position(|&staged| staged == insert.staged).expect("a row")];
        assert!(row.keys.contains(&insert.key));
    }
    event.inserts.iter().map(|insert| insert.staged).collect()
}

#[test]
fn groups_whose_rows_are_the_same_share_one() {
    let of_key = |key: &str| format!("sum(payment.amount in USD where open) by {key}");
    let features = ["card", "device", "account"].map(of_key);
    assert_eq!(places(&features.each_ref().map(String::as_str)), [0, 0, 0]);
    // Code that computes, keys that are stored, and values of which some are kept.
    for feature in [
        "count(payment where (amount in USD > 20 USD or remote) and not open)",
        "distinct(payment.device)",
        "max(payment.amount in EUR where remote)",
    ] {
        let features = ["card", "account"].map(|key| format!("{feature} by {key}"));
        assert_eq!(places(&features.each_ref().map(String::as_str)), [0, 0], "{feature}");
    }
}

#[test]
fn groups_that_differ_in_anything_do_not() {
    for (one, other) in [
        ("count(payment where open) by card", "count(payment where remote) by device"),
        ("count(payment where open) by card", "count(payment where not open) by device"),
        ("count(payment where open) by card", "count(payment) by device"),
        ("sum(payment.amount in USD) by card", "sum(payment.amount in EUR) by device"),
        ("sum(payment.amount in USD) by card", "count(payment) by device"),
        ("distinct(payment.card) by account", "distinct(payment.device) by card"),
        (
            "count(payment where amount in USD > 5 USD) by card",
            "count(payment where amount in USD > 6 USD) by device",
        ),
        ("count(payment where open or remote) by card", "count(payment where open and remote) by device"),
    ] {
        let places = places(&[one, other]);
        assert!(places[0] != places[1], "{one}, {other}");
    }
}

/// Two bits of one group the other way round than in another.
#[test]
fn the_same_columns_in_another_order_are_another_row() {
    let (open, remote) = ("count(payment where open) by", "count(payment where remote) by");
    let card = [open, remote].map(|count| format!("{count} card"));
    for (device, same) in [([open, remote], true), ([remote, open], false)] {
        let device = device.map(|count| format!("{count} device"));
        let features: Vec<&str> = card.iter().chain(&device).map(String::as_str).collect();
        let places = places(&features);
        assert_eq!(places[0] == places[1], same, "{places:?}");
    }
}

/// Groups of which code tells nothing, something, and something of amendments only: their rows as they are copied, and as they are made.
#[test]
fn a_copied_row_is_the_one_that_would_be_made() {
    let text = "policy rows revision 1\nentity card, device, account\n\
                event payment { card: card, device: device, account: account, amount: money }\n\
                event label amends payment { is_fraud: bool }\n\
                feature first = count(payment) by card last 1h\n\
                feature second = count(payment where label.is_fraud) by device last 1h\n\
                feature third = distinct(payment.card) by account last 1h\n\
                feature fourth = count(payment where not (label is missing)) by card last 1h\n\
                feature fifth = sum(payment.amount in USD) by (card, device) last 1h\n\
                decide payment { score = rule_scores\n unassessed allow }\n";
    let program = policy::compile(text, &Tokenizer::default()).expect("a policy");
    let loaded = archive::open(archive::seal(&program)).expect("a program");
    let program = loaded.program();
    let mut plan = Plan::new(program, &Limits::default());
    let (rates, edits) = (Rates::reserve(program), Edits::none());
    let basis = Basis { program, rates: &rates, edits: &edits };
    let words: Vec<u64> = (1..40_u64).map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let time = Time(1_700_000_000_000_000);
    let mut copied = 0;
    for (number, group) in plan.groups.iter_mut().enumerate() {
        let Some(fixed) = group.fixed_row.take() else { continue };
        let of = &program.groups[number];
        for presence in [0, 1, u64::MAX] {
            let event = Decoded { words: &words, presence, id: EventId([3, 5]), time, target: None };
            let [copied, made] = [Some(fixed.clone()), None].map(|fixed| {
                group.fixed_row = fixed;
                let mut registers = program.fresh_registers();
                registers[..usize::from(program.registers.to_native())].fill(Value::TRUE);
                let mut row = vec![u64::MAX; group.shape.row_words];
                encode_row(basis, of, group, &event, time, &mut registers, &mut row);
                row
            });
            assert_eq!((rows::time_of(made[0]), copied), (time.0, made), "group {number}");
        }
        copied += 1;
    }
    assert!(copied >= 2 && copied < plan.groups.len(), "{copied} of {}", plan.groups.len());
}

/// What thresholds like these come to for these scores.
fn levels(thresholds: &str, scores: [usize; 4]) -> Option<[Action; 4]> {
    let text = format!(
        "policy levels revision 1\nentity card\nevent payment {{ card: card, amount: money, open: bool }}\n\
         feature many = count(payment) by card last 1h\nfeature first on payment = open\nrule one on payment {{ when many > 1 then score 9 }}\n\
         decide payment {{ score = rule_scores\n {thresholds}\n unassessed allow }}\n"
    );
    let program = policy::compile(&text, &Tokenizer::default()).expect("a policy");
    let loaded = archive::open(archive::seal(&program)).expect("a program");
    let plan = Plan::new(loaded.program(), &Limits::default());
    let levels = plan.events[0].decide.as_ref().expect("a decision").levels?;
    Some(scores.map(|score| levels[score]))
}

#[test]
fn thresholds_that_look_at_the_score_alone_are_known_beforehand() {
    use Action::{Block, Challenge, None as Nothing, Review};
    let of = |thresholds| levels(thresholds, [0, 70, 71, 100]);
    assert_eq!(
        of("block when score >= 100, review when score > 70, challenge when score >= 70"),
        Some([Nothing, Challenge, Review, Block])
    );
    assert_eq!(
        of("review when score >= 1 and not (score * 2 == 142)"),
        Some([Nothing, Review, Nothing, Review])
    );
    assert_eq!(of("block when score >= 0"), Some([Block; 4]));
    // What is asked of late events comes after.
    assert_eq!(
        of("block when score > 70\n late after 5ms { allow when amount in USD < 5 USD, else review }"),
        Some([Nothing, Nothing, Block, Block])
    );
    for others in [
        "block when score >= 90, review when many > 3",
        "block when score >= 90, review when first",
        "review when first",
        "review when score >= 70 and amount in USD > 5 USD",
        "review when hour() in \"UTC\" > 3 or score > 70",
    ] {
        assert_eq!(of(others), None, "{others}");
    }
}
