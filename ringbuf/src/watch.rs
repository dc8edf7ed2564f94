//! Noticing that a client is gone: its socket hangs up or its process ends.
//!
//! Both are watched. A socket can outlive its owner when a child inherited it, and a process can drop the connection and
//! live on.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// What a connection and its watcher share.
pub(crate) struct Life {
    pub(crate) socket: OwnedFd,
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) gone: AtomicBool,
    pub(crate) client_id: u32,
}

/// Tells, from any thread and without a system call, whether the peer of one connection is gone.
#[derive(Clone)]
pub struct Lifeline(pub(crate) Arc<Life>);

impl Lifeline {
    /// The client's number, as in [`crate::Principal`].
    pub fn client_id(&self) -> u32 {
        self.0.client_id
    }

    /// True once a [`Watcher`] has seen the peer go.
    pub fn hung_up(&self) -> bool {
        self.0.gone.load(Ordering::Acquire)
    }
}

/// Watches every connection of a [`crate::Listener`] from a cold thread. Clones watch the same connections.
#[derive(Clone, Default)]
pub struct Watcher {
    lives: Arc<Mutex<Vec<Weak<Life>>>>,
}

impl Watcher {
    pub(crate) fn add(&self, life: &Arc<Life>) {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(life));
    }

    /// Waits at most `timeout` for a peer to go, marks every connection whose peer is gone and returns the numbers of
    /// those newly found. Call it with at most 100 ms, in a loop: a connection accepted meanwhile is watched from the
    /// next call on.
    pub fn poll(&self, timeout: Duration) -> Vec<u32> {
        // The lock is not held while sleeping, so an acceptor is never held up. A connection dropped meanwhile has shut
        // its socket down, so that this reference to it does not keep the client waiting.
        let mut lives = {
            let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
            lives.retain(|life| life.strong_count() > 0);
            lives.iter().filter_map(Weak::upgrade).collect::<Vec<_>>()
        };
        lives.retain(|life| !life.gone.load(Ordering::Acquire));
        let mut fds = Vec::with_capacity(lives.len() * 2);
        for life in &lives {
            let pidfd = life.pidfd.as_ref().map_or(-1, AsRawFd::as_raw_fd);
            fds.push(libc::pollfd { fd: life.socket.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 });
            fds.push(libc::pollfd { fd: pidfd, events: libc::POLLIN, revents: 0 });
        }
        poll_fds(&mut fds, timeout);
        let mut gone = Vec::new();
        for (life, fds) in lives.iter().zip(fds.chunks(2)) {
            if fds.iter().any(|fd| fd.revents != 0) && !life.gone.swap(true, Ordering::AcqRel) {
                gone.push(life.client_id);
            }
        }
        gone
    }
}

/// poll(2); an interruption counts as nothing ready. Rounds the time up, so that a short wait is not a busy loop.
pub(crate) fn poll_fds(fds: &mut [libc::pollfd], timeout: Duration) {
    let ms = timeout.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32;
    // SAFETY: the slice is ours to write and its length is given.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, ms) };
    if ready < 0 {
        fds.iter_mut().for_each(|fd| fd.revents = 0);
    }
}

/// True if the other end of the socket is closed.
pub(crate) fn socket_hung_up(socket: &OwnedFd) -> bool {
    let mut fds = [libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 }];
    poll_fds(&mut fds, Duration::ZERO);
    fds[0].revents != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_dead_process_is_gone_although_its_socket_is_held_open() {
        let mut process = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        // SAFETY: a call without pointers; the descriptor returned is ours.
        let pidfd = unsafe {
            OwnedFd::from_raw_fd(libc::syscall(libc::SYS_pidfd_open, process.id(), 0) as libc::c_int)
        };
        let (here, _there) = UnixStream::pair().unwrap();
        let gone = AtomicBool::new(false);
        let life = Arc::new(Life { socket: here.into(), pidfd: Some(pidfd), gone, client_id: 3 });
        let watcher = Watcher::default();
        watcher.add(&life);
        assert!(watcher.poll(Duration::ZERO).is_empty());
        process.kill().unwrap();
        assert_eq!(watcher.poll(Duration::from_secs(60)), [3]);
        assert!(Lifeline(life).hung_up());
        process.wait().unwrap();
    }
}
