//! Memory files: made, sealed, mapped and read without ever forming a plain reference to shared bytes.
//!
//! Another process may change a shared page between any two instructions. So the only view given out is of atomics,
//! and for a read-only mapping the only operation is a relaxed load, which is all the language promises there.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::file::{ReadFile, ReadSlot, WriteFile, WriteSlot};
use crate::wait::{futex_wait, futex_wake};

/// The seals of S, before it is sent, and of C, once the client has mapped it.
pub(crate) const SEALS_ALL: i32 =
    libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL;
/// The seals of C while the client still has to map it for writing.
pub(crate) const SEALS_SIZE: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;

/// A new memory file for this many bytes with every page allocated. A file that would fill a huge page is made of huge pages
/// if the system has any free, and is then rounded up to whole ones.
pub(crate) fn create(name: &CStr, bytes: usize) -> io::Result<OwnedFd> {
    if bytes >= HUGE_PAGE_BYTES
        && let Ok(fd) = make(name, libc::MFD_HUGETLB | libc::MFD_HUGE_2MB)
        && allocate(&fd, huge_up(bytes)).is_ok()
    {
        return Ok(fd);
    }
    let fd = match make(name, libc::MFD_NOEXEC_SEAL) {
        // Kernels before 6.3 do not know MFD_NOEXEC_SEAL.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => make(name, 0),
        result => result,
    }?;
    allocate(&fd, bytes)?;
    Ok(fd)
}

fn make(name: &CStr, flags: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    let fd =
        unsafe { libc::memfd_create(name.as_ptr(), flags | libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just returned to us and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn huge_up(bytes: usize) -> usize {
    bytes.next_multiple_of(HUGE_PAGE_BYTES)
}

/// Whether a file may be this long that has to hold so many bytes: exactly as long, or rounded up to huge pages.
pub(crate) fn length_fits(length: u64, bytes: usize) -> bool {
    length == bytes as u64 || (bytes >= HUGE_PAGE_BYTES && length == huge_up(bytes) as u64)
}

/// Allocates every page, growing the file if its seals allow. A file that was only given a length would kill the first
/// process to touch a page that memory has no room for; this returns an error instead.
pub(crate) fn allocate(fd: &OwnedFd, bytes: usize) -> io::Result<()> {
    loop {
        // SAFETY: a call on an open descriptor with no pointers.
        if unsafe { libc::fallocate(fd.as_raw_fd(), 0, 0, bytes as libc::off_t) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Adds seals and checks that they hold.
pub(crate) fn seal(fd: &OwnedFd, seals: i32) -> io::Result<()> {
    // SAFETY: fcntl with an integer argument on an open descriptor.
    if unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if seals_of(fd)? & seals != seals {
        return Err(io::Error::other("the kernel accepted the seals and does not show them"));
    }
    Ok(())
}

/// The seals in force.
pub(crate) fn seals_of(fd: &OwnedFd) -> io::Result<i32> {
    // SAFETY: fcntl without an argument on an open descriptor.
    let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
    if seals < 0 { Err(io::Error::last_os_error()) } else { Ok(seals) }
}

/// The length of the file.
pub(crate) fn length_of(fd: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(stat_of(fd)?.st_size as u64)
}

fn stat_of(fd: BorrowedFd<'_>) -> io::Result<libc::stat> {
    // SAFETY: a zeroed `stat` is a valid value, and fstat writes only into it.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `stat` is ours to write.
    if unsafe { libc::fstat(fd.as_raw_fd(), &mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stat)
}

/// A shared mapping of a whole memory file. INVARIANT: `base..base + bytes` is mapped, page-aligned and a multiple of
/// 8 bytes long until drop.
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    locked: bool,
    huge_pages: bool,
}

// SAFETY: the mapping is reached only through atomics, and unmapping happens once, in drop.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: &OwnedFd, bytes: usize, protection: i32) -> io::Result<Mapping> {
        let stat = stat_of(std::os::fd::AsFd::as_fd(fd))?;
        if !length_fits(stat.st_size as u64, bytes) || !bytes.is_multiple_of(8) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the memory file has another length than announced",
            ));
        }
        // A file of huge pages can only be mapped in whole ones, and says how large they are.
        let bytes = stat.st_size as usize;
        let huge_pages = stat.st_blksize as usize == HUGE_PAGE_BYTES;
        // SAFETY: a fresh mapping at an address of the kernel's choice; it overlaps nothing of ours.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        let mut mapping = Mapping { base, bytes, locked: false, huge_pages };
        if bytes >= HUGE_PAGE_BYTES && !huge_pages {
            // Advice only: without it, or where the kernel declines, the ring works with small pages.
            // SAFETY: advice on exactly our own mapping; it does not change the contents.
            unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        }
        mapping.lock();
        Ok(mapping)
    }

    /// Brings every page in and keeps it there as far as the limit on locked memory allows.
    fn lock(&mut self) {
        // SAFETY: both calls name exactly our own mapping and do not change the contents.
        self.locked = unsafe {
            libc::madvise(self.base.as_ptr().cast(), self.bytes, libc::MADV_POPULATE_READ);
            libc::mlock(self.base.as_ptr().cast(), self.bytes) == 0
        };
    }

    #[inline(always)]
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: by the invariant the range is mapped, aligned and whole words long for as long as `self` lives. Other
        // processes write to it, which atomics permit. That a read-only mapping is never stored to is kept by `ReadMap`,
        // which gives out loads only.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), self.bytes / 8) }
    }
}

/// Bytes of a huge page, where there are any; the default size of x86-64 and of ARM with small pages of 4 KiB.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped, and no view outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// A mapping that this process may only read.
pub(crate) struct ReadMap(Mapping);

impl ReadMap {
    pub(crate) fn new(fd: &OwnedFd, bytes: usize) -> io::Result<ReadMap> {
        Mapping::new(fd, bytes, libc::PROT_READ).map(ReadMap)
    }

    pub(crate) fn lock(&mut self) {
        self.0.lock();
    }

    pub(crate) fn locked(&self) -> bool {
        self.0.locked
    }

    pub(crate) fn huge_pages(&self) -> bool {
        self.0.huge_pages
    }

    /// The address to sleep on: the lower half of the word at a byte offset.
    pub(crate) fn futex(&self, offset: usize) -> *const u32 {
        self.0.words()[offset / 8].as_ptr().cast_const().cast()
    }

    /// The words of a header.
    pub(crate) fn header<const N: usize>(&self) -> [u64; N] {
        core::array::from_fn(|i| self.load(i * 8))
    }
}

impl ReadFile for ReadMap {
    type Slot<'a> = ReadWords<'a>;

    #[inline(always)]
    fn load(&self, offset: usize) -> u64 {
        self.0.words()[offset / 8].load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn slot(&self, first: usize, count: usize) -> ReadWords<'_> {
        ReadWords(&self.0.words()[first..first + count])
    }

    fn sleep(&self, offset: usize, expected: u64, timeout: Duration) {
        futex_wait(self.futex(offset), expected as u32, timeout);
    }
}

/// One slot of a mapping that this process may only read.
#[derive(Clone, Copy)]
pub(crate) struct ReadWords<'a>(&'a [AtomicU64]);

impl ReadSlot for ReadWords<'_> {
    #[inline(always)]
    fn seq(&self) -> u64 {
        self.0[0].load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn word(&self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn copy(&self, first: usize, out: &mut [u64]) {
        for (to, from) in out.iter_mut().zip(&self.0[first..]) {
            *to = from.load(Ordering::Relaxed);
        }
    }
}

/// A mapping that this process writes and the other only reads.
pub(crate) struct WriteMap(Mapping);

impl WriteMap {
    pub(crate) fn new(fd: &OwnedFd, bytes: usize) -> io::Result<WriteMap> {
        Mapping::new(fd, bytes, libc::PROT_READ | libc::PROT_WRITE).map(WriteMap)
    }

    pub(crate) fn locked(&self) -> bool {
        self.0.locked
    }

    pub(crate) fn huge_pages(&self) -> bool {
        self.0.huge_pages
    }

    /// The word at a byte offset.
    #[inline(always)]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        &self.0.words()[offset / 8]
    }

    /// Writes the header and marks every slot empty for the first lap.
    pub(crate) fn format(&self, header: &[u64], first_index: u64, capacity: u32, slot_words: usize) {
        use crate::layout::{empty_seq_of, slot_word};
        for (to, &word) in self.0.words().iter().zip(header) {
            to.store(word, Ordering::Relaxed);
        }
        for i in 0..u64::from(capacity) {
            let index = first_index.wrapping_add(i);
            let at = slot_word(index, capacity, slot_words);
            self.0.words()[at].store(empty_seq_of(index, capacity), Ordering::Release);
        }
    }
}

impl WriteFile for WriteMap {
    type Slot<'a> = WriteWords<'a>;

    #[inline(always)]
    fn store(&self, offset: usize, value: u64, order: Ordering) {
        self.word(offset).store(value, order);
    }

    #[cold]
    fn bump_and_wake(&self, offset: usize, order: Ordering) {
        let word = self.word(offset);
        word.store(word.load(Ordering::Relaxed).wrapping_add(1), order);
        futex_wake(word.as_ptr().cast_const().cast());
    }

    #[inline(always)]
    fn slot(&self, first: usize, count: usize) -> WriteWords<'_> {
        WriteWords(&self.0.words()[first..first + count])
    }
}

/// One slot of a mapping that this process writes.
#[derive(Clone, Copy)]
pub(crate) struct WriteWords<'a>(&'a [AtomicU64]);

impl WriteSlot for WriteWords<'_> {
    #[inline(always)]
    fn set(&self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    fn fill(&self, first: usize, values: &[u64]) {
        for (to, &value) in self.0[first..].iter().zip(values) {
            to.store(value, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn publish(&self, seq: u64, order: Ordering) {
        self.0[0].store(seq, order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(result: libc::c_int) -> i32 {
        assert_eq!(result, -1);
        io::Error::last_os_error().raw_os_error().unwrap()
    }

    #[test]
    fn a_sealed_file_keeps_its_size_its_pages_and_its_readers() {
        let fd = create(c"test", 8192).unwrap();
        let map = WriteMap::new(&fd, 8192).unwrap();
        seal(&fd, SEALS_ALL).unwrap();
        map.word(8).store(7, Ordering::Release);
        let raw = fd.as_raw_fd();
        // SAFETY: calls on an open descriptor; the one mapping asked for is refused.
        unsafe {
            assert_eq!(errno(libc::ftruncate(raw, 4096)), libc::EPERM);
            assert_eq!(errno(libc::ftruncate(raw, 16384)), libc::EPERM);
            let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            assert_eq!(errno(libc::fallocate(raw, punch, 0, 4096)), libc::EPERM);
            assert_eq!(errno(libc::fcntl(raw, libc::F_ADD_SEALS, libc::F_SEAL_WRITE)), libc::EPERM);
            assert_eq!(libc::pwrite(raw, [0_u8; 8].as_ptr().cast(), 8, 0), -1);
            let again = libc::mmap(
                std::ptr::null_mut(),
                8192,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                raw,
                0,
            );
            assert_eq!(again, libc::MAP_FAILED);
        }
        allocate(&fd, 8192).unwrap();
        let read = ReadMap::new(&fd, 8192).unwrap();
        assert_eq!(read.load(8), 7);
        map.word(8).store(8, Ordering::Release);
        assert_eq!(read.load(8), 8);
        let base = read.0.base.as_ptr().cast();
        // SAFETY: both calls name our own mapping, and both are refused.
        unsafe {
            assert_eq!(errno(libc::mprotect(base, 4096, libc::PROT_READ | libc::PROT_WRITE)), libc::EACCES);
            if std::env::var_os("TOLLGATE_TEST_RUNNER").is_some() {
                println!("SKIPPED in part: MADV_REMOVE is refused (the emulator answers madvise itself)");
            } else {
                let refused = [libc::EACCES, libc::EPERM, libc::EINVAL];
                assert!(refused.contains(&errno(libc::madvise(base, 4096, libc::MADV_REMOVE))));
            }
        }
    }

    #[test]
    fn a_file_of_another_length_is_not_mapped() {
        let fd = create(c"test", 8192).unwrap();
        assert!(ReadMap::new(&fd, 4096).is_err());
        assert!(ReadMap::new(&fd, 12288).is_err());
    }
}
