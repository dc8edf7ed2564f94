//! When events were stored whose own time was not believed.
//!
//! Under [`Clock::Wall`](super::Clock::Wall) an event whose time is further from its receipt than the skew is stored at its
//! receipt. What amends it names it by its own time. So of each such event that amendments can reach it is remembered when it
//! was stored: a row of a tree (tree.rs) in order of own time and tag, one tree for all keys. An amendment looks at a path
//! of it, however many there are.
//!
//! Rows are not taken out one by one. They come in order of the times at which events were stored, in two generations: when
//! all of the older is out of every window's reach it is given up whole, and the newer takes its place. So what is there came
//! within twice the longest reach, and what an amendment finds does not depend on when something was given up.
//!
//! The memory is that for older rows, `spill_bytes_max`. When there is none left, the event is stored without being
//! remembered, and windows that hold it are flagged, because an amendment of it may have been missed.

use super::Counters;
use super::decode::Decoded;
use super::plan::{Group, Plan};
use super::rows::{At, Geometry, Shape, stamp};
use super::spill::Spill;
use super::tally::Lane;
use super::tree::{Branch, Trees};
use super::units::Time;

/// Columns of a row: the stamp of the event's own time, its tag, and when it was stored.
const ROW_WORDS: usize = 3;
const TAG: usize = 1;
const STORED: usize = 2;

/// The number of its rows' group; no other has it.
const NO_GROUP: u16 = u16::MAX;

/// See the module.
pub(super) struct Skewed {
    shape: Shape,
    /// By event kind: whether amendments can change it somewhere.
    amended: Vec<bool>,
    /// The longest reach of a group that amendments can change: what was stored before is in no window any more.
    dead_after: i64,
    newer: Generation,
    older: Generation,
}

struct Generation {
    tree: Branch,
    /// When the last of it was stored.
    until: i64,
}

impl Generation {
    const NONE: Self = Self { tree: Branch::NONE, until: i64::MIN };
}

/// The event of a kind that has this tag and says that it is of this time.
pub(super) fn named(kind: usize, tag: u64, time: Time) -> At {
    At { time: time.0, tag: tag ^ kind as u64 }
}

impl Skewed {
    /// Remembers nothing where nothing is amended.
    pub(super) fn new(plan: &Plan) -> Self {
        let mut skewed = Self::of(NO_GROUP, 0, vec![false; plan.events.len()]);
        skewed.look_at(plan, |_| true);
        skewed
    }

    /// Learns what is amended, looking at these tables.
    pub(super) fn look_at(&mut self, plan: &Plan, is_kept: impl Fn(usize) -> bool) {
        let can_change = |group: &Group| !group.amends.is_empty() && is_kept(group.table);
        let amended = plan.groups.iter().filter(|group| can_change(group));
        self.dead_after = amended.map(|group| group.dead_after).max().unwrap_or(0);
        for (amended, event) in self.amended.iter_mut().zip(&plan.events) {
            *amended = event.inserts.iter().any(|insert| can_change(&plan.groups[insert.group]));
        }
    }

    fn of(group: u16, dead_after: i64, amended: Vec<bool>) -> Self {
        let (row_words, id_column) = (ROW_WORDS, Some(TAG));
        let geometry = Geometry { group, row_words, id_column, record_word: 0, inline_rows: 0 };
        let shape = Shape::new(&geometry, vec![Lane::ALL], 0);
        Self { shape, amended, dead_after, newer: Generation::NONE, older: Generation::NONE }
    }

    /// Goes on as what another remembered, whose form it gets.
    pub(super) fn take_over(&mut self, next: &mut Self) {
        std::mem::swap(&mut self.amended, &mut next.amended);
        std::mem::swap(&mut self.dead_after, &mut next.dead_after);
    }

    /// That of the trees, which only the freeing of what was felled needs to know.
    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Remembers when an event is stored, if amendments would not find it otherwise. Of one that comes again after its answer
    /// was forgotten, the last time. False when there is no memory for that.
    pub(super) fn note(
        &mut self,
        kind: usize,
        event: &Decoded<'_>,
        stored: Time,
        mark: i64,
        spill: &mut Spill,
        counters: &mut Counters,
    ) -> bool {
        if event.time == stored || !self.amended[kind] {
            return true;
        }
        self.add(named(kind, event.id.tag(), event.time), stored.0, mark, spill, counters)
    }

    fn add(&mut self, event: At, stored: i64, mark: i64, spill: &mut Spill, counters: &mut Counters) -> bool {
        self.expire(spill, mark);
        let Self { shape, newer: Generation { tree, until }, .. } = self;
        let again = |words: &mut [u64], capacity: usize, row: usize| {
            words[STORED * capacity + row] = stored as u64;
        };
        let mut trees = Trees { spill, shape, work: 0 };
        let is_noted = trees.change(*tree, event, TAG, &mut { again }) > 0 || {
            let row = [stamp(event.time), event.tag, stored as u64];
            trees.begin(tree) && trees.insert(tree, &row)
        };
        counters.rows_moved += trees.work;
        if is_noted {
            *until = stored;
        }
        is_noted
    }

    /// When the event was stored, if that was not at its own time and is still in some window's reach.
    pub(super) fn find(
        &mut self,
        event: At,
        mark: i64,
        spill: &mut Spill,
        counters: &mut Counters,
    ) -> Option<i64> {
        self.expire(spill, mark);
        let mut stored = None;
        let mut trees = Trees { spill, shape: &self.shape, work: 0 };
        for generation in [&self.newer, &self.older] {
            let tell = |words: &mut [u64], capacity: usize, row: usize| {
                stored = Some(words[STORED * capacity + row] as i64);
            };
            if trees.change(generation.tree, event, TAG, &mut { tell }) > 0 {
                break;
            }
        }
        counters.rows_moved += trees.work;
        stored
    }

    /// Gives the older generation up, when nothing of it is in reach.
    fn expire(&mut self, spill: &mut Spill, mark: i64) {
        if self.older.until <= mark.saturating_sub(self.dead_after) {
            Trees { spill, shape: &self.shape, work: 0 }.fell(self.older.tree);
            self.older = std::mem::replace(&mut self.newer, Generation::NONE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tree::free_felled;
    use crate::engine::units::mix;
    use std::collections::BTreeMap;

    const DEAD_AFTER: i64 = 5_000;

    fn skewed(spill_bytes: u64) -> (Skewed, Spill) {
        let skewed = Skewed::of(7, DEAD_AFTER, Vec::new());
        (skewed, Spill::reserve(spill_bytes).unwrap())
    }

    fn event(tag: u64, time: i64) -> At {
        named(2, tag, Time(time))
    }

    /// What is in reach is found, and most of what is not is given back.
    #[test]
    fn remembers_what_is_in_reach_and_no_more_than_twice_that() {
        let (mut skewed, mut spill) = skewed(1 << 22);
        let mut counters = Counters::default();
        let mut model = BTreeMap::<(i64, u64), i64>::new();
        let (mut now, mut random, mut most) = (10_000, 5, 0);
        for number in 0..60_000 {
            random = mix(random, number);
            // Busy, quiet, and once idle for longer than anything reaches.
            now += if number == 30_000 {
                3 * DEAD_AFTER
            } else {
                (random >> 8) as i64 % (1 << (number / 15_000))
            };
            let time = [3, number as i64, 1 << 50, 60_000 - number as i64][random as usize % 4];
            let event = event(mix(random >> 16 & 0xfff, 1), time);
            assert!(skewed.add(event, now, now, &mut spill, &mut counters));
            model.insert((event.time, event.tag), now);
            model.retain(|_, &mut stored| number % 100 != 0 || stored > now - 3 * DEAD_AFTER);
            let asked = model.iter().nth((random >> 30) as usize % model.len());
            let (&(time, tag), &stored) = asked.unwrap();
            let found = skewed.find(At { time, tag }, now, &mut spill, &mut counters);
            assert!(found == Some(stored) || stored <= now - DEAD_AFTER && found.is_none());
            let other = At { time, tag: tag ^ 1 << 40 };
            assert_eq!(skewed.find(other, now, &mut spill, &mut counters), None);
            while free_felled(&mut spill, |group| (group == 7).then_some(skewed.shape())) {}
            let work = std::mem::take(&mut counters.rows_moved);
            assert!(work < 1_000, "{work}");
            let reach = model.values().filter(|&&stored| stored > now - 2 * DEAD_AFTER - 20).count() as u64;
            most = most.max(reach);
            // A row is 24 bytes, in leaves that are half full at the least, with a node's entry for each.
            assert!(spill.used_bytes() <= 4_000 + reach * 80, "{} for {reach}", spill.used_bytes());
        }
        assert!(most > 5_000);
    }

    #[test]
    fn says_so_when_there_is_no_memory() {
        let (mut skewed, mut spill) = skewed(4_000);
        let mut counters = Counters::default();
        let noted = (0..200).map(|number| {
            let event = event(mix(number as u64, 9), number);
            let is_noted = skewed.add(event, 1_000, 1_000, &mut spill, &mut counters);
            assert_eq!(skewed.find(event, 1_000, &mut spill, &mut counters).is_some(), is_noted);
            is_noted
        });
        let noted = noted.filter(|&is_noted| is_noted).count();
        assert!((64..200).contains(&noted), "{noted}");
    }
}
