//! What an engine counts.

/// What has happened since start. Plain numbers: one thread owns them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Decisions (including acknowledgements of events that are not judged).
    pub decided: u64,
    /// Duplicates answered with the stored verdict.
    pub repeated: u64,
    /// Frames refused, by [`Refusal`](super::wire::Refusal) code.
    pub refused: [u64; 8],
    /// Events behind the watermark that entered their true place.
    pub late: u64,
    /// Events too late for that: judged without features, kept out of the windows.
    pub too_late: u64,
    /// `Clock::Wall`: events judged at receipt time because theirs was further ahead of it than the skew.
    pub skewed_ahead: u64,
    /// `Clock::Wall`: events judged at receipt time because theirs was further behind it than the skew.
    pub skewed_behind: u64,
    /// Times that now (`Clock::Wall`) or the watermark (`Clock::Event`) moved by more than `jump_us` at once.
    pub clock_jumps: u64,
    /// Amendments that changed at least one row.
    pub amended: u64,
    /// Amendments whose event is in no window here (unknown, or expired).
    pub amend_unknown: u64,
    /// Amendments older than the one already applied.
    pub amend_stale: u64,
    /// Rows moved to a larger tier.
    pub promoted: u64,
    /// Rows moved to a smaller tier.
    pub demoted: u64,
    /// Rows, and entries of trees, that features looked at.
    pub rows_scanned: u64,
    /// Rows, and entries of trees, that were moved or brought up to date to store others.
    pub rows_moved: u64,
    /// The most of both for one event.
    pub event_work_max: u64,
    /// Rows given up because of `rows_per_key_max` or `spill_bytes_max`, while still inside a window, or stored where
    /// amendments do not find them.
    pub rows_lost: u64,
    /// Keys that could not be kept because the table was full.
    pub keys_lost: u64,
    /// Rows that were not kept because the table of their key was nearly full, and the key had not been seen before.
    pub doorkept: u64,
    /// Decisions for which upper bounds of features were told, as not all of their events were kept.
    pub shared_told: u64,
    /// Keys dropped because they were idle past every horizon.
    pub keys_expired: u64,
    /// Decisions flagged inexact.
    pub inexact: u64,
    /// Duplicate entries overwritten to make room.
    pub dedup_evicted: u64,
    /// Rates taken in.
    pub rates: u64,
    /// Of these, rates between currencies that the program never converts.
    pub rates_unused: u64,
    /// Rates given up because their pair of currencies had no room for more.
    pub rates_lost: u64,
    /// Events of which some money was not converted because no rate was in effect.
    pub rate_missing: u64,
    /// Events of which some money was not converted because the newest rate was older than the policy allows.
    pub rate_stale: u64,
    /// Events of which some money was not converted because it left 64 bits.
    pub rate_overflow: u64,
}
