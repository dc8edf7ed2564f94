//! The engine thread does not allocate while it serves: counted by an allocator that knows the thread.

mod rig;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use rig::{Oracle, POLICY, Rig};
use tollgate::appliance;
use tollgate::config::Config;
use tollgate::policy::Sources;
use tollgate_ring::{Client, ClientOptions};

struct Counting;

/// The thread whose allocations are counted; 0 for none.
static WATCHED: AtomicI32 = AtomicI32::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    let watched = WATCHED.load(Ordering::Relaxed);
    // SAFETY: a call without arguments.
    if watched != 0 && unsafe { libc::gettid() } == watched {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
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

    // Safety: what the trait asks of its callers.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    // Safety: what the trait asks of its callers.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The one thread of this process with this name.
fn thread_named(name: &str) -> i32 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap());
    let named = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let mut found = tasks.filter(named).map(|task| task.file_name().to_str().unwrap().parse().unwrap());
    let id = found.next().expect("the thread is there");
    assert!(found.next().is_none(), "another thread called {name}");
    id
}

#[test]
fn the_engine_thread_serves_without_allocating() {
    let rig = Rig::new(POLICY);
    let mut config = Config::read(&rig.config()).unwrap();
    config.log.level = tollgate::log::Level::Error;
    let policy = Sources::single("test", POLICY);
    let appliance = appliance::start(&config, &policy).unwrap();
    let oracle = Oracle::new(&rig);
    let events = oracle.stream(20_000, 1);
    WATCHED.store(thread_named("tg-engine"), Ordering::Relaxed);
    for _ in 0..2 {
        // A client arrives, works and leaves: that does not allocate on the engine's thread either.
        let options = ClientOptions {
            schema_hash: oracle.layout_hash,
            slot_bytes: 256,
            name: "test".into(),
            timeout: rig::PATIENCE,
            durable: false,
        };
        let mut client = Client::connect(&appliance.ready().socket, options).unwrap();
        let (mut sent, mut received) = (0, 0);
        while received < events.len() {
            while sent < events.len() && client.send(events[sent].kind, 0, 0, &events[sent].words).is_ok() {
                sent += 1;
            }
            assert!(client.wait(rig::PATIENCE).unwrap());
            while client.recv().unwrap().is_some() {
                received += 1;
            }
        }
        drop(client);
        while appliance.stats().clients != 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), 0);
    let counts = appliance.stop().unwrap();
    // What it served with it gives back as it ends: the thread that was counted is the one that served.
    assert_ne!(ALLOCATIONS.load(Ordering::Relaxed), 0, "another thread was counted");
    assert_eq!((counts.frames, counts.verdicts, counts.departed), (40_000, 40_000, 2));
    assert!(counts.decided > 10_000 && counts.repeated > 10_000 && counts.refused > 1_000);
}
