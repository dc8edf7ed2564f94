//! What can go wrong on the data path, one small enum per operation.

use thiserror::Error;

/// Why no more verdicts come. What is in flight is lost to this client; connect again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Closed {
    /// The server has gone away or closed the connection.
    #[error(
        "the server has closed the connection: connect again and decide what the requests in flight are worth"
    )]
    ServerGone,
    /// The server found something impossible in this client's ring.
    #[error(
        "the server has put this client in quarantine: its memory was written wrongly; see the server's log"
    )]
    Quarantined,
    /// The server's cursor or a verdict's number cannot be right.
    #[error("the server's memory holds impossible values: connect again and report the server's version")]
    Corrupt,
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The ring is full, or as many requests are in flight as the server has verdict slots.
    #[error("busy: receive verdicts and try again, or give up as your deadline says")]
    Busy,
    /// The payload does not fit in a slot.
    #[error("payload of {found} words in a slot for {max}: use a larger slot size on both ends")]
    TooLong {
        /// Words given.
        found: usize,
        /// Words that fit.
        max: usize,
    },
    /// The connection has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// What a client did that no honest client does. Its connection reads no more; drop it. Other clients are not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Quarantine {
    /// A request slot held a sequence number of neither this lap nor the one before.
    #[error(
        "request {index}: its slot is numbered {found}; expected {expected}. The client writes slots out of turn"
    )]
    Sequence {
        /// The running index expected next.
        index: u64,
        /// The number that would have been right.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// A request said it is longer than its slot.
    #[error(
        "request {index}: {found} payload words in a slot for {max}. The client writes lengths that cannot be"
    )]
    Length {
        /// The running index of the request.
        index: u64,
        /// The length found.
        found: u16,
        /// What fits.
        max: u16,
    },
    /// The verdict cursor went back, or past the verdicts written.
    #[error(
        "verdict cursor {found} lies outside {last} to {written}. The client claims verdicts it cannot have received"
    )]
    VerdictCursor {
        /// The cursor found.
        found: u64,
        /// Where it was last seen.
        last: u64,
        /// How far verdicts have been written.
        written: u64,
    },
}

/// Why a verdict was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// Every request taken has its verdict already.
    #[error("no request is waiting for a verdict: reply exactly once to each request")]
    NothingOwed,
    /// The client has not made room. Impossible while its credit is respected, and so a fault in this crate or its use.
    #[error("the verdict ring is full: the client has more requests in flight than it may")]
    Full,
    /// The client is in quarantine.
    #[error("the client is in quarantine: {0}")]
    Quarantined(#[from] Quarantine),
}
