//! A connected session does not allocate: counted by an allocator that knows the thread.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use support::*;
use tollgate_ring::*;

struct Counting;

thread_local! {
    /// Calls of the allocator by this thread.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    CALLS.with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    // Safety: what the trait asks of its callers.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    // Safety: what the trait asks of its callers.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_connected_session_does_not_allocate() {
    let geometry = geometry(256, 8);
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry)).unwrap();
    let fallback = Fallback::FailOpen { payload: [0; 4] };
    let deadline = Duration::from_nanos(1000);
    let options = SessionOptions {
        in_flight_max: 64,
        life_check_every: Duration::from_nanos(100),
        ..SessionOptions::new(path, client_options(geometry), deadline, fallback)
    };
    let mut now = 0;
    let mut session = Session::open(options, now).unwrap();
    let mut connection = None;
    until("connected", || {
        now += 1;
        assert_eq!(session.poll(now), None);
        connection = connection.take().or(listener.accept_within(Duration::ZERO).unwrap());
        session.is_connected()
    });
    let mut connection = connection.unwrap();
    let mut request = Request::new();
    let before = CALLS.get();
    assert_ne!(before, 0, "the allocator counts");
    for n in 0..100_000_u64 {
        now += 20;
        let _ = session.submit(1, 0, n, now, &[n; 28], now);
        // The server pauses now and then: long enough for late verdicts, then long enough for forgetting.
        if n % 1000 > if n % 2000 < 1000 { 60 } else { 150 } {
            while connection.poll(&mut request).unwrap() {
                connection.reply(&answer(&request)).unwrap();
            }
            connection.publish();
        }
        while session.poll(now).is_some() {}
        if n % 1000 == 0 {
            session.wait(Duration::from_micros(1), now);
        }
    }
    assert_eq!(CALLS.get(), before);
    let counts = session.counts();
    assert!(counts.answered > 50_000 && counts.fallback_deadline > 1000, "{counts:?}");
    assert!(counts.late > 100 && counts.forgotten > 100, "{counts:?}");
    assert!(session.is_connected());
}
