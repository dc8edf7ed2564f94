//! Frames: which rows a feature speaks of, as seen from an instant.

use super::calendar::period_start;
use super::program::{ArchivedFrame, ArchivedPeriod, ArchivedProgram};
use super::units::Time;

/// See `policy::typed::Frame`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Frame {
    Last { span: i64 },
    Events { count: usize, span: i64 },
    Every { span: i64 },
    This { period: ArchivedPeriod, zone: usize },
    Session { gap: i64, span: i64 },
}

impl Frame {
    pub(super) fn new(frame: &ArchivedFrame) -> Self {
        match frame {
            ArchivedFrame::Last(span) => Self::Last { span: span.to_native() },
            ArchivedFrame::Events(count, span) => {
                Self::Events { count: count.to_native() as usize, span: span.to_native() }
            }
            ArchivedFrame::Every(span) => Self::Every { span: span.to_native() },
            ArchivedFrame::This(period, zone) => {
                Self::This { period: *period, zone: usize::from(zone.to_native()) }
            }
            ArchivedFrame::Session(gap, span) => {
                Self::Session { gap: gap.to_native(), span: span.to_native() }
            }
        }
    }

    /// No row at or before this is in the frame that looks back from `until`. Where
    /// [`is_by_event`](ArchivedFrame::is_by_event) is false, all others up to `until` are.
    pub(super) fn after(self, program: &ArchivedProgram, until: i64) -> i64 {
        match self {
            Self::Last { span } | Self::Events { span, .. } | Self::Session { span, .. } => {
                until.saturating_sub(span)
            }
            Self::Every { span } => until.div_euclid(span) * span - 1,
            Self::This { period, zone } => period_start(&program.zones[zone], period, Time(until)) - 1,
        }
    }
}
