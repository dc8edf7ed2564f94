//! The two clocks, both read through the vDSO: no system call.

pub use tollgate_ring::monotonic_ns;

/// `CLOCK_REALTIME`, in microseconds since 1970.
#[inline]
#[must_use]
pub fn realtime_us() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours to write; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}
