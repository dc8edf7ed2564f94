//! The other process of a measurement: this binary again, which never outlives this process.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// A child of this process; killed and waited for when dropped.
pub(crate) struct Child {
    pub(crate) process: std::process::Child,
    name: &'static str,
}

impl Child {
    /// Runs the hidden command `name` of this binary, with `kept` open in it under the same numbers. To be called on a
    /// thread that lives as long as the process: the child dies with the thread that made it.
    pub(crate) fn spawn(name: &'static str, arguments: &[String], kept: &[&OwnedFd]) -> Result<Self> {
        let kept: Vec<i32> = kept.iter().map(|fd| fd.as_raw_fd()).collect();
        // SAFETY: a call without arguments.
        let parent = unsafe { libc::getpid() };
        let mut command = Command::new("/proc/self/exe");
        command.arg(name).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let settle = move || {
            // SAFETY: plain system calls on numbers, all of which may be made between fork and exec. The child ignores
            // SIGINT, which a terminal sends to it too: it is this process that ends the child.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::signal(libc::SIGINT, libc::SIG_IGN);
                // The parent may have died before the first of these calls.
                if libc::getppid() != parent {
                    return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
                }
                for &fd in &kept {
                    if libc::fcntl(fd, libc::F_SETFD, 0) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
            }
            Ok(())
        };
        // SAFETY: the closure makes system calls only; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(settle) };
        let process = command.spawn().with_context(|| format!("cannot start the {name} process"))?;
        Ok(Self { process, name })
    }

    /// Fails when the child has ended: whoever asks still needs it.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.process.try_wait()? {
            Some(status) => {
                bail!("the {} process has ended ({status}); what it said stands above", self.name)
            }
            None => Ok(()),
        }
    }

    /// Waits until the child, which has been told to, has ended well.
    pub(crate) fn finish(mut self, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        let status: ExitStatus = loop {
            match self.process.try_wait()? {
                Some(status) => break status,
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
                None => bail!("the {} process does not end", self.name),
            }
        };
        ensure!(status.success(), "the {} process failed ({status}); what it said stands above", self.name);
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
