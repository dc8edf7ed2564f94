//! Upper bounds for keys without a record: what they have in common is counted together.
//!
//! An event whose key was turned away, or for which the table had no room, leaves its row in *cells* that it shares with
//! other keys, and so does a row that is given up of a key that has a record: one in each of a few rows of cells, by different hashes, as in a count-min sketch. Whatever else is in a
//! cell, the key's own events are, so that each cell is an upper bound, and the least of them the best. What is kept of the
//! key itself is a lower bound.
//!
//! A cell counts by time: it has *levels*, each of which divides time into *panes* of one width and holds the newest few. A
//! window is told from all panes that it overlaps, of the finest level that still reaches back to where it begins: with
//! seven panes to the reach that a level is for, at most two sevenths too many. A pane counts what features of a group that
//! say `assume high` ask for, and no more; without such features there are no cells.
//!
//! # What is bounded
//!
//! Counts, sums and greatest values over ranges of time (`last`, `every`, `this`), with or without a delay. Of a sum the
//! negative values are left out, which can only raise it. A `where` that an amendment can change counts as true. A value
//! that an amendment can change has no bound known at its event's time: such features tell what is kept, as do all others.
//! Rows that are given up of a key that has a record (`rows_lost`) are in cells too.

use super::frames::Frame;
use super::memory::Memory;
use super::plan::{Bit, ColumnOrigin, Group, is_scanned, position_or_push};
use super::program::{
    ArchivedAgg, ArchivedAssume, ArchivedEventPlan, ArchivedFeaturePlan, ArchivedLaneOf, ArchivedLanePlan,
    ArchivedProgram, ArchivedTerm, NONE,
};
use super::rows::Block;
use super::tally::{Lane, Sum, tally};
use super::units::{Value, mix};
use super::windows::Window;
use super::{LimitError, Limits};

/// Rows of cells, each by a hash of its own.
const ROWS: usize = 2;
/// Panes of a level.
const PANES: i64 = 8;
/// Keys of the table for each cell of a row, and bounds on the number of cells.
const KEYS_PER_CELL: u32 = 64;
const CELLS: (u32, u32) = (64, 1 << 16);
/// In the place of the greatest of no values.
const NO_GREATEST: u64 = i64::MIN as u64;

/// What is counted of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    lanes: Vec<Lane>,
    /// By lane: its first word in a pane. Word 0 is the pane's number + 1.
    places: Vec<usize>,
    pane_words: usize,
    /// Widths of panes, the finest level first.
    levels: Vec<i64>,
}

/// A feature of which an upper bound is told.
pub(super) struct Bounded {
    pub(super) feature: usize,
    /// Index into the event's keys.
    pub(super) key: usize,
    pub(super) group: usize,
    pub(super) window: Window,
    agg: ArchivedAgg,
    pub(super) lane: usize,
    den: i64,
}

/// The rows that a feature's bound is made of; `None` where there is no bound.
fn lane(feature: &ArchivedFeaturePlan, term: &ArchivedTerm, group: &Group) -> Option<Lane> {
    if feature.assume != Some(ArchivedAssume::High) || !is_scanned(feature) {
        return None;
    }
    let filter: Option<Bit> = match term.filter.to_native() {
        NONE => None,
        filter => {
            let predicate = group.predicates[usize::from(filter)];
            (!predicate.derived).then_some(predicate.at)
        }
    };
    match feature.agg {
        ArchivedAgg::Count => Some(Lane::new(filter, None)),
        ArchivedAgg::Sum | ArchivedAgg::Max => {
            let column = &group.columns[usize::from(term.value.to_native())];
            (column.origin == ColumnOrigin::Own)
                .then(|| Lane::new(filter, Some((column.column, column.present))))
        }
        _ => None,
    }
}

/// The same of a lane that the program names.
fn planned_lane(plan: &ArchivedLanePlan, group: &Group) -> Option<Lane> {
    let filter = match plan.filter.to_native() {
        NONE => None,
        filter => {
            let predicate = group.predicates[usize::from(filter)];
            (!predicate.derived).then_some(predicate.at)
        }
    };
    match plan.of {
        ArchivedLaneOf::Rows => Some(Lane::new(filter, None)),
        ArchivedLaneOf::Sums(column) => {
            let column = &group.columns[usize::from(column.to_native())];
            (column.origin == ColumnOrigin::Own)
                .then(|| Lane::new(filter, Some((column.column, column.present))))
        }
        _ => None,
    }
}

impl Form {
    /// Of group `number`; of no lanes where nothing is bounded.
    pub(super) fn new(program: &ArchivedProgram, number: usize, group: &Group, limits: &Limits) -> Self {
        let plan = &program.groups[number];
        let mut lanes = Vec::new();
        for bounded in plan.bounded.iter() {
            let lane = match bounded.to_native() {
                NONE => Some(Lane::ALL),
                lane => planned_lane(&plan.lanes[usize::from(lane)], group),
            };
            if let Some(lane) = lane {
                position_or_push(&mut lanes, lane);
            }
        }
        let reaches = match lanes.is_empty() {
            true => Vec::new(),
            false => plan.bounded_reaches.iter().map(|reach| reach.to_native()).collect(),
        };
        let mut pane_words = 1;
        let place = |lane: &Lane| {
            pane_words += if lane.is_of_values() { 2 } else { 1 };
            pane_words - if lane.is_of_values() { 2 } else { 1 }
        };
        let places = lanes.iter().map(place).collect();
        Self { lanes, places, pane_words, levels: levels(reaches, limits.lateness_us) }
    }

    fn level_words(&self) -> usize {
        self.pane_words * PANES as usize
    }

    fn cell_words(&self) -> usize {
        self.level_words() * self.levels.len()
    }
}

/// Widths of panes, the least first, so that each reach is covered by one that is not twice as long: the longest also where
/// an event comes late.
fn levels(mut reaches: Vec<i64>, lateness: i64) -> Vec<i64> {
    reaches.sort_unstable();
    let Some(&longest) = reaches.last() else { return Vec::new() };
    let width = |reach: i64| (reach / (PANES - 1) + 1).max(1);
    let mut levels = vec![width(longest.saturating_add(lateness))];
    let mut covered = longest;
    for &reach in reaches.iter().rev() {
        if reach <= covered / 2 {
            covered = reach;
            levels.push(width(reach));
        }
    }
    levels.reverse();
    levels
}

/// The features of an event that are bounded.
pub(super) fn bounded(
    program: &ArchivedProgram,
    event: &ArchivedEventPlan,
    groups: &[Group],
    forms: &[Form],
) -> Vec<Bounded> {
    let bounded = |using: &super::program::ArchivedFeatureUse| {
        let number = usize::from(using.feature.to_native());
        let feature = &program.features[number];
        let term = feature.terms.first()?;
        let group = usize::from(term.group.to_native());
        let lane = lane(feature, term, &groups[group])?;
        Some(Bounded {
            feature: number,
            key: usize::from(using.key.to_native()),
            group,
            window: Window { frame: Frame::new(&feature.frame), delay: feature.delay_us.to_native() },
            agg: feature.agg,
            lane: forms[group].lanes.iter().position(|known| *known == lane)?,
            den: match term.value.to_native() {
                NONE => 1,
                value => groups[group].columns[usize::from(value)].den,
            },
        })
    };
    event.windows.iter().filter_map(bounded).collect()
}

impl Bounded {
    /// What is told of a feature of which `kept` is kept, and whose other events are within `bound`.
    pub(super) fn raise(&self, kept: Value, bound: &Bound) -> Value {
        let plus = |more: u64| i64::try_from(i128::from(kept.num) + i128::from(more)).unwrap_or(i64::MAX);
        match self.agg {
            ArchivedAgg::Count => Value::int(plus(bound.count)),
            // Too large already.
            ArchivedAgg::Sum if kept.is_missing() => kept,
            ArchivedAgg::Sum => Value::ratio(plus(bound.sum), self.den),
            ArchivedAgg::Max => match bound.greatest {
                Some(greatest) if kept.is_missing() || greatest > kept.num => {
                    Value::ratio(greatest, self.den)
                }
                _ => kept,
            },
            _ => kept,
        }
    }
}

/// What a lane comes to at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    count: u64,
    /// Of positive values.
    sum: u64,
    greatest: Option<i64>,
}

impl Bound {
    fn least(self, other: Self) -> Self {
        Self {
            count: self.count.min(other.count),
            sum: self.sum.min(other.sum),
            // None is less than some.
            greatest: self.greatest.min(other.greatest),
        }
    }
}

/// The cells of one group.
pub(super) struct Shared {
    words: Memory,
    /// Of one row.
    cells: usize,
    seed: u64,
}

impl Shared {
    fn cells_for(keys_max: u32) -> usize {
        (keys_max / KEYS_PER_CELL).clamp(CELLS.0, CELLS.1) as usize
    }

    /// What [`reserve`](Self::reserve) takes.
    pub(super) fn bytes_for(form: &Form, keys_max: u32) -> u64 {
        match form.lanes.is_empty() {
            true => 0,
            false => Memory::bytes_for((ROWS * Self::cells_for(keys_max) * form.cell_words()) as u64),
        }
    }

    /// Nothing where nothing is bounded.
    pub(super) fn reserve(form: &Form, limits: &Limits) -> Result<Option<Self>, LimitError> {
        if form.lanes.is_empty() {
            return Ok(None);
        }
        let cells = Self::cells_for(limits.keys_max);
        let words = Memory::reserve(ROWS * cells * form.cell_words(), "upper bounds that keys share")?;
        Ok(Some(Self { words, cells, seed: mix(limits.hash_seed, 0x7368_6172_6564_2063) }))
    }

    /// All cells.
    pub(super) fn block(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Bytes of all cells.
    pub(super) fn bytes(&self) -> u64 {
        8 * self.words.len() as u64
    }

    /// First word of the cell of a key, given by its hash, in a row.
    fn cell(&self, form: &Form, row: usize, hash: u64) -> usize {
        let hash = mix(hash, self.seed.wrapping_add(row as u64));
        let cell = ((u128::from(hash) * self.cells as u128) >> 64) as usize;
        (row * self.cells + cell) * form.cell_words()
    }

    /// Adds a row of a key that is not kept: one of a block, and which; `newest` is the latest time of any event.
    pub(super) fn add(&mut self, form: &Form, hash: u64, (block, row): (&Block<'_>, usize), newest: i64) {
        let time = block.time(row);
        for number in 0..ROWS {
            let cell = self.cell(form, number, hash);
            for (level, &width) in form.levels.iter().enumerate() {
                let pane = time.div_euclid(width);
                // A coarser level reaches further back.
                if pane > newest.div_euclid(width) - PANES {
                    let start = cell + level * form.level_words() + pane_place(form, pane);
                    add_to_pane(form, &mut self.words[start..start + form.pane_words], pane, (block, row));
                }
            }
        }
    }

    /// The most that a key's events in (after, until] which were added can come to in a lane.
    pub(super) fn bound(
        &self,
        form: &Form,
        hash: u64,
        lane: usize,
        (after, until): (i64, i64),
        newest: i64,
    ) -> Bound {
        let reaches = |width: i64| (after + 1).div_euclid(width) > newest.div_euclid(width) - PANES;
        let coarsest = form.levels.len() - 1;
        let level = form.levels.iter().position(|&width| reaches(width)).unwrap_or(coarsest);
        let width = form.levels[level];
        let panes = (after + 1).div_euclid(width)..=until.div_euclid(width);
        let of_row = |number: usize| {
            let start = self.cell(form, number, hash) + level * form.level_words();
            let words = &self.words[start..start + form.level_words()];
            bound_of_level(form, words, lane, |pane| panes.contains(&pane))
        };
        (1..ROWS).fold(of_row(0), |bound, number| bound.least(of_row(number)))
    }
}

fn pane_place(form: &Form, pane: i64) -> usize {
    pane.rem_euclid(PANES) as usize * form.pane_words
}

fn add_to_pane(form: &Form, words: &mut [u64], pane: i64, (block, row): (&Block<'_>, usize)) {
    let lanes = || form.lanes.iter().zip(&form.places);
    if words[0] != pane as u64 + 1 {
        words.fill(0);
        words[0] = pane as u64 + 1;
        for (_, &place) in lanes().filter(|(lane, _)| lane.is_of_values()) {
            words[place + 1] = NO_GREATEST;
        }
    }
    for (lane, &place) in lanes() {
        let mut own = Sum::EMPTY;
        tally(block, row..row + 1, lane, &mut own);
        if own.count == 0 {
            continue;
        }
        if !lane.is_of_values() {
            words[place] += 1;
            continue;
        }
        words[place] = words[place].saturating_add(own.greatest.max(0) as u64);
        // One more than the least number, which stands for none.
        let greatest = own.greatest.max(i64::MIN + 1);
        words[place + 1] = (words[place + 1] as i64).max(greatest) as u64;
    }
}

fn bound_of_level(form: &Form, words: &[u64], lane: usize, wanted: impl Fn(i64) -> bool) -> Bound {
    let place = form.places[lane];
    let mut bound = Bound { count: 0, sum: 0, greatest: None };
    for pane in words.chunks_exact(form.pane_words) {
        if pane[0] == 0 || !wanted(pane[0] as i64 - 1) {
            continue;
        }
        if !form.lanes[lane].is_of_values() {
            bound.count += pane[place];
            continue;
        }
        bound.sum = bound.sum.saturating_add(pane[place]);
        if pane[place + 1] != NO_GREATEST {
            bound.greatest = bound.greatest.max(Some(pane[place + 1] as i64));
        }
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rows::stamp;

    /// Counts all, and adds up the value in column 1 of rows that have bit 0.
    fn form(reaches: Vec<i64>, lateness: i64) -> Form {
        let lanes = vec![Lane::ALL, Lane::new(None, Some((1, Bit { column: 0, bit: 0 })))];
        Form { lanes, places: vec![1, 2], pane_words: 4, levels: levels(reaches, lateness) }
    }

    #[test]
    fn levels_cover_each_reach_and_are_few() {
        assert_eq!(levels(vec![], 5), [0_i64; 0]);
        assert_eq!(levels(vec![70], 0), [11]);
        assert_eq!(levels(vec![700, 60, 700, 70, 340], 7), [11, 49, 102]);
    }

    /// Events of many keys in disorder, some of them late: for each key and window the bound is not below its own, nor
    /// below a direct sum of its own cell, and above that by no more than the panes are wide.
    #[test]
    fn no_bound_is_below_the_truth() {
        const LATENESS: i64 = 500;
        let mut random = 3_u64;
        let mut next = move |below: u64| {
            random = mix(random, 11);
            random % below
        };
        for reaches in [vec![1_000], vec![100, 1_000, 50_000]] {
            let longest = *reaches.iter().max().unwrap();
            let form = form(reaches.clone(), LATENESS);
            let limits = Limits { keys_max: 1, ..Limits::default() };
            let mut shared = Shared::reserve(&form, &limits).unwrap().unwrap();
            let mut added: Vec<(u64, i64, Option<i64>)> = Vec::new();
            let (mut newest, mut tight) = (0_i64, 0);
            for _ in 0..20_000 {
                newest += [0, 1, 5, 40, 900][next(5) as usize];
                let time = (newest - [0, 0, 3, LATENESS][next(4) as usize]).max(0);
                let key = mix(next(300), 5);
                let value = (next(5) > 0).then(|| next(2_000) as i64 - 500);
                let row = [stamp(time) | u64::from(value.is_some()), value.unwrap_or(0) as u64];
                shared.add(&form, key, (&Block::of_row(&row), 0), newest);
                added.push((key, time, value));
                let t = (newest - [0, 0, 0, LATENESS][next(4) as usize]).max(0);
                let reach = reaches[next(reaches.len() as u64) as usize];
                let delay = next(reach as u64) as i64 / 2;
                let (after, until) = (t - reach, t - delay);
                let (counted, summed) = (
                    shared.bound(&form, key, 0, (after, until), newest),
                    shared.bound(&form, key, 1, (after, until), newest),
                );
                let own = added.iter().rev().take_while(|row| row.1 > newest - 3 * (longest + LATENESS));
                let own: Vec<_> = own.filter(|row| row.0 == key).collect();
                let inside = |time: i64| after < time && time <= until;
                let values = || own.iter().filter(|row| inside(row.1)).filter_map(|row| row.2);
                let count = own.iter().filter(|row| inside(row.1)).count() as u64;
                assert!(counted.count >= count);
                assert!(summed.sum >= values().map(|value| value.max(0) as u64).sum());
                assert!(summed.greatest >= values().max());
                let wide = form.levels.iter().find(|&&width| (PANES - 1) * width > reach).unwrap();
                let around = own.iter().filter(|row| after - wide < row.1 && row.1 <= until + wide).count();
                tight += u64::from(counted.count <= around as u64);
            }
            assert!(tight > 1_000, "{tight}");
        }
    }

    #[test]
    fn what_is_told_is_raised_and_never_lowered() {
        let raise = |agg, kept, bound| {
            let window = Window { frame: Frame::Last { span: 1 }, delay: 0 };
            Bounded { feature: 0, key: 0, group: 0, window, agg, lane: 0, den: 100 }.raise(kept, &bound)
        };
        let bound = |count, sum, greatest| Bound { count, sum, greatest };
        let money = |minor| Value::ratio(minor, 100);
        assert_eq!(raise(ArchivedAgg::Count, Value::int(2), bound(5, 0, None)), Value::int(7));
        assert_eq!(raise(ArchivedAgg::Sum, money(-4), bound(5, 9, None)), money(5));
        assert_eq!(raise(ArchivedAgg::Sum, money(4), bound(5, u64::MAX, None)), money(i64::MAX));
        assert_eq!(raise(ArchivedAgg::Sum, Value::MISSING, bound(5, 9, None)), Value::MISSING);
        assert_eq!(raise(ArchivedAgg::Max, money(4), bound(5, 9, Some(3))), money(4));
        assert_eq!(raise(ArchivedAgg::Max, money(4), bound(5, 9, Some(7))), money(7));
        assert_eq!(raise(ArchivedAgg::Max, Value::MISSING, bound(5, 9, Some(-7))), money(-7));
        assert_eq!(raise(ArchivedAgg::Max, money(4), bound(0, 0, None)), money(4));
    }
}
