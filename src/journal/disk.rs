//! How a batch reaches the disk: io_uring on a file opened O_DIRECT | O_DSYNC, or pwrite and fdatasync.
//!
//! Containers often refuse io_uring, and some file systems O_DIRECT, so a probe writes one block and reads it back
//! before the first is trusted. Either way a write that returns is durable, and one that fails is final.

use io_uring::{IoUring, opcode, types};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;

use super::frame::{bytes_of, bytes_of_mut};
use super::segment::BLOCK_BYTES;

/// How segments are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// io_uring where a probe says that it works, else pwrite.
    #[default]
    Auto,
    /// io_uring with O_DIRECT and O_DSYNC, or refuse to start.
    IoUring,
    /// pwrite and fdatasync.
    Pwrite,
}

/// Words aligned to a block, as O_DIRECT wants them.
pub(super) struct AlignedWords {
    pointer: NonNull<u64>,
    len: usize,
}

// SAFETY: it owns its memory and hands it out only through borrows of itself.
unsafe impl Send for AlignedWords {}

impl AlignedWords {
    /// That many bytes of zeros; a multiple of a block, not 0.
    pub(super) fn zeroed(bytes: usize) -> Self {
        assert!(bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES));
        let layout = Self::layout(bytes);
        // SAFETY: the layout is not empty.
        let pointer = unsafe { alloc_zeroed(layout) };
        let Some(pointer) = NonNull::new(pointer.cast()) else { handle_alloc_error(layout) };
        Self { pointer, len: bytes / 8 }
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, BLOCK_BYTES).expect("bounded by the callers, far below isize::MAX")
    }
}

impl std::ops::Deref for AlignedWords {
    type Target = [u64];
    fn deref(&self) -> &[u64] {
        // SAFETY: `len` words were allocated and zeroed, and live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.len) }
    }
}

impl std::ops::DerefMut for AlignedWords {
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.len) }
    }
}

impl Drop for AlignedWords {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout.
        unsafe { dealloc(self.pointer.as_ptr().cast(), Self::layout(self.len * 8)) };
    }
}

/// The backend that won.
pub(super) enum Disk {
    /// io_uring.
    Uring(Box<IoUring>),
    /// pwrite; with why not io_uring, when it was tried.
    Pwrite(Option<String>),
}

impl Disk {
    /// Chooses by what works in `dir`.
    pub(super) fn choose(backend: Backend, dir: &Path) -> io::Result<Self> {
        match backend {
            Backend::Pwrite => Ok(Self::Pwrite(None)),
            Backend::IoUring => Self::probe(dir),
            Backend::Auto => {
                Ok(Self::probe(dir).unwrap_or_else(|error| Self::Pwrite(Some(error.to_string()))))
            }
        }
    }

    /// Writes a block through io_uring and reads it back.
    fn probe(dir: &Path) -> io::Result<Self> {
        let named = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"))
        };
        let ring = IoUring::new(2).map_err(named("io_uring is refused here"))?;
        let mut disk = Self::Uring(Box::new(ring));
        let probe = tempfile::Builder::new().prefix("probe-").suffix(".tmp").tempfile_in(dir)?;
        probe.as_file().set_len(BLOCK_BYTES as u64)?;
        let file = disk.open(probe.path()).map_err(named("O_DIRECT is refused here"))?;
        let mut block = AlignedWords::zeroed(BLOCK_BYTES);
        block.iter_mut().enumerate().for_each(|(index, word)| *word = index as u64 + 1);
        disk.write(&file, &mut block, BLOCK_BYTES, 0).map_err(named("a write through io_uring failed"))?;
        let mut back = AlignedWords::zeroed(BLOCK_BYTES);
        probe.as_file().read_exact_at(bytes_of_mut(&mut back), 0)?;
        if block[..] != back[..] {
            return Err(io::Error::other("a block written through io_uring was not read back"));
        }
        Ok(disk)
    }

    /// A word for logs.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Uring(_) => "io_uring O_DIRECT|O_DSYNC",
            Self::Pwrite(_) => "pwrite+fdatasync",
        }
    }

    /// Opens a segment for writing.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        let flags = match self {
            Self::Uring(_) => libc::O_DIRECT | libc::O_DSYNC,
            Self::Pwrite(_) => 0,
        };
        OpenOptions::new().write(true).custom_flags(flags).open(path)
    }

    /// Writes the first `bytes` of `words` at `offset` and returns when they are durable. Never retries: after a
    /// failure the kernel may have dropped the dirty pages, and a second fdatasync would lie.
    pub(super) fn write(
        &mut self,
        file: &File,
        words: &mut AlignedWords,
        bytes: usize,
        offset: u64,
    ) -> io::Result<()> {
        match self {
            Self::Pwrite(_) => {
                file.write_all_at(&bytes_of(words)[..bytes], offset)?;
                file.sync_data()
            }
            Self::Uring(ring) => write_through(ring, file, words, bytes, offset),
        }
    }
}

fn write_through(
    ring: &mut IoUring,
    file: &File,
    words: &mut AlignedWords,
    bytes: usize,
    offset: u64,
) -> io::Result<()> {
    assert!(bytes <= words.len() * 8);
    let entry = opcode::Write::new(types::Fd(file.as_raw_fd()), words.pointer.as_ptr().cast(), bytes as u32)
        .offset(offset)
        .build();
    // SAFETY: the buffer is at least `bytes` long and outlives the operation: below, we return only after its
    // completion was seen, or after giving the buffer up for good.
    unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
    let completed = loop {
        if let Some(completed) = ring.completion().next() {
            break completed;
        }
        match ring.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                // The kernel may still be reading the buffer: leak it rather than free it.
                let given_up = std::mem::replace(words, AlignedWords::zeroed(words.len() * 8));
                std::mem::forget(given_up);
                return Err(error);
            }
        }
    };
    match completed.result() {
        code if code < 0 => Err(io::Error::from_raw_os_error(-code)),
        written if written as usize == bytes => Ok(()),
        written => Err(io::Error::new(
            io::ErrorKind::WriteZero,
            format!("only {written} of {bytes} bytes were written"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_write_what_they_are_given() {
        let dir = tempfile::tempdir().unwrap();
        for backend in [Backend::Auto, Backend::Pwrite] {
            let mut disk = Disk::choose(backend, dir.path()).unwrap();
            let path = dir.path().join("file");
            File::create(&path).unwrap().set_len(3 * BLOCK_BYTES as u64).unwrap();
            let file = disk.open(&path).unwrap();
            let mut words = AlignedWords::zeroed(2 * BLOCK_BYTES);
            words.fill(0x5a5a);
            disk.write(&file, &mut words, 2 * BLOCK_BYTES, BLOCK_BYTES as u64).unwrap();
            let back = std::fs::read(&path).unwrap();
            assert!(back[..BLOCK_BYTES].iter().all(|byte| *byte == 0), "{}", disk.name());
            assert_eq!(&back[BLOCK_BYTES..], bytes_of(&words), "{}", disk.name());
        }
    }

    #[test]
    fn a_device_that_is_full_is_an_error_not_a_retry() {
        let dir = tempfile::tempdir().unwrap();
        for backend in [Backend::Auto, Backend::Pwrite] {
            let mut disk = Disk::choose(backend, dir.path()).unwrap();
            let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
            let mut words = AlignedWords::zeroed(BLOCK_BYTES);
            let error = disk.write(&file, &mut words, BLOCK_BYTES, 0).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{}", disk.name());
        }
    }

    #[test]
    fn what_is_not_a_directory_is_no_place_for_uring() {
        assert!(Disk::choose(Backend::IoUring, Path::new("/dev/null")).is_err());
        assert_eq!(Disk::choose(Backend::Auto, Path::new("/dev/null")).unwrap().name(), "pwrite+fdatasync");
    }
}
