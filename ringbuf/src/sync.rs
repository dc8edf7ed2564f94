//! Atomics and fences: the standard ones, or those of the model checker in use.
//!
//! Only private memory and the fences go through here. Shared files are reached through [`crate::file`], whose model is in
//! `model/`.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64};

use std::sync::atomic::Ordering;

/// A fence. Relaxed, which only a weakened model asks for, is none at all.
#[inline(always)]
pub(crate) fn fence(order: Ordering) {
    #[cfg(loom)]
    if order != Ordering::Relaxed {
        loom::sync::atomic::fence(order);
    }
    // Shuttle explores interleavings only: every access is in order, and so every fence is there already.
    #[cfg(shuttle)]
    let _ = order;
    // ThreadSanitizer does not understand fences; its storage loads with Acquire instead.
    #[cfg(not(any(loom, shuttle)))]
    if cfg!(not(tsan)) || order == Ordering::SeqCst {
        std::sync::atomic::fence(order);
    }
}

/// Where a word slept on lies. Models sleep in a way of their own and have no addresses.
pub(crate) fn address(word: &AtomicU32) -> *const u32 {
    #[cfg(any(loom, shuttle))]
    {
        let _ = word;
        std::ptr::null()
    }
    #[cfg(not(any(loom, shuttle)))]
    word.as_ptr().cast_const()
}
