//! Zeroed memory, reserved once and touched lazily, and the prefetch hint.
//!
//! Everything the engine keeps lives in a few of these blocks of 8-byte words, each starting on a 64-byte line. The
//! operating system backs a page when it is first written, so a generous limit costs nothing until it is used.

use super::LimitError;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes of a cache line.
pub(super) const LINE_BYTES: usize = 64;
/// Words of a cache line.
pub(super) const LINE_WORDS: usize = LINE_BYTES / 8;
/// That most records have at most.
const FEW_LINES: usize = 6;

/// A fixed number of 8-byte words, zero at first, starting on a line.
pub(super) struct Memory {
    start: NonNull<u64>,
    words: usize,
}

// SAFETY: a `Memory` owns its words alone, and words have no ties to a thread.
unsafe impl Send for Memory {}
// SAFETY: a shared `Memory` only gives out shared slices of plain words.
unsafe impl Sync for Memory {}

impl Memory {
    /// What [`reserve`](Self::reserve) takes for so many words.
    pub(super) fn bytes_for(words: u64) -> u64 {
        words.div_ceil(LINE_WORDS as u64).max(1).saturating_mul(LINE_BYTES as u64)
    }

    /// Reserves whole lines for at least `words` words; `what` names them in the error.
    pub(super) fn reserve(words: usize, what: &str) -> Result<Self, LimitError> {
        let lines = words.div_ceil(LINE_WORDS).max(1);
        let refused = || LimitError {
            message: format!(
                "cannot reserve {words} words of memory for {what}; lower the limits or give the machine more memory"
            ),
        };
        let bytes = lines.checked_mul(LINE_BYTES).ok_or_else(refused)?;
        let layout = Layout::from_size_align(bytes, LINE_BYTES).map_err(|_| refused())?;
        // SAFETY: `layout` has a size of at least one line.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start.cast::<u64>()).ok_or_else(refused)?;
        Ok(Self { start, words: lines * LINE_WORDS })
    }

    /// Asks the processor for the line that holds `word`. Only a hint; any index is allowed.
    #[inline]
    pub(super) fn prefetch(&self, word: usize) {
        prefetch(self.start.as_ptr().wrapping_add(word));
    }

    /// The same for so many lines, from that of `word` on.
    #[inline]
    pub(super) fn prefetch_lines(&self, word: usize, lines: usize) {
        let start = self.start.as_ptr().wrapping_add(word);
        let ask = |line: usize| prefetch(start.wrapping_add(line * LINE_WORDS));
        // Most are a few: one by one, without the loops that a compiler makes for many.
        for line in 0..FEW_LINES {
            if line == lines {
                return;
            }
            ask(line);
        }
        (FEW_LINES..lines).for_each(ask);
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let layout = Layout::from_size_align(self.words * 8, LINE_BYTES);
        if let Ok(layout) = layout {
            // SAFETY: `reserve` allocated exactly this many bytes with this alignment, and nobody else frees them.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) };
        }
    }
}

impl Deref for Memory {
    type Target = [u64];

    #[inline]
    fn deref(&self) -> &[u64] {
        // SAFETY: `start` points to `words` initialised words that live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl DerefMut for Memory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `deref`, and `&mut self` makes the slice the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.words) }
    }
}

#[inline]
fn prefetch(at: *const u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes nothing that a program can observe.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: `prfm` never faults and changes nothing that a program can observe.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}
