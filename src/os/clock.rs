//! The two clocks, both read through the vDSO: no system call.

use crate::engine::units::Time;

pub use tollgate_ring::monotonic_ns;

/// `CLOCK_REALTIME`, in microseconds: when something was received.
#[inline]
#[must_use]
pub fn realtime() -> Time {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours to write; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    Time(now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Wall time, for the engine.
    pub received: Time,
    /// `CLOCK_MONOTONIC` ns, for deadlines and rates.
    pub monotonic_ns: u64,
}

impl Now {
    /// Reads both.
    #[inline]
    #[must_use]
    pub fn read() -> Self {
        Self { received: realtime(), monotonic_ns: monotonic_ns() }
    }
}
