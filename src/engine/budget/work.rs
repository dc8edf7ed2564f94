//! What one decision may have to look at, at the most.
//!
//! The bounds on trees rest on what `tree.rs` says of them: leaves are split when full and not before, and so are nodes, so
//! that but for those at the newest end all are at least half full; the oldest leaf goes whole.

use super::{GroupBudget, LEAF_ROWS};
use crate::engine::frames::Frame;
use crate::engine::gather::Gather;
use crate::engine::plan::{Event, Plan};
use crate::engine::sketch::Sketch;
use crate::engine::tree::FANOUT;
use crate::engine::windows::{Scan, WindowSet};

/// How a feature is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the judged event alone.
    Event,
    /// In a pass over the rows that it shares with all other scanned features of the same key and kind of event.
    Scanned,
    /// Row by row, by itself.
    Gathered,
    /// The newest rows by itself, one by one; how many there are beyond these, from what trees keep.
    Sketched,
}

impl Way {
    /// In a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Scanned => "scanned",
            Self::Gathered => "gathered",
            Self::Sketched => "sketched",
        }
    }
}

/// The most that is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Rows.
    pub rows: u64,
    /// Entries of trees' nodes.
    pub entries: u64,
    /// Words of both.
    pub words: u64,
}

impl Work {
    fn new(group: &GroupBudget, rows: u64, entries: u64) -> Self {
        let words = rows.saturating_mul(group.row_bytes / 8);
        let words = words.saturating_add(entries.saturating_mul(group.entry_bytes / 8));
        Self { rows, entries, words }
    }

    /// Both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(other.rows),
            entries: self.entries.saturating_add(other.entries),
            words: self.words.saturating_add(other.words),
        }
    }
}

const HALF_LEAF: u64 = LEAF_ROWS as u64 / 2;
const HALF_NODE: u64 = FANOUT as u64 / 2;

/// The most leaves of a tree with so many rows: the newest may have one row, and an older one that went on from it too.
pub(super) fn leaves_max(rows: u64) -> u64 {
    rows / HALF_LEAF + 2
}

/// The most nodes of a tree with so many rows: on each level those at both ends may have few children.
pub(super) fn nodes_max(rows: u64) -> u64 {
    let mut below = leaves_max(rows);
    (0..levels_max(rows)).fold(0, |nodes, _| {
        below = below / HALF_NODE + 2;
        nodes + below
    })
}

/// The most levels of nodes over so many rows. A level is added when a root is full: then all leaves below it but those at
/// its two ends are half full, and all nodes.
pub(super) fn levels_max(rows: u64) -> u64 {
    if rows <= LEAF_ROWS as u64 {
        return 0;
    }
    let mut rows_below_full = (FANOUT as u64 - 2) * HALF_LEAF;
    let mut levels = 1;
    while rows_below_full < rows {
        levels += 1;
        rows_below_full *= HALF_NODE;
    }
    levels
}

/// Of a pass that adds up by segment: the ends of windows each lead down one path, and what is between is an entry.
fn of_sums(group: &GroupBudget, set: &WindowSet) -> Work {
    let edges = match set.is_fixed() {
        true => set.spans.len() + 1,
        false => 2 * set.windows.len(),
    };
    of_edges(group, edges as u64)
}

/// Of adding up what lies between so many times.
fn of_edges(group: &GroupBudget, edges: u64) -> Work {
    let levels = levels_max(group.rows_max);
    let entries = match levels {
        0 => 0,
        levels => FANOUT as u64 * (1 + edges * (levels - 1)),
    };
    let beyond = (group.rows_max - group.inline_max).min(edges * LEAF_ROWS as u64);
    Work::new(group, group.inline_max + beyond, entries)
}

/// Of looking at each row that there is, and on the way there at each entry.
fn of_all_rows(group: &GroupBudget) -> Work {
    let entries = match levels_max(group.rows_max) {
        0 => 0,
        _ => leaves_max(group.rows_max) + nodes_max(group.rows_max),
    };
    Work::new(group, group.rows_max + 1, entries)
}

/// Of a scan's sums, and of each of its sets of different things.
pub(super) fn of_scan(groups: &[GroupBudget], event: &Event, scan: &Scan) -> (Work, Vec<Work>) {
    let group = &groups[scan.group];
    let sums = match scan.cells.is_empty() {
        true => Work::default(),
        false => of_sums(group, &event.window_sets[scan.windows]),
    };
    // Entries are looked at twice: first to learn how many rows there may be.
    let all = of_all_rows(group);
    let twice = Work { entries: 0, rows: 0, words: all.entries * (group.entry_bytes / 8) };
    let of_set = Work { entries: 2 * all.entries, ..all.and(twice) };
    (sums, scan.distinct.iter().map(|_| of_set).collect())
}

/// Of a feature that is gathered.
pub(super) fn of_gather(groups: &[GroupBudget], gather: &Gather) -> Work {
    let group = &groups[gather.group];
    let side = |frame: Frame| {
        let all = of_all_rows(group);
        match frame {
            // Enough are known as soon as there are so many, where every row counts. The first and the last chunk that
            // is looked at may have others.
            Frame::Events { count, .. } if gather.filter.is_none() => {
                let rows = group.inline_max + (count + 2 * LEAF_ROWS + 1) as u64;
                Work::new(group, rows.min(all.rows), all.entries)
            }
            _ => all,
        }
    };
    let one = side(gather.frame.0);
    gather.against.map_or(one, |(frame, _)| one.and(side(frame)))
}

/// Of the newest rows that qualify, one by one, and of counting the others.
pub(super) fn of_sketch(groups: &[GroupBudget], sketch: &Sketch) -> Work {
    let group = &groups[sketch.group];
    // Each chunk that is looked at has one of them, but for those in which the window begins and ends, and the one that shows
    // that there are more. Where every row is one, these are neighbours and half full, and so are the nodes above them.
    let newest = sketch.rows as u64;
    let mut looked_at = if sketch.is_each { newest / HALF_LEAF } else { newest } + 3;
    let rows = match sketch.is_each {
        true => newest + 2 * LEAF_ROWS as u64,
        false => looked_at * LEAF_ROWS as u64,
    };
    let mut below = leaves_max(group.rows_max);
    let nodes = (0..levels_max(group.rows_max)).fold(0, |nodes, _| {
        below = below / HALF_NODE + 2;
        looked_at = if sketch.is_each { looked_at / HALF_NODE + 3 } else { looked_at };
        nodes + below.min(looked_at)
    });
    let rows = group.inline_max.saturating_add(rows).min(group.rows_max);
    Work::new(group, rows + 1, FANOUT as u64 * nodes).and(of_edges(group, 2))
}

/// The way of a feature, and the most that a judged event's pass for it looks at.
pub(super) fn of_feature(
    plan: &Plan,
    groups: &[GroupBudget],
    feature: usize,
    is_scalar: bool,
) -> (Way, Work) {
    let greater = |one: Work, other: Work| if other.words > one.words { other } else { one };
    let gathered = plan.events.iter().flat_map(|event| &event.gathers);
    let gathered = gathered.filter(|gather| gather.feature == feature);
    if let Some(work) = gathered.map(|gather| of_gather(groups, gather)).reduce(greater) {
        return (Way::Gathered, work);
    }
    let sketches = plan.events.iter().flat_map(|event| &event.sketches);
    let sketches = sketches.filter(|sketch| sketch.feature == feature);
    if let Some(work) = sketches.map(|sketch| of_sketch(groups, sketch)).reduce(greater) {
        return (Way::Sketched, work);
    }
    let scanned = plan.events.iter().map(|event| {
        let of_it = |scan: &&Scan| {
            let told = scan.outputs.iter().chain(&event.outputs).filter(|output| output.feature == feature);
            told.clone().any(|output| reads(scan, output.cell) || reads(scan, output.under))
        };
        let scans = event.scans.iter().filter(of_it).map(|scan| {
            let (sums, sets) = of_scan(groups, event, scan);
            let told = scan.outputs.iter().find(|output| output.feature == feature);
            let is_set = told.is_some_and(|told| scan.distinct.iter().any(|set| set.slot == told.cell));
            match sets.first() {
                Some(&set) if is_set => set,
                _ => sums,
            }
        });
        scans.fold(Work::default(), Work::and)
    });
    let work = scanned.fold(Work::default(), greater);
    (if is_scalar { Way::Event } else { Way::Scanned }, work)
}

/// Whether a slot is one of a scan.
fn reads(scan: &Scan, slot: usize) -> bool {
    scan.cells.iter().any(|cell| cell.slot == slot) || scan.distinct.iter().any(|set| set.slot == slot)
}
