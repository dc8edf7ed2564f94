//! What a budget says an engine will reserve is what the engine asks the allocator for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use tollgate::engine::budget::Budget;
use tollgate::engine::{Engine, Limits};
use tollgate::policy::{self, archive};
use tollgate::token::Tokenizer;

struct Counting;

thread_local! {
    /// Bytes that this thread holds.
    static HELD: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get().wrapping_add(layout.size() as u64));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get().wrapping_add(layout.size() as u64));
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size() as u64));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// For the program's own tables, which the budget leaves out.
const TABLES_MAX: u64 = 128 << 10;

#[test]
fn engines_reserve_what_the_budget_says() {
    let plain = "policy plain revision 1\nentity card\nevent payment { card: card, amount: int }\n\
                 feature day = count(payment) by card last 1d\nrule many on payment { when day > 3 then score 9 }\n\
                 decide payment { score = rule_scores, review when score >= 70, unassessed allow }\n";
    let bounded = plain.replace("last 1d\n", "last 1d assume high\n");
    let texts = [
        plain,
        &bounded,
        include_str!("golden/policy/valid.policy"),
        include_str!("../config/policies/demo.policy"),
        include_str!("../config/handbook/extended.policy"),
    ];
    let limits = Limits { spill_bytes_max: 16 << 20, keys_max: 10_000, ..Limits::default() };
    let all = [
        limits,
        Limits { keys_max: 1, dedup_entries_max: 1, rows_per_key_max: 1, spill_bytes_max: 0, ..limits },
        Limits { keys_max: 300_001, ..limits },
        Limits { rows_per_key_max: 1 << 20, ..limits },
        Limits { rows_per_key_max: 100_000, ..limits },
        Limits { dedup_entries_max: 3_000_000, ..limits },
        Limits { spill_bytes_max: (1 << 30) + 77, ..limits },
    ];
    for text in texts {
        let program =
            policy::compile(text, &Tokenizer::default()).unwrap_or_else(|wrong| panic!("{wrong:?}"));
        let loaded = archive::open(archive::seal(&program)).expect("a program");
        for limits in &all {
            let told =
                Budget::new(loaded.program(), limits).unwrap_or_else(|error| panic!("{}", error.message));
            let told = told.total_bytes();
            let before = HELD.get();
            let engine =
                Engine::new(loaded.clone(), limits).unwrap_or_else(|error| panic!("{}", error.message));
            let held = HELD.get() - before;
            drop(engine);
            assert!(
                (told..told + TABLES_MAX).contains(&held),
                "{held}, told {told}: {} {limits:?}",
                program.name
            );
        }
    }
}
