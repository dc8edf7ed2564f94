//! SIGTERM and SIGINT as something to wait for, without a handler.

use std::time::Duration;

/// The two signals that ask for an orderly end, blocked in this thread and in every thread it starts later.
#[derive(Debug)]
pub struct Signals {
    set: libc::sigset_t,
}

impl Signals {
    /// Blocks them. Call before any thread is started.
    #[must_use]
    pub fn block() -> Self {
        // SAFETY: an all-zero sigset_t is a valid value, and sigemptyset makes it a defined one.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is ours to write, and the signal numbers exist.
        unsafe {
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::sigaddset(&mut set, libc::SIGINT);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        }
        Self { set }
    }

    /// Waits for one of them; its name, or `None` when the time is over.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Option<&'static str> {
        let timeout =
            libc::timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos().into() };
        // SAFETY: the set and the time are valid for the call; no information about the signal is asked for.
        match unsafe { libc::sigtimedwait(&self.set, std::ptr::null_mut(), &timeout) } {
            libc::SIGTERM => Some("SIGTERM"),
            libc::SIGINT => Some("SIGINT"),
            _ => None,
        }
    }
}
