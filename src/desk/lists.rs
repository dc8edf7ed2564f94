//! Lists of the policy that runs: what is in them, and edits.

use super::{Desk, Refused, SECONDS_MAX, Standing, time_text, until};
use crate::engine::list_name;
use crate::engine::lists::Edit;
use crate::engine::orders::{Name, Order};
use crate::engine::program::{ArchivedListPlan, TEXT_WORDS_MAX};
use crate::engine::units::Time;
use crate::engine::units::entries::Entry;
use crate::os::clock;
use crate::policy::entries;
use crate::token::Tokenizer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The most entries of one answer.
const ENTRIES_MAX: usize = 1_000;

/// What is done to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EditWord {
    /// It is in the list, whatever the policy says.
    Add,
    /// It is not.
    Remove,
    /// What the policy says holds again.
    Forget,
}

/// An edit that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListEdit {
    /// The list's name.
    pub list: String,
    /// The entry, as policies write it without quotes.
    pub entry: String,
    /// What is done to it.
    pub edit: EditWord,
    /// Until when: a date (`2026-12-31`, its midnight in UTC) or an instant (`2026-12-31T08:30:00Z`). Without it the edit holds
    /// until it is forgotten.
    #[serde(default)]
    pub until: Option<String>,
    /// Or how long from now, in seconds.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// Who wants it.
    pub owner: String,
    /// Why.
    pub reason: String,
}

/// The edits that were made: by list and entry.
pub(super) type Edits = BTreeMap<(Name, Entry), Standing>;

impl Desk {
    fn list_named(&self, name: &str) -> Result<&ArchivedListPlan, Refused> {
        let program = self.current.program();
        program.lists.iter().find(|list| list.name.as_str() == name).ok_or_else(|| {
            let names = program.lists.iter().map(|list| list.name.as_str());
            let help = crate::policy::nearest(name, names).map_or_else(
                || "lists are declared by the policy: `list NAME of KIND`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            Refused::new(format!("the policy that is running has no list `{name}`"), help)
        })
    }

    /// Makes an edit.
    pub(super) fn edit_list(&mut self, asked: &ListEdit, by: u32) -> Result<Value, Refused> {
        let ListEdit { list, entry: text, edit, until, seconds, owner, reason } = asked;
        let program = self.current.program();
        let plan = self.list_named(list)?;
        let kind = |kind: u16| program.entities[usize::from(kind)].name.as_str();
        let of = plan.of.native();
        let entry = entries::read(of, of.word(kind), text, &Tokenizer::default())
            .map_err(|(message, help)| Refused::new(message, help))?;
        let (edit, until) = match edit {
            EditWord::Add => (Edit::Add, end(until.as_deref(), *seconds)?),
            EditWord::Remove => (Edit::Remove, end(until.as_deref(), *seconds)?),
            EditWord::Forget => (Edit::Forget, Time(0)),
        };
        let order = Order::List { list: list_name(program, plan), entry, edit, until };
        let note = json!({ "list": list, "entry": text, "owner": owner, "reason": reason, "by": by });
        self.order(order, &note)
    }

    /// What is in a list now: entries of the policy that were not removed, then those that were added, from a number on. With
    /// `edits` only the edits, those that remove something too.
    pub(super) fn list(&self, name: &str, edits: bool, from: usize) -> Result<Value, Refused> {
        let program = self.current.program();
        let plan = self.list_named(name)?;
        let list = list_name(program, plan);
        let now = clock::realtime_us();
        let standing: BTreeMap<Entry, &Standing> = self
            .orders
            .edits
            .range((list, FIRST)..)
            .take_while(|((of, _), _)| *of == list)
            .filter(|(_, standing)| until(&standing.order).0 > now)
            .map(|((_, entry), standing)| (*entry, standing))
            .collect();
        let mut told: Vec<Value> = Vec::new();
        let mut after = 0;
        let mut tell = |entry: Value| {
            if after >= from && told.len() <= ENTRIES_MAX {
                told.push(entry);
            }
            after += 1;
        };
        if !edits {
            for part in plan.parts.iter() {
                let size = usize::from(part.words);
                for (at, key) in part.keys.chunks(size).enumerate() {
                    let key: Vec<u64> = key.iter().map(|word| word.to_native()).collect();
                    let until = part.until.get(at).map_or(i64::MAX, |until| until.to_native());
                    if until > now && !standing.contains_key(&Entry::new(part.width, &key)) {
                        let said = part.said.get(at);
                        let [entry, owner, reason] = said.map_or([""; 3], |said| {
                            [said.entry.as_str(), said.owner.as_str(), said.reason.as_str()]
                        });
                        tell(json!({
                            "entry": entry, "until": until_text(until), "owner": owner, "reason": reason, "from": "policy",
                        }));
                    }
                }
            }
        }
        for standing in standing.values() {
            let Order::List { edit, until, .. } = standing.order else { continue };
            if edit == Edit::Add || edits {
                let note: Value = serde_json::from_str(&standing.note).unwrap_or_default();
                tell(json!({
                    "entry": note["entry"], "until": until_text(until.0), "owner": note["owner"], "reason": note["reason"],
                    "from": if edit == Edit::Add { "added" } else { "removed" },
                }));
            }
        }
        let next = (told.len() > ENTRIES_MAX).then_some(from + ENTRIES_MAX);
        told.truncate(ENTRIES_MAX);
        let kind = |kind: u16| program.entities[usize::from(kind)].name.as_str();
        let of = plan.of.native().word(kind);
        Ok(json!({ "ok": true, "list": name, "of": of, "entries": told, "next": next }))
    }
}

/// Before all entries of a list.
const FIRST: Entry = Entry { width: 0, words: [0; TEXT_WORDS_MAX] };

/// An end; nothing where there is none.
pub(super) fn until_text(until: i64) -> Value {
    if until == i64::MAX { Value::Null } else { time_text(Time(until)).into() }
}

/// When an edit ends.
fn end(until: Option<&str>, seconds: Option<u64>) -> Result<Time, Refused> {
    let now = clock::realtime_us();
    let end = match (until, seconds) {
        (Some(_), Some(_)) => return Err(Refused::new("an edit has one end", "say `until` or `seconds`")),
        (None, None) => return Ok(Time(i64::MAX)),
        (None, Some(seconds)) if seconds > 100 * SECONDS_MAX => {
            return Err(Refused::new(
                format!("{seconds} seconds are more than a century"),
                "leave the end out",
            ));
        }
        (None, Some(seconds)) => now + seconds as i64 * 1_000_000,
        (Some(text), None) => entries::instant(text).ok_or_else(|| {
            let help = "write a date, as in 2026-12-31, or an instant, as in 2026-12-31T08:30:00Z";
            Refused::new("this is not a date", help)
        })?,
    };
    if end <= now {
        return Err(Refused::new("this end is past", "to undo an edit, forget it"));
    }
    Ok(Time(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_dates_or_instants_to_come() {
        for (text, expected) in [
            ("2100-01-01", 4_102_444_800),
            ("2100-01-01T01:00", 4_102_448_400),
            ("2100-01-01T01:00:00Z", 4_102_448_400),
            ("2100-01-01T02:00:00+01:00", 4_102_448_400),
        ] {
            assert_eq!(end(Some(text), None).ok(), Some(Time(expected * 1_000_000)), "{text}");
        }
        assert_eq!(end(None, None).ok(), Some(Time(i64::MAX)));
        for (until, seconds) in
            [(Some("tomorrow"), None), (Some("2020-01-01"), None), (None, Some(0)), (None, Some(u64::MAX))]
        {
            assert!(end(until, seconds).is_err(), "{until:?} {seconds:?}");
        }
    }
}
