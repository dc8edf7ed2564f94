//! The terms of a session: what is agreed on when it is opened, what an answer says, why something is refused, what is
//! counted.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::connect::ClientOptions;
use crate::handshake;
use crate::layout::{CAPACITY_MAX, Geometry, GeometryError, VERDICT_WORDS};

/// How a session behaves. [`SessionOptions::new`] fills in what has a good default.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// What each connection asks for. Its timeout bounds each attempt to connect.
    pub client: ClientOptions,
    /// The server's socket.
    pub path: PathBuf,
    /// Most unanswered requests, a power of two. Memory for as many whole slots is allocated at once.
    pub in_flight_max: u32,
    /// Longest time from the intended send time to an answer.
    pub deadline: Duration,
    /// The verdict for silence.
    pub fallback: Fallback,
    /// How long an unanswered request may wait, counted from when the connection is known to be lost. Default 20 ms.
    pub outage_grace: Duration,
    /// Least time from one attempt to connect to the next. Default 10 ms.
    pub reconnect_every: Duration,
    /// How often to ask the system whether the server lives, which is one system call. Default 10 ms.
    pub life_check_every: Duration,
}

impl SessionOptions {
    /// Options with 1024 requests in flight and the other defaults.
    pub fn new(
        path: PathBuf,
        client: ClientOptions,
        deadline: Duration,
        fallback: Fallback,
    ) -> SessionOptions {
        SessionOptions {
            client,
            path,
            in_flight_max: 1024,
            deadline,
            fallback,
            outage_grace: Duration::from_millis(20),
            reconnect_every: Duration::from_millis(10),
            life_check_every: Duration::from_millis(10),
        }
    }

    pub(super) fn validate(&self) -> Result<(), SessionError> {
        if !self.in_flight_max.is_power_of_two() || self.in_flight_max > CAPACITY_MAX {
            return Err(SessionError::InFlightMax(self.in_flight_max));
        }
        let slot_bytes = self.client.slot_bytes;
        Geometry { slot_bytes, request_capacity: 2, verdict_capacity: 2 }.validate()?;
        if handshake::address(&self.path).is_none() {
            return Err(SessionError::Path(self.path.clone()));
        }
        for (name, value) in [
            ("deadline", self.deadline),
            ("reconnect_every", self.reconnect_every),
            ("life_check_every", self.life_check_every),
            ("client.timeout", self.client.timeout),
        ] {
            if value.is_zero() {
                return Err(SessionError::Zero(name));
            }
        }
        Ok(())
    }
}

/// The verdict declared for silence. The ring does not know what the words mean; the two kinds differ only in how answers
/// are marked, so that nobody has to guess from the payload what was decided and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Silence lets the request pass.
    FailOpen {
        /// The payload of the answer.
        payload: [u64; VERDICT_WORDS],
    },
    /// Silence stops the request.
    FailClosed {
        /// The payload of the answer.
        payload: [u64; VERDICT_WORDS],
    },
}

/// The one answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The verdict's kind; that of the request in a fallback.
    pub kind: u16,
    /// As submitted.
    pub req_id: u64,
    /// As submitted; the time of submission if that was 0.
    pub t_intended: u64,
    /// The verdict's payload, or the one declared for silence.
    pub payload: [u64; VERDICT_WORDS],
    /// The verdict's flags; 0 in a fallback.
    pub flags: u32,
    /// Who decided.
    pub source: Source,
}

/// Who decided an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The server.
    Server,
    /// [`Fallback::FailOpen`], and why.
    FailOpen(Silence),
    /// [`Fallback::FailClosed`], and why.
    FailClosed(Silence),
}

/// Why the server did not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// No verdict came before the deadline.
    Deadline,
    /// There was no server, and the grace was over.
    Outage,
}

/// Why options were refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SessionError {
    /// Not a power of two in range.
    #[error("in_flight_max of {0}: choose a power of two from 1 to {CAPACITY_MAX}")]
    InFlightMax(u32),
    /// Not a slot size.
    #[error(transparent)]
    SlotBytes(#[from] GeometryError),
    /// The path does not fit in a socket address.
    #[error("{0} cannot be a socket's path: use 1 to 107 bytes")]
    Path(PathBuf),
    /// A duration that must not be zero is.
    #[error("{0} of zero: choose a longer time")]
    Zero(&'static str),
}

/// Why a request was not accepted. It gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// As many requests as allowed are unanswered.
    #[error("busy: poll for answers and submit again, or decide without the server")]
    Busy,
    /// The payload does not fit in a slot.
    #[error("payload of {found} words in a slot for {max}: use a larger slot size on both ends")]
    TooLong {
        /// Words given.
        found: usize,
        /// Words that fit.
        max: usize,
    },
}

/// What has happened so far. `submitted` = `answered` + `fallback_deadline` + `fallback_outage` + those in flight.
// C programs see it as it is here: adding a count changes the version of their interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Requests accepted.
    pub submitted: u64,
    /// Answers that were the server's.
    pub answered: u64,
    /// Answers by fallback because of the deadline.
    pub fallback_deadline: u64,
    /// Answers by fallback because there was no server.
    pub fallback_outage: u64,
    /// Verdicts dropped because they came after the fallback.
    pub late: u64,
    /// Verdicts dropped because nothing waits for them: a server's mistake, or of a request that was forgotten.
    pub strange: u64,
    /// Requests that the server may never have heard of: settled by fallback, and given up to make room.
    pub forgotten: u64,
    /// Requests sent once more on a later connection.
    pub resubmitted: u64,
    /// Connections made.
    pub connects: u64,
    /// Connections lost.
    pub disconnects: u64,
    /// Requests refused because too many were unanswered.
    pub busy: u64,
}
