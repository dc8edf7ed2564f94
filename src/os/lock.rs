//! The runtime directory: private to its user, and used by one appliance at a time.

use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why the runtime directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The system refused.
    #[error("cannot use the runtime directory {path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Someone else could change what is in it.
    #[error(
        "the runtime directory {0} belongs to another user, is a link, or others may write to it; remove it or \
         choose another [journal] runtime_dir"
    )]
    NotPrivate(PathBuf),
    /// Another appliance is running.
    #[error(
        "another appliance uses the runtime directory {0}; stop it, or choose another [journal] runtime_dir"
    )]
    InUse(PathBuf),
}

/// Holds the runtime directory until dropped (or until the process ends, however it ends).
#[derive(Debug)]
pub struct RuntimeLock {
    _file: File,
}

impl RuntimeLock {
    /// Makes the directory if need be, checks that it is private, and takes its lock. `shared`: other users may pass through
    /// it to the socket.
    pub fn take(directory: &Path, shared: bool) -> Result<Self, LockError> {
        let io_error = |source| LockError::Io { path: directory.into(), source };
        let mode = if shared { 0o711 } else { 0o700 };
        if let Some(parent) = directory.parent() {
            std::fs::create_dir_all(parent).map_err(io_error)?;
        }
        match DirBuilder::new().mode(mode).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error(error)),
            _ => {}
        }
        // Its default place is in a directory where anyone may make names: trust nothing that was there before.
        let found = std::fs::symlink_metadata(directory).map_err(io_error)?;
        // SAFETY: a call without arguments.
        let uid = unsafe { libc::geteuid() };
        if !found.is_dir() || found.uid() != uid || found.mode() & 0o022 != 0 {
            return Err(LockError::NotPrivate(directory.into()));
        }
        std::fs::set_permissions(directory, Permissions::from_mode(mode)).map_err(io_error)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(directory.join("appliance.lock"))
            .map_err(io_error)?;
        // SAFETY: an open descriptor and no pointers.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let error = io::Error::last_os_error();
            return Err(match error.kind() {
                io::ErrorKind::WouldBlock => LockError::InUse(directory.into()),
                _ => io_error(error),
            });
        }
        Ok(Self { _file: file })
    }
}

/// Whether what is written below this directory stays in memory. Where the system does not say, it is taken to.
#[must_use]
pub fn is_on_tmpfs(directory: &Path) -> bool {
    let Ok(path) = CString::new(directory.as_os_str().as_bytes()) else { return true };
    // SAFETY: an all-zero statfs is a valid value.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero, and `found` is ours to fill.
    let told = unsafe { libc::statfs(path.as_ptr(), &mut found) } == 0;
    !told || found.f_type as u64 == libc::TMPFS_MAGIC as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_in_a_private_directory() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("run");
        let held = RuntimeLock::take(&directory, false).unwrap();
        assert_eq!(std::fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        assert!(matches!(RuntimeLock::take(&directory, false), Err(LockError::InUse(_))));
        drop(held);
        RuntimeLock::take(&directory, true).unwrap();
        std::fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(RuntimeLock::take(&directory, false), Err(LockError::NotPrivate(_))));
        std::os::unix::fs::symlink(parent.path(), parent.path().join("link")).unwrap();
        assert!(matches!(
            RuntimeLock::take(&parent.path().join("link"), false),
            Err(LockError::NotPrivate(_))
        ));
    }
}
