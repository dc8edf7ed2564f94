//! Every memory ordering that the protocol rests on, by name.
//!
//! The algorithm in [`crate::ends`] takes its orderings from here and nowhere else, so that a reviewer finds them in one
//! place and a checker can weaken one at a time: under loom, Miri and ThreadSanitizer the ordering named by the environment
//! variable `TOLLGATE_RING_WEAKEN` is one step weaker than it should be, and some model has to fail. `.ci/weaken` does so
//! for each name, and docs/RING.md lists what caught it. In every other build these are constants.

use core::sync::atomic::Ordering;

macro_rules! orderings {
    ($($(#[doc = $doc:literal])+ $name:ident = $order:ident;)+) => {
        $($(#[doc = $doc])+ #[inline(always)] pub(crate) fn $name() -> Ordering {
            chosen(stringify!($name), Ordering::$order)
        })+

        /// Names and strengths, for the checker and for the page that lists them.
        #[cfg(any(test, loom, miri, tsan))]
        pub(crate) const ALL: &[(&str, Ordering)] = &[$((stringify!($name), Ordering::$order),)+];
    };
}

orderings! {
    /// Store of a request's `seq`: its words come before it.
    request_published = Release;
    /// Fence after a request's `seq` was seen: its words are read after it.
    request_seen = Acquire;
    /// Store of a verdict's `seq`: its words come before it.
    verdict_published = Release;
    /// Fence after a verdict's `seq` was seen: its words are read after it.
    verdict_seen = Acquire;
    /// Store of the request cursor: the copies out of the slots come before the client may overwrite them. A Release store
    /// orders earlier loads too.
    requests_released = Release;
    /// Fence after the request cursor was read: slots are overwritten after it.
    release_seen = Acquire;
    /// Store of the receiver's count: the copy of the verdict and the verdict cursor come before it. The sender's next
    /// request carries both to the server, which may then overwrite the slot; so the cursor needs no ordering of its own.
    credit_given = Release;
    /// Load of the receiver's count by the sender.
    credit_taken = Acquire;
    /// Store of the connection's state when it ends: the last verdicts come before it.
    end_published = Release;
    /// Fence after an end was seen: the last verdicts are looked for after it.
    end_seen = Acquire;
    /// Fence of a server that goes to sleep, between its announcement and its last look at the requests.
    server_sleeps = SeqCst;
    /// Fence of a sender, between its request and its look at the announcement.
    server_woken = SeqCst;
    /// Fence of a client that goes to sleep, between its announcement and its last look at the verdicts.
    client_sleeps = SeqCst;
    /// Fence of the server, between its verdicts and its look at the announcement.
    client_woken = SeqCst;
    /// Adding to a word slept on: a sleeper that finds it changed finds the end of the connection too.
    wake_counted = Release;
    /// Adding to a bell: what was handed over comes before it.
    bell_rung = Release;
    /// Load of a bell by its parker: what was handed over is taken after it.
    bell_heard = Acquire;
}

#[cfg(not(any(loom, miri, tsan)))]
#[inline(always)]
const fn chosen(_name: &str, order: Ordering) -> Ordering {
    order
}

/// One step weaker for the one named in the environment.
#[cfg(any(loom, miri, tsan))]
fn chosen(name: &str, order: Ordering) -> Ordering {
    static WEAKENED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let weakened = WEAKENED.get_or_init(|| {
        let name = std::env::var("TOLLGATE_RING_WEAKEN").ok()?;
        assert!(ALL.iter().any(|(known, _)| *known == name), "no ordering is called {name}");
        Some(name)
    });
    match order {
        order if weakened.as_deref() != Some(name) => order,
        Ordering::SeqCst => Ordering::AcqRel,
        _ => Ordering::Relaxed,
    }
}

#[cfg(all(test, not(any(loom, miri, tsan))))]
mod tests {
    use super::ALL;

    #[test]
    fn the_published_list_names_each_ordering_and_its_strength() {
        let page = include_str!("../../docs/RING.md");
        for (name, order) in ALL {
            let row = format!("| `{name}` | {order:?} |");
            assert!(page.contains(&row), "docs/RING.md has no row that begins {row}");
        }
        let rows =
            page.lines().filter(|line| line.starts_with("| `") && line.contains("` | ")).filter(|line| {
                ["Release", "Acquire", "SeqCst"].iter().any(|order| line.contains(&format!("` | {order} |")))
            });
        assert_eq!(rows.count(), ALL.len(), "docs/RING.md lists an ordering that is gone");
    }

    /// Outside the list nothing on the data path chooses an ordering but Relaxed.
    #[test]
    fn the_algorithm_takes_its_orderings_from_the_list() {
        let algorithm = include_str!("ends.rs");
        for order in ["Release", "Acquire", "AcqRel", "SeqCst"] {
            assert!(!algorithm.contains(&format!("Ordering::{order}")), "ends.rs chooses {order} by itself");
        }
        for (name, _) in ALL {
            let uses = [algorithm, include_str!("wait.rs")];
            assert!(uses.iter().any(|text| text.contains(&format!("order::{name}()"))), "{name} is not used");
        }
    }
}
