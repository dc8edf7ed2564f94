//! Sealed memory: bytes that nobody, this process included, can change any more.
//!
//! A policy archive is copied into a memfd, the memfd is sealed, and only then is the copy validated. Whatever
//! happens to the file it came from, what was validated is what is executed.

use memmap2::{Mmap, MmapOptions};
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _};

/// The seals that make a memfd immutable for good.
const SEALS: libc::c_int = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// A read-only mapping of a memfd that is sealed against every change.
#[derive(Debug)]
pub struct SealedMemfd {
    map: Mmap,
}

impl SealedMemfd {
    /// Copies `bytes` into sealed memory, resident from the start. `name` is shown in `/proc/PID/maps`.
    pub fn copy_of(name: &str, bytes: &[u8]) -> io::Result<Self> {
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there are no bytes to seal"));
        }
        let name = CString::new(name).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "the name of sealed memory has a zero byte")
        })?;
        // SAFETY: `name` is a C string that outlives the call.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and is owned by nobody else.
        let mut file = unsafe { File::from_raw_fd(fd) };
        // Writing allocates every page, so a full memory shows here and not as a fault later.
        file.write_all(bytes)?;
        // SAFETY: plain fcntl calls on an open descriptor.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: as above.
        let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
        if seals < 0 || seals & SEALS != SEALS {
            return Err(io::Error::other("the kernel did not keep the seals of a memfd"));
        }
        // Private: kernels before 6.7 refuse every shared mapping of a file sealed against writing, a read-only one too.
        // SAFETY: the file can neither be written nor resized any more, by anyone, so the mapping is immutable.
        let map = unsafe { MmapOptions::new().len(bytes.len()).populate().map_copy_read_only(&file)? };
        Ok(Self { map })
    }
}

impl AsRef<[u8]> for SealedMemfd {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_memory_holds_the_bytes() {
        let bytes: Vec<u8> = (0..10_000).map(|i| (i % 251) as u8).collect();
        let sealed = SealedMemfd::copy_of("tollgate test", &bytes).unwrap();
        assert_eq!(sealed.as_ref(), bytes);
        assert_eq!(sealed.as_ref().as_ptr() as usize % 4096, 0);
    }

    #[test]
    fn nothing_and_strange_names_are_refused() {
        assert_eq!(SealedMemfd::copy_of("x", &[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(SealedMemfd::copy_of("a\0b", &[1]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
