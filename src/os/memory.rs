//! Memory that is there before it is needed: large pages, pre-faulting and locking.

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
    each_range(HUGE_PAGE_BYTES, libc::MADV_HUGEPAGE)
}

/// Backs all private writable memory of this process with pages, so that no later access waits for one. Returns the
/// bytes covered.
pub fn prefault() -> io::Result<u64> {
    each_range(0, libc::MADV_POPULATE_WRITE)
}

/// Gives this advice for every range of private writable memory of at least so many bytes; returns the bytes of all. The
/// advice must be one that changes no contents.
fn each_range(at_least: usize, advice: i32) -> io::Result<u64> {
    let mut covered = 0;
    for line in std::fs::read_to_string("/proc/self/maps")?.lines() {
        let Some((start, end)) = private_writable(line) else { continue };
        let length = end - start;
        if length < at_least {
            continue;
        }
        // SAFETY: the callers' advice says how memory is to be backed, or backs it as a write would, and changes no
        // contents; a range that is no longer mapped is an error and nothing else.
        let result = unsafe { libc::madvise(std::ptr::without_provenance_mut(start), length, advice) };
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

    #[test]
    fn reserved_memory_is_backed_after_a_prefault() {
        let reserved = memmap2::MmapMut::map_anon(8 << 20).unwrap();
        // Not none: a huge page of a neighbour may reach over the ends.
        let (before, all) = resident(&reserved);
        assert!(before < all, "{before} of {all} pages are there already");
        assert!(prefault().unwrap() >= 8 << 20);
        if std::env::var_os("TOLLGATE_TEST_RUNNER").is_some() {
            println!(
                "SKIPPED in part: pages are there after a prefault (the emulator answers madvise itself)"
            );
        } else {
            assert_eq!(resident(&reserved), (all, all));
        }
        assert!(reserved.iter().all(|byte| *byte == 0));
    }
}
