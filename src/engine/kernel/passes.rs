//! What of a scan's lanes is added up in which pass over the rows, and how. Of features of a few windows that is told when the plan is made, so
//! that nothing about it is asked of an event; of others for a few lanes at a time.

use super::Used;
use crate::engine::tally::{Lane, Test};

/// One pass over the rows: a lane, and perhaps that of all rows besides.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Pass {
    pub(super) way: Way,
    /// Index into the lanes.
    pub(super) lane: usize,
    /// The lane of all rows, if they are counted on the way.
    pub(super) all: Option<usize>,
    /// The column that is added up, if one is.
    pub(super) column: usize,
    /// What is asked of a row. Of fewer than two the last again; of none, nothing.
    pub(super) tests: [Test; 2],
}

/// How a lane is added up: what is asked of a row before it is counted, and what is wanted besides the count.
///
/// As few rows lack a value, a lane that asks for nothing else is added up as if none did. Only where one does is it added up once more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// All rows, counted.
    All,
    /// What stamps tell, counted.
    Stamps,
    /// The same, and all rows.
    StampsAndAll,
    /// What any columns tell, counted.
    Columns,
    /// The sum, as if no row lacked a value: which tells how many rows there are, too.
    Sum,
    SumOfStamps,
    GreatestOfStamps,
    ExtremesOfStamps,
    SumOfColumns,
    GreatestOfColumns,
    ExtremesOfColumns,
}

impl Way {
    pub(super) const COUNT: usize = Self::ExtremesOfColumns as usize + 1;

    fn of(used: &Used) -> Self {
        let lane = &used.lane;
        match (lane.is_of_values(), lane.is_told_by_stamp(), used.least, used.greatest) {
            (false, true, ..) => Self::Stamps,
            (false, false, ..) => Self::Columns,
            (true, true, false, false) if lane.is_having_value() => Self::Sum,
            (true, true, false, false) => Self::SumOfStamps,
            (true, true, false, true) => Self::GreatestOfStamps,
            (true, true, true, _) => Self::ExtremesOfStamps,
            (true, false, false, false) => Self::SumOfColumns,
            (true, false, false, true) => Self::GreatestOfColumns,
            (true, false, true, _) => Self::ExtremesOfColumns,
        }
    }
}

impl Pass {
    /// All rows counted, for the first lane.
    pub(super) const ALL: Self =
        Self { way: Way::All, lane: 0, all: None, column: 0, tests: [Test { column: 0, mask: 0 }; 2] };

    /// Those of these lanes.
    pub(in crate::engine) fn of_all(lanes: &[Used]) -> Vec<Self> {
        let mut passes = vec![Self::ALL; lanes.len()];
        let count = Self::of(lanes, &mut passes).len();
        passes.truncate(count);
        passes
    }

    /// The same, put into `room`, which there must be as much of as there are lanes.
    pub(super) fn of<'a>(lanes: &[Used], room: &'a mut [Self]) -> &'a [Self] {
        let is_all = |used: &&Used| used.lane == Lane::ALL;
        debug_assert!(lanes.iter().filter(is_all).count() <= 1, "lanes are different");
        let mut all = lanes.iter().position(|used| used.lane == Lane::ALL);
        let mut count = 0;
        for (lane, used) in lanes.iter().enumerate().filter(|(_, used)| used.lane != Lane::ALL) {
            let [first, second] = used.lane.tests();
            let first = first.unwrap_or(Self::ALL.tests[0]);
            let tests = [first, second.unwrap_or(first)];
            let mut pass =
                Self { way: Way::of(used), lane, all: None, column: used.lane.value().unwrap_or(0), tests };
            if matches!(pass.way, Way::Stamps | Way::Sum) {
                pass.all = all.take();
            }
            if pass.way == Way::Stamps && pass.all.is_some() {
                pass.way = Way::StampsAndAll;
            }
            room[count] = pass;
            count += 1;
        }
        if let Some(lane) = all {
            room[count] = Self { lane, ..Self::ALL };
            count += 1;
        }
        &room[..count]
    }
}
