//! The direct way to a windowed feature: of keys whose rows in reach are all near, in their records, as nearly all are, or in a slab or a
//! few leaves besides.
//!
//! What is known of such a scan beforehand is in a [`Direct`]: in which table and where in the record its rows are, what of them is
//! added up, and which features are told from it. So all there is to do for a key is to look where its
//! rows are, to compare each with the starts of the windows, and to set registers. A judged event's keys are gone through in one
//! function, which is compiled for the vectors of each [`Kernel`](super::kernel::Kernel). What turns out not to be so simple is left
//! to [`windows`](super::windows).

use super::LookedUp;
use super::kernel::{AddFew, Few, InRecord, Lanes, Near, NumberAt, Numbers, Pass, Used};
use super::plan::Group;
use super::program::STAMP_BITS;
use super::rows::{Inline, Rows};
use super::spill::Spill;
use super::table::Table;
use super::units::Value;
use super::windows::{Scan, Seen, WindowSet};

/// See the module.
pub(super) struct Direct {
    /// Index into the event's keys.
    key: usize,
    table: usize,
    group: usize,
    inline: Inline,
    /// Where the event's own row is staged, and how long it is, if it is in the windows: then it is in all.
    own: Option<(usize, usize)>,
    /// Index into the event's sets of windows, and how many there are in it.
    windows: (usize, usize),
    lanes: Lanes,
    told: Told,
    /// Whether a row in a window is a history of the event's keys: no window reaches further back than what is one.
    tells_history: bool,
}

impl Direct {
    /// For a scan whose features are told like this; `None` where the rows' stamps do not tell of which lanes they are, or the
    /// event's own row is perhaps another key's.
    pub(super) fn new(
        scan: &Scan,
        set: &WindowSet,
        (group, tells_history): (&Group, bool),
        told: Told,
    ) -> Option<Self> {
        if scan.own.is_some_and(|own| own.key != scan.key) {
            return None;
        }
        let own = scan.own.filter(|_| set.is_up_to_now());
        Some(Self {
            key: scan.key,
            table: group.table,
            group: scan.group,
            inline: group.shape.inline,
            own: own.map(|own| (own.staged, group.shape.row_words)),
            windows: (scan.windows, set.spans.len()),
            lanes: Lanes::of(&scan.lanes)?,
            told,
            tells_history: tells_history && group.forgotten_after.is_some(),
        })
    }

    /// What is not all in the record. Apart, so that what it works with does not crowd out what those are added up with that are.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions of `few`.
    #[inline(never)]
    unsafe fn run_near(
        &self,
        stored: &Stored<'_>,
        (record, own): (Option<&[u64]>, Option<&[u64]>),
        seen: &Seen,
        few: AddFew,
        numbers: &mut [Numbers; Numbers::LANES],
    ) -> (bool, u64) {
        let shape = &stored.groups[self.group].shape;
        let rows = Rows { shape, spill: stored.spill, record, own: None };
        let (seen, lanes) = ((seen, self.windows.1), (&self.lanes.used[..], &self.lanes.passes[..]));
        // SAFETY: as the caller has made sure; the lanes are of the group, and a `Direct` is only made of so few windows.
        unsafe { near((&rows, own), seen, lanes, few, numbers) }
    }
}

/// A feature, and where among the [`Numbers`] it is told from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    pub(super) den: i64,
    pub(super) feature: u32,
    pub(super) place: NumberAt,
}

/// Features by how they are told.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// As the number is: counts and sums.
    pub(super) plain: Vec<Number>,
    /// As the number is, if the rows that are counted here are any: extremes.
    pub(super) of_some: Vec<(Number, NumberAt)>,
    /// Sums, and of how many.
    pub(super) averages: Vec<(Number, NumberAt)>,
    /// Counts, and what they are a part of.
    pub(super) ratios: Vec<(Number, NumberAt)>,
}

impl Told {
    /// Sets the registers of these features, which are missing so far.
    #[inline(always)]
    pub(super) fn tell(&self, numbers: &[Numbers; Numbers::LANES], registers: &mut [Value]) {
        for &Number { feature, place, den } in &self.plain {
            registers[feature as usize] = Value { num: place.of(numbers), den };
        }
        for &(Number { feature, place, den }, counted) in &self.of_some {
            if counted.of(numbers) > 0 {
                registers[feature as usize] = Value { num: place.of(numbers), den };
            }
        }
        for &(Number { feature, place, den }, counted) in &self.averages {
            let (sum, count) = (place.of(numbers), counted.of(numbers));
            registers[feature as usize] = match count.checked_mul(den) {
                Some(den @ 1..) => Value { num: sum, den },
                _ => average(sum.into(), count.into(), den),
            };
        }
        for &(Number { feature, place, .. }, whole) in &self.ratios {
            registers[feature as usize] = share(place.of(numbers), whole.of(numbers));
        }
    }
}

/// Of no values, none.
#[inline(always)]
pub(super) fn average(sum: i128, count: i128, den: i64) -> Value {
    Value::from_wide(sum, count * i128::from(den))
}

/// Of nothing, 0.
#[inline(always)]
pub(super) fn share(part: i64, all: i64) -> Value {
    if all == 0 { Value::int(0) } else { Value::ratio(part, all) }
}

/// Where the rows of an event's keys are.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) looked_up: &'a [LookedUp],
    pub(super) tables: &'a [Table],
    pub(super) groups: &'a [Group],
    pub(super) spill: &'a Spill,
    /// The event's own.
    pub(super) staged: &'a [u64],
}

/// All of them for one event.
pub(super) struct Run<'a> {
    pub(super) directs: &'a [Direct],
    pub(super) stored: Stored<'a>,
    /// [`Kernel::few`](super::kernel::Kernel::few).
    pub(super) few: AddFew,
    /// By set of windows.
    pub(super) seen: &'a [Seen],
    pub(super) registers: &'a mut [Value],
    /// Working memory.
    pub(super) numbers: &'a mut [Numbers; Numbers::LANES],
    /// Out: those that are something else. There must be room for all.
    pub(super) left: &'a mut Vec<usize>,
    /// Out: how many rows were looked at.
    pub(super) work: u64,
    /// Out: whether a window reaches rows that were given up.
    pub(super) inexact: bool,
    /// Out: whether a key is seen to have a history. It may have one that is not seen.
    pub(super) is_known: bool,
}

/// How rows of a record are added up.
pub(super) trait AddUp {
    /// What each lane comes to is written to its place among `numbers`. False, and nothing is told, where there is a value below −2⁵³,
    /// or of 2⁵³ or more, in one of the windows.
    ///
    /// # Safety
    ///
    /// The processor must have the instructions; the rows must be as [`InRecord`] says, and the columns of the lanes among theirs.
    unsafe fn add_up(rows: &InRecord<'_>, lanes: &Lanes, numbers: &mut [Numbers; Numbers::LANES]) -> bool;
}

/// Sets the registers of the features of keys whose rows in reach are all near.
///
/// # Safety
///
/// The processor must have the instructions, and those of [`Run::few`].
#[inline(always)]
pub(super) unsafe fn run<A: AddUp>(run: &mut Run<'_>) {
    let (mut work, mut inexact, mut is_known) = (0, false, false);
    for (number, direct) in run.directs.iter().enumerate() {
        let LookedUp { is_there: true, record } = run.stored.looked_up[direct.key] else { continue };
        let (seen, table) = (&run.seen[direct.windows.0], &run.stored.tables[direct.table]);
        let record = record.map(|record| table.record(record));
        let (block, lost) = match record {
            Some(record) => {
                let after = seen.starts.0[0];
                let (block, newest) =
                    direct.inline.all_between(record, after, seen.until, InRecord::ROWS_MAX);
                is_known |= direct.tells_history && newest as i64 > after as i64;
                (block, direct.inline.lost_until(record))
            }
            None => (Some(direct.inline.none()), table.lost_until()),
        };
        let own = direct.own.map(|(start, words)| &run.stored.staged[start..start + words]);
        let (is_told, looked_at) = match block {
            Some(block) => {
                let rows = InRecord { block, own, starts: &seen.starts };
                // SAFETY: as the caller has made sure; and the rows are a record's and the event's own, of the group that the lanes are of.
                (unsafe { A::add_up(&rows, &direct.lanes, run.numbers) }, block.count as u64)
            }
            // SAFETY: as the caller has made sure.
            None => unsafe { direct.run_near(&run.stored, (record, own), seen, run.few, run.numbers) },
        };
        work += looked_at;
        if !is_told {
            run.left.push(number);
            continue;
        }
        inexact |= lost.is_some_and(|lost| lost > seen.oldest);
        direct.told.tell(run.numbers, run.registers);
    }
    run.work += work;
    run.inexact |= inexact;
    run.is_known |= is_known;
}

/// Adds up rows that are not all in the record, if they are near, in so many windows that begin and end as is [`Seen`]. False, and nothing is
/// told, where they are not near, or a value is too large. And how many rows and entries were looked at.
///
/// # Safety
///
/// The processor must have the instructions of `few`; the lanes must be of these rows, and the windows 1 to [`Few::WINDOWS`].
#[inline(always)]
pub(super) unsafe fn near(
    (rows, own): (&Rows<'_>, Option<&[u64]>),
    (seen, windows): (&Seen, usize),
    (used, passes): (&[Used], &[Pass]),
    few: AddFew,
    numbers: &mut [Numbers; Numbers::LANES],
) -> (bool, u64) {
    let mut room = Near::room();
    let mut near = Near::new(&mut room);
    let until = seen.until as i64 >> STAMP_BITS;
    if !rows.near((seen.oldest, until), windows + 1, &mut near) {
        return (false, near.entries);
    }
    if let Some(own) = own {
        near.push_own(own);
    }
    let task = Few { blocks: near.blocks(), starts: &seen.starts, windows, until: seen.until, used, passes };
    // SAFETY: as the caller has made sure; and the blocks are a record's and slabs'.
    let is_told = unsafe { few(&task, numbers) };
    (is_told, near.entries + near.rows as u64)
}
