//! The alarm about room: what was given up for lack of it, and what will soon have to be.

use std::time::{Duration, Instant};

use crate::stats::Counts;

/// A table or the memory for older events is nearly full when more than so much of it is in use, of a hundred.
const NEARLY_FULL: u64 = 90;
/// And is so no more when it is down to this: in between, as keys come and go, nothing is said.
const ROOMY: u64 = 80;
/// What is lost again and again is told this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What has been said about room.
pub(super) struct Room {
    /// What the tables are called.
    tables: Vec<String>,
    keys: Losses,
    door: Losses,
    rows: Losses,
    bounds: Losses,
    table_full: Full,
    spill_full: Full,
}

/// How much of something was lost when that was last told, and when.
#[derive(Default)]
struct Losses {
    told: u64,
    at: Option<Instant>,
}

impl Losses {
    /// How much was lost since it was last told, if it is time to tell.
    fn look(&mut self, lost: u64, now: Instant) -> Option<u64> {
        let more = lost - self.told;
        if more == 0 || self.at.is_some_and(|at| now - at < TELL_EVERY) {
            return None;
        }
        (self.told, self.at) = (lost, Some(now));
        Some(more)
    }
}

/// What was told to be nearly full, since all had room.
#[derive(Default)]
struct Full(Vec<u64>);

impl Full {
    /// Whether this, the fullest, is nearly full, and was not told to be.
    fn look(&mut self, percent: u64, which: u64) -> bool {
        if percent <= ROOMY {
            self.0.clear();
        }
        let news = percent > NEARLY_FULL && !self.0.contains(&which);
        if news {
            self.0.push(which);
        }
        news
    }
}

impl Room {
    pub(super) fn new(tables: Vec<String>) -> Self {
        let (keys, door, rows, bounds, table_full, spill_full) = Default::default();
        Self { tables, keys, door, rows, bounds, table_full, spill_full }
    }

    /// What to warn of now.
    pub(super) fn look(&mut self, counts: &Counts, now: Instant) -> Vec<String> {
        let &Counts { table_percent, table_fullest, spill_percent, .. } = counts;
        let &Counts { keys_lost, doorkept, rows_lost, shared_told, .. } = counts;
        let mut lines = Vec::new();
        if self.table_full.look(table_percent, table_fullest) {
            let name = self.tables.get(table_fullest as usize).map_or("?", String::as_str);
            lines.push(format!(
                "the table of {name} is {table_percent} % full: raise [engine] keys_max, or new keys will not be kept"
            ));
        }
        if self.spill_full.look(spill_percent, 0) {
            lines.push(format!(
                "the memory for older events is {spill_percent} % full: raise [engine] spill_bytes_max, or the oldest \
                 events of some keys will be given up"
            ));
        }
        if let Some(more) = self.door.look(doorkept, now) {
            lines.push(format!(
                "{more} events of new keys were not kept as a table is nearly full, {doorkept} since start: the verdicts they \
                 touch are flagged inexact; raise [engine] keys_max"
            ));
        }
        if let Some(more) = self.keys.look(keys_lost, now) {
            lines.push(format!(
                "{more} keys could not be kept, {keys_lost} since start: the verdicts they touch are flagged inexact; raise \
                 [engine] keys_max"
            ));
        }
        if let Some(more) = self.rows.look(rows_lost, now) {
            lines.push(format!(
                "{more} events were given up inside a window, {rows_lost} since start: the verdicts they touch are flagged \
                 inexact; raise [engine] {}",
                if spill_percent > NEARLY_FULL { "spill_bytes_max" } else { "rows_per_key_max" }
            ));
        }
        if let Some(more) = self.bounds.look(shared_told, now) {
            lines.push(format!(
                "{more} verdicts were told upper bounds that keys share (assume high), {shared_told} since start: not all events \
                 of their keys were kept; raise [engine] keys_max"
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Room {
        Room::new(vec!["card".into(), "(card, shop)".into()])
    }

    #[test]
    fn a_table_that_is_nearly_full_is_told_once_until_it_has_room() {
        let (mut room, now) = (room(), Instant::now());
        let mut check = |table_percent, table_fullest, expected: &[&str]| {
            let counts = Counts { table_percent, table_fullest, ..Counts::default() };
            let said = room.look(&counts, now);
            let said: Vec<&str> = said.iter().map(|line| line.split(':').next().unwrap()).collect();
            assert_eq!(said, expected, "{table_percent} of {table_fullest}");
        };
        check(90, 0, &[]);
        check(91, 0, &["the table of card is 91 % full"]);
        for percent in [99, 85, 100, 90, 92] {
            check(percent, 0, &[]);
        }
        check(95, 1, &["the table of (card, shop) is 95 % full"]);
        // The two take turns.
        check(96, 0, &[]);
        check(97, 1, &[]);
        check(80, 0, &[]);
        check(91, 0, &["the table of card is 91 % full"]);
    }

    #[test]
    fn the_memory_for_older_events_has_a_line_of_its_own() {
        let (mut room, now) = (room(), Instant::now());
        let counts = Counts { spill_percent: 97, ..Counts::default() };
        let expected = "the memory for older events is 97 % full: raise [engine] spill_bytes_max, or the oldest events of \
                        some keys will be given up";
        assert_eq!(room.look(&counts, now), [expected]);
        assert!(room.look(&counts, now).is_empty());
    }

    #[test]
    fn losses_are_told_at_once_and_then_once_a_minute() {
        let (mut room, start) = (room(), Instant::now());
        let mut look = |keys_lost, rows_lost, spill_percent, seconds| {
            let counts = Counts { keys_lost, rows_lost, spill_percent, ..Counts::default() };
            room.look(&counts, start + Duration::from_secs(seconds))
        };
        assert!(look(0, 0, 0, 0).is_empty());
        assert_eq!(
            look(3, 0, 0, 1),
            [
                "3 keys could not be kept, 3 since start: the verdicts they touch are flagged inexact; raise [engine] keys_max"
            ]
        );
        // Something else that goes wrong does not have to wait.
        assert_eq!(
            look(9, 2, 0, 2),
            [
                "2 events were given up inside a window, 2 since start: the verdicts they touch are flagged inexact; raise \
              [engine] rows_per_key_max"
            ]
        );
        assert!(look(50, 2, 0, 60).is_empty());
        let later = look(51, 2, 0, 61);
        assert_eq!(later.len(), 1);
        assert!(later[0].starts_with("48 keys could not be kept, 51 since start"), "{later:?}");
        assert!(look(51, 2, 0, 500).is_empty(), "nothing new");
        let counts = Counts { keys_lost: 51, rows_lost: 2, doorkept: 4, ..Counts::default() };
        assert_eq!(
            room.look(&counts, start + Duration::from_secs(500)),
            [
                "4 events of new keys were not kept as a table is nearly full, 4 since start: the verdicts they touch are flagged \
                 inexact; raise [engine] keys_max"
            ]
        );
        let mut look = |keys_lost, rows_lost, spill_percent, seconds| {
            let counts = Counts { keys_lost, rows_lost, spill_percent, doorkept: 4, ..Counts::default() };
            room.look(&counts, start + Duration::from_secs(seconds))
        };
        let full = look(51, 9, 91, 500);
        assert!(full.iter().any(|line| line.ends_with("raise [engine] spill_bytes_max")), "{full:?}");

        let counts = Counts { shared_told: 7, ..counts };
        assert_eq!(
            self::room().look(&counts, start).pop().unwrap(),
            "7 verdicts were told upper bounds that keys share (assume high), 7 since start: not all events of their keys \
             were kept; raise [engine] keys_max"
        );
    }
}
