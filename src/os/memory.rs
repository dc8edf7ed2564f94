//! Memory that is there before it is needed: how much there is, large pages, touching and locking.

use std::io;

/// Keeps every page that is in use now, or that is first touched later in memory reserved by now, from being swapped out.
pub fn lock() -> io::Result<()> {
    // Without MCL_FUTURE: under a limit on locked memory it would make later mappings fail instead of going unlocked.
    // SAFETY: a call without pointers; it changes how memory is backed, not what it holds.
    match unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_ONFAULT) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Bytes of memory that the machine has; `None` where the system does not say.
#[must_use]
pub fn of_machine() -> Option<u64> {
    // SAFETY: a call without pointers.
    let number = |name| u64::try_from(unsafe { libc::sysconf(name) }).ok();
    number(libc::_SC_PHYS_PAGES)?.checked_mul(number(libc::_SC_PAGESIZE)?)
}

/// Where the system says whether it gives large pages to memory that asks for them.
const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
/// Smaller ranges cannot hold a large page: 2 MiB where a page is 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Asks for large pages wherever private writable memory of this process has none yet. A key's record is then found with
/// one look at the page table less. Returns the bytes asked for, 0 where the system gives none.
///
/// Memory that is in small pages already stays so, until the system finds time to gather it.
pub fn prefer_huge_pages() -> io::Result<u64> {
    if !std::fs::read_to_string(HUGE_PAGES).is_ok_and(|said| !said.contains("[never]")) {
        return Ok(0);
    }
    let mut covered = 0;
    for line in std::fs::read_to_string("/proc/self/maps")?.lines() {
        let Some((start, end)) = private_writable(line) else { continue };
        let length = end - start;
        if length < HUGE_PAGE_BYTES {
            continue;
        }
        // SAFETY: the advice says how memory is to be backed and changes no contents; a range that is no longer mapped is
        // an error and nothing else.
        let result =
            unsafe { libc::madvise(std::ptr::without_provenance_mut(start), length, libc::MADV_HUGEPAGE) };
        if result == 0 {
            covered += length as u64;
        } else {
            let error = io::Error::last_os_error();
            // A mapping can go between the listing and the call.
            if !matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EFAULT)) {
                return Err(error);
            }
        }
    }
    Ok(covered)
}

/// Backs this memory with pages, so that no later access waits for one. A page that has none yet is taken from the node of the
/// processor that the calling thread is on. Changes no contents; fails when the system has no more pages to give.
pub fn touch(words: &mut [u64]) -> io::Result<()> {
    if words.is_empty() {
        return Ok(());
    }
    // SAFETY: a call without pointers.
    let page_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let before = words.as_ptr().addr() % page_bytes;
    let start = words.as_mut_ptr().wrapping_byte_sub(before);
    // SAFETY: the range is that of the words, and of what shares their first and last page, which are mapped because the
    // words are.
    match unsafe { populate(start.cast(), before + size_of_val(words)) } {
        // Kernels before 5.14, emulators and sandboxes do not know it.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EPERM)) => {
            touch_each_page(words, page_bytes);
            Ok(())
        }
        result => result,
    }
}

/// Backs the pages from `start` on.
///
/// # Safety
/// What is mapped there must be this process's memory, and no device.
unsafe fn populate(start: *mut libc::c_void, bytes: usize) -> io::Result<()> {
    // SAFETY: the advice backs pages as a write would, changes no contents, and refuses what is not mapped.
    match unsafe { libc::madvise(start, bytes, libc::MADV_POPULATE_WRITE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes one word of each page, and the last, with what is there already.
fn touch_each_page(words: &mut [u64], page_bytes: usize) {
    let last = words.len().checked_sub(1);
    for at in (0..words.len()).step_by(page_bytes / size_of::<u64>()).chain(last) {
        let word = &raw mut words[at];
        // SAFETY: reads and writes one word of a slice that is borrowed exclusively. Volatile, because a write of what is
        // there already would be left out otherwise.
        unsafe { word.write_volatile(word.read_volatile()) };
    }
}

/// Bytes that could be taken now without taking them from anybody else: what the machine has left, or the least that a
/// control group around this process allows. `None` where the system does not say.
#[must_use]
pub fn available() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kibibytes(&text, "MemAvailable:"));
    machine.into_iter().chain(in_groups()).min()
}

/// Bytes of large pages that this process has. `None` where the system does not say.
#[must_use]
pub fn in_large_pages() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/self/smaps_rollup").ok()?, "AnonHugePages:")
}

/// The bytes in the line `NAME   123 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Where version 2 of the control groups is mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// What each control group around this process has left of its bound; those without one are left out.
fn in_groups() -> Vec<u64> {
    let Ok(text) = std::fs::read_to_string("/proc/self/cgroup") else { return Vec::new() };
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let inmost = std::path::Path::new(GROUPS).join(path);
    let left = |group: &std::path::Path| {
        let read = |file: &str| std::fs::read_to_string(group.join(file)).ok();
        left_of(&read("memory.max")?, &read("memory.current")?, &read("memory.stat")?)
    };
    inmost.ancestors().take_while(|group| group.starts_with(GROUPS)).filter_map(left).collect()
}

/// What is left of a control group's bound: all but what it has now, pages of files aside, which the system takes back
/// when it needs them. Those of shared memory it cannot.
fn left_of(max: &str, current: &str, stat: &str) -> Option<u64> {
    let bytes = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.parse::<u64>().ok()
    };
    let (max, current) = (max.trim().parse::<u64>().ok()?, current.trim().parse::<u64>().ok()?);
    let of_files = bytes("file").unwrap_or(0).saturating_sub(bytes("shmem").unwrap_or(0));
    Some(max.saturating_sub(current.saturating_sub(of_files)))
}

/// The range of one line of `/proc/self/maps`, if it is private, writable and of no file.
fn private_writable(line: &str) -> Option<(usize, usize)> {
    let mut parts = line.split_ascii_whitespace();
    let (range, mode) = (parts.next()?, parts.next()?);
    let inode = parts.nth(2)?;
    let name = parts.next().unwrap_or_default();
    let wanted = mode.starts_with("rw") && mode.ends_with('p') && inode == "0";
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    if wanted && !matches!(name, "[stack]" | "[vvar]" | "[vdso]") {
        Some((address(start)?, address(end)?))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_writable_memory_is_touched() {
        let maps = [
            ("7f00-8000 rw-p 00000000 00:00 0", Some((0x7f00, 0x8000))),
            ("7f00-8000 rw-p 00000000 00:00 0          [heap]", Some((0x7f00, 0x8000))),
            ("7f00-8000 rw-s 00000000 00:01 12345      /dev/shm/x", None),
            ("7f00-8000 r--p 00000000 00:00 0", None),
            ("7f00-8000 rw-p 00000000 08:01 99         /usr/lib/x.so", None),
            ("", None),
        ];
        for (line, expected) in maps {
            assert_eq!(private_writable(line), expected, "{line}");
        }
    }

    /// Pages of the mapping that are in memory, and all of its pages.
    fn resident(mapping: &memmap2::MmapMut) -> (usize, usize) {
        // SAFETY: a call without pointers.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let mut pages = vec![0_u8; mapping.len() / page_bytes];
        // SAFETY: writes a byte for each page of a live mapping, which is whole pages long, and touches none of them.
        let result =
            unsafe { libc::mincore(mapping.as_ptr().cast_mut().cast(), mapping.len(), pages.as_mut_ptr()) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        (pages.iter().filter(|&page| page & 1 == 1).count(), pages.len())
    }

    /// `hg` among the flags of its mapping says that a range has asked.
    #[test]
    fn large_pages_are_asked_for_where_the_system_gives_any() {
        let reserved = memmap2::MmapMut::map_anon(8 << 20).unwrap();
        let asked = prefer_huge_pages().unwrap();
        if asked == 0 {
            println!("SKIPPED: large pages are asked for (the system gives none)");
            return;
        }
        assert!(asked >= 8 << 20);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let within = |line: &str| {
            private_writable(line)
                .is_some_and(|(start, end)| (start..end).contains(&(reserved.as_ptr() as usize)))
        };
        let flags = maps.lines().skip_while(|line| !within(line)).find(|line| line.starts_with("VmFlags"));
        if std::env::var_os("TOLLGATE_TEST_RUNNER").is_some() {
            println!("SKIPPED in part: the mapping is marked (the emulator answers madvise itself)");
        } else {
            assert!(flags.unwrap().split_ascii_whitespace().any(|flag| flag == "hg"), "{flags:?}");
        }
    }

    /// Words that begin and end inside a page.
    fn ragged(mapping: &mut memmap2::MmapMut) -> &mut [u64] {
        let bytes = mapping.len();
        // SAFETY: the words are inside a live, writable mapping that is borrowed exclusively; any bits are words.
        let (_, words, _) = unsafe { mapping[64..bytes - 4032].align_to_mut() };
        words
    }

    #[test]
    fn memory_is_backed_once_it_was_touched() {
        let emulated = std::env::var_os("TOLLGATE_TEST_RUNNER").is_some();
        for by_hand in [false, true] {
            let mut reserved = memmap2::MmapMut::map_anon(8 << 20).unwrap();
            // Not none: a huge page of a neighbour may reach over the ends.
            let (before, all) = resident(&reserved);
            assert!(before < all, "{before} of {all} pages are there already");
            let words = ragged(&mut reserved);
            words[4_000] = 7;
            match by_hand {
                true => touch_each_page(words, 4096),
                false => touch(words).unwrap(),
            }
            assert!(words.iter().enumerate().all(|(at, &word)| word == if at == 4_000 { 7 } else { 0 }));
            if emulated {
                println!(
                    "SKIPPED in part: pages are there once touched (the emulator answers madvise itself)"
                );
            } else {
                assert_eq!(resident(&reserved), (all, all), "by hand: {by_hand}");
            }
        }
        touch(&mut []).unwrap();
        touch(&mut [0]).unwrap();
    }

    #[test]
    fn memory_that_cannot_be_had_is_an_error() {
        if std::env::var_os("TOLLGATE_TEST_RUNNER").is_some() {
            println!("SKIPPED: memory that cannot be had is an error (the emulator answers madvise itself)");
            return;
        }
        // SAFETY: nothing is ever mapped so low.
        let error = unsafe { populate(std::ptr::without_provenance_mut(4096), 4096) }.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM), "{error}");
    }

    #[test]
    fn what_is_left_is_told() {
        let (available, machine) = (available().unwrap(), of_machine().unwrap());
        assert!((1..=machine).contains(&available), "{available} of {machine}");
        assert_eq!(kibibytes("MemFree: 5 kB\nMemAvailable:     12 kB\n", "MemAvailable:"), Some(12 << 10));
        assert_eq!(kibibytes("MemFree: 5 kB\n", "MemAvailable:"), None);
        let stat = "anon 500\nfile 300\nfile_mapped 9\nshmem 100\n";
        for (max, current, left) in [
            ("1000\n", "800\n", Some(400)),
            ("max\n", "800\n", None),
            ("500", "800", Some(0)),
            ("100", "0", Some(100)),
        ] {
            assert_eq!(left_of(max, current, stat), left, "{current} of {max}");
        }
    }
}
