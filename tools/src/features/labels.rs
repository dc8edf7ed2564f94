//! What became of events: the newest amendment of each, of the kinds that were asked for.

use super::columns::{self, Feature, Number, Site};
use crate::fault::{Fault, Problem};
use crate::table::{Column, Item, Kind};
use std::collections::HashMap;
use tollgate::engine::units::{EventId, Time};
use tollgate::engine::wire;

/// The most labels that are kept.
const LABELS_MAX: usize = 32 << 20;

/// Labels of events, by kind of amendment.
pub(super) struct Labels {
    kinds: Vec<OfKind>,
}

/// One kind of amendment.
struct OfKind {
    /// Its number on the wire, and its name.
    kind: u16,
    name: String,
    fields: Vec<Feature>,
    /// By id and time of the amended event.
    newest: HashMap<(EventId, Time), Label>,
}

/// The newest amendment of an event.
struct Label {
    /// What makes it the newest: its time, and then its id tag.
    version: (Time, u64),
    seq: u64,
    /// By field.
    items: Box<[Item<'static>]>,
}

impl Labels {
    /// Nothing known yet of these fields of amendments of an event.
    pub(super) fn new(site: &Site<'_>, event: u16, names: &[String]) -> Result<Self, Fault> {
        let mut kinds: Vec<OfKind> = Vec::new();
        for name in names {
            let (kind, fields) = site.label(event, name)?;
            match kinds.iter_mut().find(|known| known.kind == kind) {
                Some(known) => known.fields.extend(fields),
                None => {
                    let name = site.name(kind).to_owned();
                    kinds.push(OfKind { kind, name, fields, newest: HashMap::new() });
                }
            }
        }
        Ok(Self { kinds })
    }

    /// Whether none were asked for.
    pub(super) fn is_none(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Whether this kind of event brings labels.
    pub(super) fn is_of(&self, kind: u16) -> bool {
        self.kinds.iter().any(|known| known.kind == kind)
    }

    /// Their columns: of each kind its fields, then its time and its number in the sequence.
    pub(super) fn shape(&self) -> Vec<Column> {
        let mut columns = Vec::new();
        for kind in &self.kinds {
            columns.extend(kind.fields.iter().map(|field| Column::optional(&field.name, Kind::Real)));
            columns.push(Column::optional(&format!("{}.time", kind.name), Kind::Time));
            columns.push(Column::optional(&format!("{}.seq", kind.name), Kind::Int));
        }
        columns
    }

    /// Their columns of numbers.
    pub(super) fn features(&self) -> impl Iterator<Item = &Feature> {
        self.kinds.iter().flat_map(|kind| &kind.fields)
    }

    /// Takes an amendment of one of the kinds in, which counts if it is newer than what is known of its event.
    pub(super) fn add(&mut self, kind: u16, words: &[u64], seq: u64) -> Result<(), Fault> {
        if self.kinds.iter().map(|known| known.newest.len()).sum::<usize>() >= LABELS_MAX {
            return Err(Problem::new(
                format!("more than {LABELS_MAX} labels are not kept"),
                "export in parts, with --from and --until",
            )
            .at("--labels"));
        }
        let Some(known) = self.kinds.iter_mut().find(|known| known.kind == kind) else { return Ok(()) };
        let version = (wire::event_time(words), wire::event_id(words).tag());
        let target = (wire::target_id(words), wire::target_time(words));
        if known.newest.get(&target).is_none_or(|label| label.version <= version) {
            let items = known.fields.iter().map(|field| match field.number {
                Number::Field(at) => columns::item(at.read(words)),
                Number::Feature { .. } => Item::Missing,
            });
            known.newest.insert(target, Label { version, seq, items: items.collect() });
        }
        Ok(())
    }

    /// Whether anything is known of an event.
    pub(super) fn know(&self, event: (EventId, Time)) -> bool {
        self.kinds.iter().any(|kind| kind.newest.contains_key(&event))
    }

    /// What is known of an event, as values of the columns.
    pub(super) fn items<'a>(&'a self, event: (EventId, Time)) -> impl Iterator<Item = Item<'a>> {
        self.kinds.iter().flat_map(move |kind| {
            let label = kind.newest.get(&event);
            let items = move |field: usize| label.map_or(Item::Missing, |label| label.items[field]);
            let time = label.map_or(Item::Missing, |label| Item::Int(label.version.0.0));
            let seq = label.map_or(Item::Missing, |label| Item::Int(label.seq as i64));
            (0..kind.fields.len()).map(items).chain([time, seq])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate::encode::{self, EventWords};
    use tollgate::engine::units::Currency;
    use tollgate::policy::{Sources, archive};
    use tollgate::token::Tokenizer;

    const POLICY: &str = "policy p revision 1
        entity card
        event payment { card: card, amount: money }
        event label amends payment { is_fraud: bool? }
        event dispute amends payment { lost: money }
        decide payment { score = 0, unassessed allow }";

    /// An event's id and time.
    fn event(number: u64, at: i64) -> (EventId, Time) {
        (EventId([number, 7]), Time(at))
    }

    #[test]
    fn the_newest_amendment_of_each_kind_counts_however_they_come() {
        let sources = Sources::single("p.policy", POLICY);
        let program = sources.compile(&Tokenizer::default()).unwrap();
        let loaded = archive::open(archive::seal(&program)).unwrap();
        let policy = sources.analyse().policy.unwrap();
        let site = Site { program: loaded.program(), policy: &policy };
        let names = ["label.is_fraud".to_owned(), "dispute.lost".to_owned()];
        let (payment, _) = encode::event(site.program, "payment").unwrap();
        let words = |name: &str, (id, time): (EventId, Time), target: (EventId, Time), value: Option<i64>| {
            let (kind, plan) = encode::event(site.program, name).unwrap();
            let mut words = EventWords::new(plan, id, time);
            words.set_target(target.0, target.1);
            match (name, value) {
                ("label", Some(truth)) => {
                    words.set_number(encode::field(plan, "is_fraud").unwrap(), truth);
                }
                (_, Some(minor)) => {
                    let yen = Currency::from_alpha("JPY").unwrap();
                    words.set_money(encode::field(plan, "lost").unwrap(), minor, yen);
                }
                _ => {}
            }
            (kind, words)
        };
        let (one, other) = (event(1, 1000), event(1, 1001));
        // Two labels of one time: the greater tag is the newer.
        let [(low, _), (high, _)] = {
            let mut both = [event(20, 0), event(21, 0)];
            both.sort_by_key(|(id, _)| id.tag());
            both
        };
        let all = [
            words("label", (low, Time(3000)), one, Some(0)),
            words("label", (high, Time(3000)), one, Some(1)),
            words("label", (EventId([22, 0]), Time(2000)), one, Some(0)),
            words("label", (EventId([23, 0]), Time(2000)), other, None),
            words("dispute", (EventId([24, 0]), Time(9000)), one, Some(1250)),
        ];
        let real = |value: f64| Item::Real(value);
        for turn in 0..all.len() {
            let mut labels = Labels::new(&site, payment, &names).unwrap();
            for step in 0..all.len() {
                let index = (turn + step) % all.len();
                let (kind, words) = &all[index];
                assert!(labels.is_of(*kind));
                labels.add(*kind, words.words(), 100 + index as u64).unwrap();
            }
            let told: Vec<_> = labels.items(one).collect();
            let of_label = [real(1.0), Item::Int(3000), Item::Int(101)];
            let of_dispute = [real(1250.0), real(392.0), Item::Int(9000), Item::Int(104)];
            assert_eq!(told, [&of_label[..], &of_dispute].concat(), "{turn}");
            // A label that does not say it is one all the same.
            let told: Vec<_> = labels.items(other).collect();
            assert_eq!(told[..3], [Item::Missing, Item::Int(2000), Item::Int(103)]);
            assert!(told[3..].iter().all(|item| *item == Item::Missing));
            assert!(labels.know(other) && !labels.know(event(2, 1000)));
        }
        assert!(!Labels::new(&site, payment, &names).unwrap().is_of(payment));
    }
}
