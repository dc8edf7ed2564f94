//! Policies with many rules, and events for which as many fire as asked.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use tollgate::encode::{self, EventWords};
use tollgate::engine::Loaded;
use tollgate::engine::units::{Currency, EventId, Key, Time, Value, mix};
use tollgate::policy::{self, archive};
use tollgate::token::Tokenizer;

use super::EVENTS;
use super::rules::{FEATURES, Number, Operands, RULES, fired};

const START: i64 = 1_522_540_800_000_000;
/// Tries for each event that is kept.
const TRIES: u64 = 20_000;
/// Features of [`Many`].
const FEATURES_MANY: u32 = 200;
const DEVICES: u64 = 40;
const SHOPS: u64 = 60;

pub(super) fn compile(text: &str) -> Result<Loaded> {
    let program = policy::compile(text, &Tokenizer::default())
        .map_err(|mistakes| anyhow!("the policy of the measurement does not compile: {mistakes:?}"))?;
    archive::open(archive::seal(&program)).context("the policy of the measurement does not open")
}

/// Numbers from a count: the same for every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 += 1;
        mix(self.0, 0x9e37_79b9_7f4a_7c15) % end
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A policy with the hundred rules.
pub(super) fn hundred() -> Result<Loaded> {
    let mut text = "policy hundred revision 1\nentity card, device, merchant, address\n".to_owned();
    text.push_str(
        "event payment { card: card, device: device?, merchant: merchant, address: address?, amount: money, ",
    );
    text.push_str(
        "channel: enum { pos, ecom, atm, moto, wallet }, entry: enum { chip, tap, stripe, keyed, token }, ",
    );
    text.push_str("attempts: int?, account_days: int? }\n");
    for (list, entity, keys) in [("bad_devices", "device", DEVICES), ("risky_shops", "merchant", SHOPS)] {
        let keys: Vec<String> = (0..keys).map(|key| format!("\"{entity}{key}\"")).collect();
        let _ = writeln!(text, "list {list} of {entity} {{ {} }}", keys.join(", "));
    }
    text.push_str("let large on payment = amount in USD > 500 USD and channel == ecom\n");
    for name in FEATURES {
        let (what, last) = name.rsplit_once('_').context("a feature's name has its window")?;
        let (aggregate, by) = match what {
            "card" | "device" | "merchant" | "address" => ("count(payment)", what),
            "declines" => ("count(payment where attempts >= 3)", "card"),
            "shops" => ("distinct(payment.merchant)", "card"),
            "cards_of_device" => ("distinct(payment.card)", "device"),
            "cards_of_address" => ("distinct(payment.card)", "address"),
            "spent" => ("sum(payment.amount in USD)", "card"),
            "top" => ("max(payment.amount in USD)", "card"),
            _ => ("sum(payment.amount in USD)", "device"),
        };
        let _ = writeln!(text, "feature {name} = {aggregate} by {by} last {last}");
    }
    for (number, rule) in RULES.iter().enumerate() {
        // A condition over features is no `let`.
        let rule = rule.replace("fresh", "(account_days < 10 or card_7d < 2)");
        let _ = writeln!(text, "rule r{number} on payment {{ when {rule} then score 50 }}");
    }
    text.push_str("decide payment { score = rule_scores, review when score >= 70, unassessed allow }\n");
    compile(&text)
}

/// One event of the hundred rules or of many.
pub(super) struct Event {
    pub(super) operands: Operands,
    pub(super) features: Vec<Value>,
    pub(super) words: EventWords,
}

/// Events for which about so many of the hundred rules fire.
pub(super) struct Case {
    pub(super) kind: u16,
    pub(super) events: Vec<Event>,
    pub(super) fired_mean: f64,
}

impl Case {
    pub(super) fn with(loaded: &Loaded, firing: usize) -> Result<Self> {
        ensure!(RULES.len() == 100, "{} rules are not a hundred", RULES.len());
        let program = loaded.program();
        let (kind, plan) = encode::event(program, "payment").context("no payment in the policy")?;
        let list = |name: &str| -> Result<Arc<[[u64; 2]]>> {
            let list = program.lists.iter().find(|list| list.name.as_str() == name);
            let keys = &list.and_then(|list| list.parts.first()).context("no such list")?.keys;
            Ok(keys.chunks(2).map(|key| [key[0].to_native(), key[1].to_native()]).collect())
        };
        let (bad_devices, risky_shops) = (list("bad_devices")?, list("risky_shops")?);
        let field = |name| encode::field(plan, name).with_context(|| format!("no {name} in a payment"));
        let usd = Currency::from_alpha("USD").context("there is no USD")?;
        let tokenizer = Tokenizer::default();
        let key = |entity: &str, number: u64| {
            tokenizer.key(entity, &format!("{entity}{number}")).map_err(|error| anyhow!("{error:?}"))
        };
        // A key in ten is listed.
        let key_sets = [("device", DEVICES), ("merchant", SHOPS)].map(|(entity, listed)| {
            (0..10 * listed).map(|number| key(entity, number)).collect::<Result<Vec<Key>>>()
        });
        let [devices, shops] = key_sets;
        let (devices, shops) = (devices?, shops?);
        let mut dice = Dice((firing as u64) << 40);
        let (mut events, mut count) = (Vec::with_capacity(EVENTS), 0);
        for _ in 0..EVENTS as u64 * TRIES {
            if events.len() == EVENTS {
                break;
            }
            // How suspicious the payment is, in percent.
            let heat = dice.below(if firing > 20 { 260 } else { 110 });
            let mut operands = Operands {
                bad_devices: bad_devices.clone(),
                risky_shops: risky_shops.clone(),
                merchant: shops[dice.below(shops.len() as u64) as usize].0,
                ..Operands::default()
            };
            for (name, feature) in FEATURES.iter().zip(operands.features_mut()) {
                let most = match *name {
                    _ if name.starts_with("spent") || name.starts_with("device_spent") => 300_000,
                    _ if name.starts_with("top") => 150_000,
                    _ if name.starts_with("merchant") => 200,
                    _ if name.ends_with("7d") => 24,
                    _ if name.ends_with("1d") => 12,
                    _ => 5,
                };
                // An extreme of nothing is missing.
                if !name.starts_with("top") || dice.percent(80) {
                    *feature = Number::of(dice.below(1 + most * heat / 100) as i64);
                }
            }
            operands.amount = Number::of(500 + dice.below(1 + 1_000 * heat) as i64);
            operands.channel = Number::of(dice.below(5) as i64);
            operands.entry = Number::of(dice.below(5) as i64);
            if dice.percent(60) {
                operands.attempts = Number::of(dice.below(1 + heat / 20) as i64);
            }
            if dice.percent(80) {
                operands.account_days = Number::of(dice.below(10 + 20_000 / (10 + heat)) as i64);
            }
            operands.device = dice.percent(75).then(|| devices[dice.below(devices.len() as u64) as usize].0);
            let found = fired(&operands).count_ones() as usize;
            if found.abs_diff(firing) > firing / 5 {
                continue;
            }
            count += found;
            let number = events.len() as u64;
            let mut words = EventWords::new(plan, EventId([number, 1]), Time(START + number as i64));
            words.set_key(field("card")?, Key([number, 2]));
            words.set_key(field("merchant")?, Key(operands.merchant));
            if let Some(device) = operands.device {
                words.set_key(field("device")?, Key(device));
            }
            words.set_money(field("amount")?, operands.amount.value, usd);
            let numbers = [
                ("channel", operands.channel),
                ("entry", operands.entry),
                ("attempts", operands.attempts),
                ("account_days", operands.account_days),
            ];
            for (name, number) in numbers.into_iter().filter(|(_, number)| number.there) {
                words.set_number(field(name)?, number.value);
            }
            let value = |number: Number| if number.there { Value::int(number.value) } else { Value::MISSING };
            let features = operands.features().into_iter().map(value).collect();
            events.push(Event { operands, features, words });
        }
        ensure!(events.len() == EVENTS, "only {} events fire about {firing} rules", events.len());
        Ok(Self { kind, events, fired_mean: count as f64 / EVENTS as f64 })
    }
}

/// So many rules over [`FEATURES_MANY`] features.
pub(super) struct Many {
    pub(super) loaded: Loaded,
    pub(super) kind: u16,
    pub(super) events: Vec<Event>,
}

pub(super) fn many_text(rules: u32) -> String {
    let mut text = "policy many revision 1\nentity card, device\n".to_owned();
    text.push_str("event payment { card: card, device: device, amount: money, tries: int?, ");
    text.push_str("channel: enum { pos, ecom, atm, moto, wallet } }\n");
    for feature in 0..FEATURES_MANY {
        let by = ["card", "device"][feature as usize % 2];
        let of = ["count(payment)", "sum(payment.amount in USD)"][feature as usize / 2 % 2];
        let _ = writeln!(text, "feature f{feature} = {of} by {by} last {}h", 1 + feature / 4);
    }
    let mut dice = Dice(1 << 50);
    for rule in 0..rules {
        let _ = write!(text, "rule r{rule} on payment {{ when ");
        for condition in 0..2 + dice.below(3) {
            if condition > 0 {
                text.push_str(" and ");
            }
            let feature = dice.below(u64::from(FEATURES_MANY));
            let _ = match dice.below(10) {
                0 => write!(text, "amount in USD > {} USD", 10 * (1 + dice.below(200))),
                1 => {
                    write!(
                        text,
                        "channel == {}",
                        ["pos", "ecom", "atm", "moto", "wallet"][dice.below(5) as usize]
                    )
                }
                2 => write!(text, "tries >= {}", 1 + dice.below(5)),
                _ if (feature / 2).is_multiple_of(2) => write!(text, "f{feature} >= {}", 2 + dice.below(40)),
                _ => write!(text, "f{feature} > {} USD", 50 * (1 + dice.below(60))),
            };
        }
        text.push_str(" then score 10 }\n");
    }
    text.push_str("decide payment { score = rule_scores, review when score >= 70, unassessed allow }\n");
    text
}

impl Many {
    pub(super) fn of(rules: u32) -> Result<Self> {
        let loaded = compile(&many_text(rules))?;
        let (kind, plan) = encode::event(loaded.program(), "payment").context("no payment in the policy")?;
        let field = |name| encode::field(plan, name).with_context(|| format!("no {name} in a payment"));
        let usd = Currency::from_alpha("USD").context("there is no USD")?;
        let mut dice = Dice(1 << 51);
        let mut events = Vec::with_capacity(EVENTS);
        for number in 0..EVENTS as u64 {
            let mut words = EventWords::new(plan, EventId([number, 1]), Time(START + number as i64));
            words.set_key(field("card")?, Key([number, 2]));
            words.set_key(field("device")?, Key([number, 3]));
            words.set_money(field("amount")?, 100 + dice.below(50_000) as i64, usd);
            words.set_number(field("channel")?, dice.below(5) as i64);
            if dice.percent(60) {
                words.set_number(field("tries")?, dice.below(4) as i64);
            }
            // Most payments are of keys that little is known of.
            let features = (0..FEATURES_MANY).map(|feature| {
                let most = if (feature / 2).is_multiple_of(2) { 8 } else { 60_000 };
                Value::int(dice.below(1 + most) as i64)
            });
            let features = features.collect();
            events.push(Event { operands: Operands::default(), features, words });
        }
        Ok(Self { kind, events, loaded })
    }
}
