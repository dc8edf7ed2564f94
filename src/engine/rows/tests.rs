//! One model against which all that happens to rows is tested.

use super::*;
use crate::engine::kernel::{self, InRecord, Near, Task, Used};
use crate::engine::plan::Bit;
use crate::engine::program::GROUP_HEADER_WORDS;
use crate::engine::tally::Sum;
use crate::engine::tree::{Edges, free_felled};
use crate::engine::units::mix;

const RECORD_WORD: usize = 3;

struct Model {
    record: Vec<u64>,
    shape: Shape,
    spill: Spill,
    counters: Counters,
    /// (time, tag, value)
    rows: Vec<(i64, u64, u64)>,
    lost: Option<i64>,
    random: u64,
    /// How many times all rows in reach were near, by blocks.
    near: [u32; Near::STORED + 1],
    /// After how many rows the oldest was not the first in the record.
    turned: u32,
}

impl Model {
    fn new(inline_rows: usize, rows_per_key_max: usize, spill_bytes: u64) -> Self {
        let geometry =
            Geometry { group: 0, row_words: 3, id_column: Some(1), record_word: RECORD_WORD, inline_rows };
        let present = Bit { column: 0, bit: 2 };
        let filter = Bit { column: 0, bit: 1 };
        let lanes =
            vec![Lane::ALL, Lane::new(None, Some((2, present))), Lane::new(Some(filter), Some((2, present)))];
        let shape = Shape::new(&geometry, lanes, rows_per_key_max);
        let spill = Spill::reserve(spill_bytes).unwrap();
        let record = vec![0; RECORD_WORD + GROUP_HEADER_WORDS + inline_rows * 3];
        Self {
            record,
            shape,
            spill,
            counters: Counters::default(),
            rows: Vec::new(),
            lost: None,
            random: 7,
            near: [0; Near::STORED + 1],
            turned: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.random = mix(self.random, 1);
        self.random
    }

    fn row(time: i64, tag: u64, value: u64) -> [u64; 3] {
        // Two bits that follow from the value.
        [stamp(time) | (value & 3) << 1, tag, value]
    }

    fn view(&self) -> Rows<'_> {
        Rows { shape: &self.shape, spill: &self.spill, record: Some(&self.record), own: None }
    }

    /// All rows, newest first, as (time, tag, value).
    fn stored(&self, after: i64) -> Vec<(i64, u64, u64)> {
        let mut rows = Vec::new();
        self.view().each_stored((after, i64::MAX), |block| {
            for row in (0..block.count).rev() {
                let value = block.column(2)[row];
                assert_eq!(block.column(0)[row] >> 1 & 3, value & 3, "columns stay together");
                rows.push((block.time(row), block.column(1)[row], value));
            }
            true
        });
        assert!(rows.is_sorted_by(|a, b| (a.0, a.1) >= (b.0, b.1)), "rows are in order");
        rows
    }

    fn insert(&mut self, time: i64, dead: i64) {
        let (tag, value) = (self.next(), self.next() >> 20);
        let lost_before = self.counters.rows_lost;
        let row = Self::row(time, tag, value);
        let mut given_up = Vec::new();
        let note = &mut |_: &[u64], block: &Block<'_>, row: usize| {
            given_up.push((block.time(row), block.column(1)[row], block.column(2)[row]));
        };
        let Self { record, shape, spill, counters, .. } = self;
        if !push(record, shape, &row, dead, counters) {
            place(record, shape, spill, &row, dead, counters, note);
        }
        free_felled(&mut self.spill, |_| Some(&self.shape));
        self.turned += u32::from(Head::of(&self.record, &self.shape).first > 0);
        self.rows.push((time, tag, value));
        self.rows.retain(|&(time, ..)| time > dead);
        self.rows.sort_unstable_by(|a, b| b.cmp(a));
        if self.counters.rows_lost != lost_before {
            let mut alive = self.stored(dead);
            alive.retain(|&(time, ..)| time > dead);
            let lost = self.rows.len() - alive.len();
            assert_eq!(lost as u64, self.counters.rows_lost - lost_before);
            let until = lost_until(&self.record, &self.shape).unwrap();
            let gone: Vec<_> = self.rows.iter().copied().filter(|row| !alive.contains(row)).collect();
            assert!(gone.iter().all(|&(time, ..)| time <= until));
            given_up.sort_unstable_by(|a, b| b.cmp(a));
            assert_eq!(given_up, gone);
            given_up.clear();
            self.rows = alive;
            self.lost = Some(until);
        }
        assert_eq!(given_up, [], "only what is counted");
        assert_eq!(lost_until(&self.record, &self.shape), self.lost);
    }

    fn check(&self, dead: i64) {
        let mut alive = self.stored(dead);
        alive.retain(|&(time, ..)| time > dead);
        alive.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(alive, self.rows, "nothing is lost without being counted");
        assert_eq!(any_alive(&self.record, &self.shape, &self.spill, dead), !alive.is_empty());
        let (after, until) = (last_stamp_of(dead), last_stamp_of(i64::MAX));
        let (block, newest) = self.shape.inline.all_between(&self.record, after, until, InRecord::ROWS_MAX);
        assert_eq!((newest != u64::MAX).then(|| time_of(newest)), self.shape.inline.newest(&self.record));
        if let Some(block) = block {
            let row = |row: usize| (block.time(row), block.column(1)[row], block.column(2)[row]);
            let mut alive: Vec<_> = (0..block.count).map(row).filter(|&(time, ..)| time > dead).collect();
            alive.sort_unstable_by(|a, b| b.cmp(a));
            assert_eq!(alive, self.rows, "all that windows can reach is in the record");
        }
    }

    /// Sums of some segments against plain ones.
    fn check_sums(&mut self, now: i64, dead: i64) {
        let reach = (now - dead).max(1);
        let mut times: Vec<i64> = (0..2 + self.next() % 5)
            .map(|_| {
                let back = (self.next() >> 8) as i64 % reach;
                now - back
            })
            .collect();
        // At a row, and one to either side of it.
        if let Some(&(time, ..)) = self.rows.get(self.random as usize % self.rows.len().max(1)) {
            times.extend([time, (time - 1).max(dead)]);
        }
        times.sort_unstable();
        times.dedup();
        if times.len() < 2 {
            return;
        }
        let used = [0, 1, 2].map(|number| Used {
            lane: self.shape.lanes[number],
            number,
            sum: true,
            least: true,
            greatest: true,
        });
        let kernels = kernel::all();
        let (_, kernel) = kernels[self.random as usize % kernels.len()];
        let mut sums = vec![Sum::EMPTY; (times.len() - 1) * 3];
        let stamps: Vec<u64> = times.iter().map(|&time| last_stamp_of(time)).collect();
        let mut tallied = Tallied {
            kernel,
            edges: Edges { times: &times, stamps: &stamps },
            used: &used,
            sums: &mut sums,
            work: 0,
        };
        self.view().tally(&mut tallied);
        for (segment, pair) in times.windows(2).enumerate() {
            let within = self.rows.iter().filter(|row| pair[0] < row.0 && row.0 <= pair[1]);
            let plain = |counts: &dyn Fn(u64) -> bool| {
                let mut sum = Sum::EMPTY;
                for &(_, _, value) in within.clone().filter(|row| counts(row.2)) {
                    let value = value as i64;
                    sum.add(&Sum { count: 1, sum: i128::from(value), least: value, greatest: value });
                }
                sum
            };
            assert_eq!(sums[segment * 3].count, plain(&|_| true).count);
            assert_eq!(sums[segment * 3 + 1], plain(&|value| value & 2 != 0));
            assert_eq!(sums[segment * 3 + 2], plain(&|value| value & 3 == 3));
        }
        let edges = Edges { times: &times, stamps: &stamps };
        let view = self.view();
        let mut room = Near::room();
        let mut near = Near::new(&mut room);
        if view.near(edges.reach(), times.len(), &mut near) {
            let blocks = near.blocks().len();
            let mut nested = sums.clone();
            let task = Task { edges: &stamps, used: &used };
            kernel::nest(kernel, &task, &near, &mut nested);
            kernel::nest_sums(&mut sums, 3);
            assert!(nested.iter().zip(&sums).all(|(one, other)| one.count == other.count), "{blocks} blocks");
            let of_values = |sums: &[Sum]| sums.iter().skip(1).step_by(3).copied().collect::<Vec<_>>();
            assert_eq!(of_values(&nested), of_values(&sums), "{blocks} blocks");
            self.near[blocks] += 1;
        }
    }
}

/// Times mostly ascend; every tenth row comes late.
fn run(model: &mut Model, rows: u64, retention: i64) {
    let mut now = model.rows.first().map_or(1_000_000, |row| row.0);
    for number in 0..rows {
        now += (model.next() & 15) as i64;
        let late = if model.next() & 15 == 0 { (model.next() & 255) as i64 } else { 0 };
        let dead = now - 256 - retention;
        model.insert(now - late, dead);
        if number % 61 == 0 {
            model.check(dead);
            model.check_sums(now, dead);
        }
    }
}

#[test]
fn holds_exactly_the_rows_that_are_alive() {
    for (inline, retention) in [
        (1, 300),
        (4, 10),
        (4, 500),
        (8, 5_000),
        (64, 40_000),
        (2, 100_000),
        (5, 1 << 40),
        (17, -150),
        (20, -100),
    ] {
        let mut model = Model::new(inline, 1 << 20, 1 << 24);
        run(&mut model, 9_000, retention);
        assert_eq!(model.counters.rows_lost, 0, "{inline} {retention}");
        assert!(retention < 300 || model.counters.promoted > 0);
        // More than that are dropped instead.
        assert!(
            inline > InRecord::ROWS_MAX || retention > 0 || model.turned > 1_000,
            "{inline} {}",
            model.turned
        );
    }
}

/// Busy, quiet, and busy again, so that trees become slabs and slabs trees.
#[test]
fn tiers_change_without_a_trace() {
    let mut model = Model::new(4, 1 << 20, 1 << 24);
    let mut now = 1_000_000;
    for round in 0..60 {
        let step = [1, 40, 2_000, 9, 90_000][round % 5];
        for _ in 0..300 {
            now += (model.next() % step) as i64;
            let late = i64::from(model.next() & 31 == 0) * (model.next() % 900) as i64;
            model.insert(now - late, now - 6_000);
        }
        model.check(now - 6_000);
        model.check_sums(now, now - 6_000);
    }
    assert_eq!(model.counters.rows_lost, 0);
    assert!(model.counters.demoted > 0 && model.turned > 0);
    assert!(model.near[1..].iter().all(|&times| times > 0), "{:?}", model.near);
}

/// All of one time, or late by any amount: chunks are split wherever they are.
#[test]
fn rows_come_in_any_order() {
    for spread in [1_u64, 3, 100, 1 << 30] {
        let mut model = Model::new(4, 1 << 20, 1 << 24);
        for number in 0..6_000 {
            let time = (model.next() % spread) as i64;
            model.insert(time, -1);
            if number % 500 == 0 {
                model.check(-1);
                model.check_sums(spread as i64, -1);
            }
        }
        model.check(-1);
    }
}

#[test]
fn at_the_bound_the_oldest_go_and_are_counted() {
    for (inline, rows_max, spill) in [
        (4, 4, 1 << 20),
        (4, 2, 1 << 20),
        (4, 100, 1 << 20),
        (8, 700, 1 << 20),
        (4, 16_384, 9_000),
        (4, 16_384, 900),
        (4, 16_384, 90_000),
    ] {
        let mut model = Model::new(inline, rows_max, spill);
        run(&mut model, 4_000, 1 << 40);
        assert!(model.counters.rows_lost > 0, "{inline} {rows_max}");
        assert!(model.rows.len() <= rows_max);
    }
}

/// Slabs keep dead rows for a while: these go before any that is alive, whether at the bound or where a late row needs a place.
#[test]
fn the_dead_make_room_first() {
    for (inline, rows_max) in [(4, 60), (7, 64), (8, 70)] {
        let mut model = Model::new(inline, rows_max, 1 << 20);
        run(&mut model, 6_000, 0);
        assert_eq!(model.counters.rows_lost, 0, "{inline} {rows_max}");
        assert!(model.counters.promoted > 3_000, "{}", model.counters.promoted);
        assert!(model.spill.used_bytes() <= 8 * 3 * 64, "one slab");
    }
}

/// Fewer than there is room for, as `rows_per_key_max` says: a ring of some of the places. None of its rows is older than a window.
#[test]
fn a_ring_may_be_smaller_than_its_room() {
    let mut model = Model::new(8, 3, 1 << 20);
    let mut now = 1_000_000;
    for _ in 0..3_000 {
        now += 40 + (model.next() & 15) as i64;
        model.insert(now, now - 100);
        model.check(now - 100);
        model.check_sums(now, now - 100);
    }
    assert!(model.turned > 1_000 && model.counters.rows_lost == 0);
}

#[test]
fn freed_slabs_are_used_again() {
    let mut model = Model::new(4, 16_384, 200_000);
    for _ in 0..40 {
        run(&mut model, 500, 1 << 40);
        release(&model.record, &model.shape, &mut model.spill);
        while free_felled(&mut model.spill, |_| Some(&model.shape)) {}
        model.record.fill(0);
        model.rows.clear();
        assert_eq!(model.spill.used_bytes(), 0);
    }
    assert_eq!(model.counters.rows_lost, 0);
}

#[test]
fn a_row_is_found_by_time_and_tag_wherever_it_moved() {
    let mut model = Model::new(4, 16_384, 1 << 22);
    run(&mut model, 2_000, 1 << 40);
    find_each(&mut model);
    model.check(-1);
    model.check_sums(1_100_000, 900_000);
}

#[test]
fn a_row_of_a_ring_is_found_by_time_and_tag() {
    let mut model = Model::new(7, 16_384, 1 << 22);
    for now in (1_000_000..1_009_000).step_by(100) {
        model.insert(now, now - 600);
        find_each(&mut model);
        model.check(now - 600);
        model.check_sums(now, now - 600);
    }
    assert!(model.turned > 50);
}

/// Changes each row that is alive.
fn find_each(model: &mut Model) {
    let rows = model.rows.clone();
    for (number, (time, tag, value)) in rows.into_iter().enumerate() {
        let Model { record, shape, spill, counters, .. } = model;
        let mut seen = Vec::new();
        let change = |words: &mut [u64], capacity: usize, row: usize| {
            seen.push(words[2 * capacity + row]);
            words[2 * capacity + row] ^= 4;
        };
        let found = change_rows(record, shape, spill, At { time, tag }, counters, change);
        assert_eq!((found, seen), (1, vec![value]));
        for other in [At { time: time + 1, tag }, At { time, tag: tag ^ 1 }] {
            assert_eq!(change_rows(record, shape, spill, other, counters, |_, _, _| {}), 0);
        }
        model.rows[number].2 ^= 4;
    }
}
