//! Sleeping and waking: timed futexes on shared words.
//!
//! A word slept on lies in the *waker's* file and is written only by the waker. That closes the gap between the
//! sleeper's last look and its sleep: the sleeper read the word before it announced itself, so a wake in the gap has
//! changed the word and the kernel refuses to sleep. Every sleep is bounded, so a peer that never wakes costs time only.

use std::sync::Arc;
use std::time::Duration;

use crate::ends::{self, ServerEnd, Sleeper};
use crate::file::ReadFile;
use crate::layout::C_KICK;
use crate::memory::{ReadMap, WriteMap};
use crate::order;
use crate::server::Connection;
use crate::sync::{AtomicU32, address};

/// `CLOCK_MONOTONIC` in nanoseconds, the clock of `t_intended` and of heartbeats.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours to write; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sleeps while the word holds `expected`, at most `timeout`. May return early.
pub(crate) fn futex_wait(word: *const u32, expected: u32, timeout: Duration) {
    let timeout = timespec(timeout);
    // SAFETY: the kernel checks the address itself, reads the word atomically and writes nothing.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, expected, &timeout, 0_usize, 0_u32) };
}

/// Wakes whoever sleeps on the word.
pub(crate) fn futex_wake(word: *const u32) {
    // SAFETY: the kernel uses the address only to find sleepers.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX, 0_usize, 0_usize, 0_u32) };
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: duration.as_secs().min(i32::MAX as u64) as _,
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// `struct futex_waitv` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct WaitEntry {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}
const _: () = assert!(size_of::<WaitEntry>() == 24);

const FUTEX2_SIZE_U32: u32 = 2;
/// Most words one futex_waitv takes (`FUTEX_WAITV_MAX`).
const WAIT_ENTRIES_MAX: usize = 128;
/// How long to sleep when some connection cannot wake us.
const BLIND_SLEEP_MAX: Duration = Duration::from_millis(1);

/// How a park ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parked {
    /// There was work already; it did not sleep.
    Ready,
    /// A client, the [`Bell`] or a signal ended the sleep. Poll to find out.
    Woken,
    /// Nothing happened in the time given.
    TimedOut,
}

/// Counts the calls of other threads to one that may be asleep.
#[derive(Debug)]
pub(crate) struct Rings(AtomicU32);

impl Rings {
    pub(crate) fn new() -> Rings {
        Rings(AtomicU32::new(0))
    }

    /// One call more. What was handed over before it is seen by whoever hears it.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, order::bell_rung());
    }

    pub(crate) fn heard(&self) -> u32 {
        self.0.load(order::bell_heard())
    }
}

/// Wakes a [`Parker`] from another thread of this process, for instance when a connection is handed over.
#[derive(Clone, Debug)]
pub struct Bell(Arc<Rings>);

impl Bell {
    /// Ends the present or the next [`Parker::park`]. Hand the work over first, then ring.
    pub fn ring(&self) {
        self.0.add();
        futex_wake(address(&self.0.0));
    }
}

/// Lets one thread that serves many connections sleep until any of them has a request.
pub struct Parker {
    bell: Bell,
    rings_seen: u32,
    entries: Box<[WaitEntry; WAIT_ENTRIES_MAX]>,
    can_wait_many: bool,
}

impl Default for Parker {
    fn default() -> Parker {
        Parker::new()
    }
}

impl Parker {
    /// Allocates all it will ever need.
    pub fn new() -> Parker {
        let entry = WaitEntry { value: 0, address: 0, flags: 0, reserved: 0 };
        Parker {
            bell: Bell(Arc::new(Rings::new())),
            rings_seen: 0,
            entries: Box::new([entry; WAIT_ENTRIES_MAX]),
            can_wait_many: true,
        }
    }

    /// A handle that wakes this parker.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Announces to every client that the server sleeps, looks once more, then sleeps until a client sends, the bell
    /// rings or `timeout` passes. The order (announce, SeqCst fence, look) pairs with the client's (publish, SeqCst fence,
    /// look at the doorbell): one of the two always sees the other.
    ///
    /// A client without credit does not count as work. Above 127 connections, and on kernels without `futex_waitv`,
    /// the sleep is cut to one millisecond, because not every client can end it.
    pub fn park<'a, I>(&mut self, connections: I, timeout: Duration) -> Parked
    where
        I: Iterator<Item = &'a Connection> + Clone,
    {
        self.entries[0] = entry(address(&self.bell.0.0), self.rings_seen);
        let mut nap = Nap { parker: self, noted: 1, ends: 0, timeout };
        let parked = ends::park(connections.map(|connection| &connection.end), &mut nap);
        self.rings_seen = self.bell.0.heard();
        parked.unwrap_or(Parked::Ready)
    }

    /// Sleeps on the first `count` words noted; `all`: whether these are all there are.
    fn sleep(&mut self, count: usize, all: bool, timeout: Duration) -> Parked {
        let deadline = monotonic_ns().saturating_add(timeout.as_nanos().min(u64::MAX.into()) as u64);
        let timeout = if all { timeout } else { timeout.min(BLIND_SLEEP_MAX) };
        if self.can_wait_many {
            let at = timespec(Duration::from_nanos(monotonic_ns()).saturating_add(timeout));
            // SAFETY: `count` initialised entries are given with their number, and an absolute time; the kernel checks the
            // addresses inside the entries itself and writes nothing.
            let woken = unsafe {
                libc::syscall(
                    libc::SYS_futex_waitv,
                    self.entries.as_ptr(),
                    count,
                    0_u32,
                    &at,
                    libc::CLOCK_MONOTONIC,
                )
            };
            let error = std::io::Error::last_os_error().raw_os_error();
            if woken < 0 && matches!(error, Some(libc::ENOSYS | libc::EPERM)) {
                self.can_wait_many = false;
            }
        }
        if !self.can_wait_many {
            // One connection is worth sleeping on; the bell then waits its turn.
            let one = if count == 2 { self.entries[1] } else { self.entries[0] };
            futex_wait(one.address as usize as *const u32, one.value as u32, timeout.min(BLIND_SLEEP_MAX));
        }
        if monotonic_ns() >= deadline { Parked::TimedOut } else { Parked::Woken }
    }
}

/// One park of a [`Parker`]: the words noted so far, the bell's first.
struct Nap<'p> {
    parker: &'p mut Parker,
    noted: usize,
    ends: usize,
    timeout: Duration,
}

impl Sleeper<ReadMap, WriteMap> for Nap<'_> {
    type Slept = Parked;

    fn note(&mut self, end: &ServerEnd<ReadMap, WriteMap>) {
        self.ends += 1;
        if let Some(free) = self.parker.entries.get_mut(self.noted) {
            *free = entry(end.c.futex(C_KICK), end.c.load(C_KICK) as u32);
            self.noted += 1;
        }
    }

    fn is_called(&self) -> bool {
        self.parker.bell.0.heard() != self.parker.rings_seen
    }

    fn sleep(&mut self) -> Parked {
        self.parker.sleep(self.noted, self.noted > self.ends, self.timeout)
    }
}

fn entry(word: *const u32, value: u32) -> WaitEntry {
    // Not private: the waker of a client's word is another process.
    WaitEntry { value: value.into(), address: word as usize as u64, flags: FUTEX2_SIZE_U32, reserved: 0 }
}

// The atomics of the model checkers work inside models only.
#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_bell_rung_before_the_park_is_not_lost() {
        let mut parker = Parker::new();
        parker.bell().ring();
        assert_eq!(parker.park([].into_iter(), Duration::from_secs(60)), Parked::Ready);
        assert_eq!(parker.park([].into_iter(), Duration::from_millis(1)), Parked::TimedOut);
    }

    #[test]
    fn without_futex_waitv_sleeps_are_short_and_end() {
        let mut parker = Parker { can_wait_many: false, ..Parker::new() };
        assert_eq!(parker.park([].into_iter(), Duration::from_micros(10)), Parked::TimedOut);
        assert_eq!(parker.park([].into_iter(), Duration::from_secs(60)), Parked::Woken);
    }

    #[test]
    fn a_bell_ends_a_sleep() {
        let mut parker = Parker::new();
        let bell = parker.bell();
        let ringer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            bell.ring();
        });
        assert_ne!(parker.park([].into_iter(), Duration::from_secs(60)), Parked::TimedOut);
        ringer.join().unwrap();
    }
}
