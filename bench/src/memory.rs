//! Memory that two processes share, as words.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, ensure};
use memmap2::{MmapOptions, MmapRaw};

/// A mapped memory file.
pub(crate) struct Memory {
    map: MmapRaw,
    file: OwnedFd,
}

impl Memory {
    /// Makes one of `bytes` zeros, resident from the start.
    pub(crate) fn new(bytes: usize) -> Result<Self> {
        // SAFETY: the name is a C string that outlives the call.
        let fd = unsafe { libc::memfd_create(c"tollgate-bench".as_ptr(), libc::MFD_CLOEXEC) };
        ensure!(fd >= 0, "cannot make a memory file: {}", std::io::Error::last_os_error());
        // SAFETY: the descriptor was just made and is owned by nobody else.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: a call on an open descriptor, without pointers.
        let refused = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes as libc::off_t) };
        ensure!(refused == 0, "cannot reserve {bytes} bytes: {}", std::io::Error::from_raw_os_error(refused));
        Self::open(file)
    }

    /// Maps the whole of a memory file that [`Memory::new`] made.
    pub(crate) fn open(file: OwnedFd) -> Result<Self> {
        let file = File::from(file);
        let bytes = file.metadata().context("the size of shared memory")?.len() as usize;
        let map =
            MmapOptions::new().len(bytes).populate().map_raw(&file).context("cannot map shared memory")?;
        Ok(Self { map, file: file.into() })
    }

    /// Maps the whole of a memory file that may only be read; a store to it kills the process.
    pub(crate) fn open_to_read(file: OwnedFd) -> Result<Self> {
        let file = File::from(file);
        let bytes = file.metadata().context("the size of shared memory")?.len() as usize;
        let options = MmapOptions::new().len(bytes).populate().clone();
        let map = options.map_raw_read_only(&file).context("cannot map shared memory")?;
        Ok(Self { map, file: file.into() })
    }

    /// The file, to be handed to the other process.
    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// All of it.
    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, as long as said and lives as long as `self`; nobody makes the file shorter.
        // The other process writes it too, and both do so through atomics only.
        unsafe {
            std::slice::from_raw_parts(self.map.as_mut_ptr().cast(), self.map.len() / size_of::<AtomicU64>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_show_the_same_words() {
        let here = Memory::new(4096).unwrap();
        let there = Memory::open(here.file().try_clone().unwrap()).unwrap();
        assert_eq!(here.words().len(), 512);
        here.words()[7].store(9, Ordering::Relaxed);
        assert_eq!(there.words()[7].load(Ordering::Relaxed), 9);
    }
}
