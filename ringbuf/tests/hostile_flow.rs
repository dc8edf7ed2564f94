//! Clients that take too much: verdicts never received, places all taken, wake words at their limits, mappings bent.

mod hostile_rig;
mod support;

use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hostile_rig::*;
use support::*;
use tollgate_ring::*;

const OVERREACH_VARIABLE: &str = "TOLLGATE_RING_OVERREACH";
const SLOT_BYTES: u32 = 128;
const CAPACITY: u32 = 64;

fn sizes() -> Geometry {
    geometry(SLOT_BYTES, CAPACITY)
}

#[test]
fn who_never_receives_is_read_to_its_credit_and_no_further() {
    let (_directory, path) = socket_path();
    let service = Service::start(&path, server_options(sizes()));
    let neighbour = Neighbour::start(&path, sizes());

    // With the library: it says busy.
    let mut deaf =
        Client::connect(&path, ClientOptions { name: "deaf".into(), ..client_options(sizes()) }).unwrap();
    for n in 0..u64::from(CAPACITY) {
        deaf.send(1, n, 0, &[]).unwrap();
    }
    assert_eq!(deaf.send(1, 64, 0, &[]), Err(SendError::Busy));

    // By hand: the server takes what the credit allows, gives the slots back, and lets the next lap lie.
    let mut by_hand = ByHand::connect(&path, SLOT_BYTES, "deafer").unwrap();
    while by_hand.send() {}
    let taken = |by_hand: &ByHand| by_hand.rings.s.word(layout::S_REQUEST_CURSOR).load(Ordering::Acquire);
    until("all taken", || taken(&by_hand) == CAPACITY.into());
    (64..128).for_each(|index| by_hand.rings.put(index, index + 1, 0));
    by_hand.kick(1);
    neighbour.goes_on(10_000);
    assert_eq!(taken(&by_hand), CAPACITY.into());
    assert!(by_hand.is_served(), "to be slow is no crime");
    // One verdict received is one request more.
    assert!(by_hand.receive().is_some());
    by_hand.kick(2);
    until("one more", || taken(&by_hand) == u64::from(CAPACITY) + 1);

    neighbour.goes_on(1000);
    drop(deaf);
    drop(by_hand);
    service.settle(1);
    assert_eq!((service.tally("deaf").taken, service.tally("deafer").taken), (64, 65));
    assert_eq!((service.total().quarantined(), service.total().hung_up), (0, 2));
    neighbour.finish();
    service.stop();
}

#[test]
fn sixty_four_clients_are_served_and_the_next_is_told() {
    let (_directory, path) = socket_path();
    let service = Service::start(&path, ServerOptions { clients_max: 64, ..server_options(sizes()) });
    let connect = || Client::connect(&path, client_options(sizes()));
    let mut clients: Vec<_> = (0..64).map(|_| connect().unwrap()).collect();
    let refusal = Refusal::TooManyClients { clients_max: 64 };
    for turned_away in 1..=3 {
        let error = connect().err().expect("no place is left");
        assert!(matches!(error, ConnectError::Refused(found) if found == refusal), "{error}");
        until("it is counted", || service.refused("too_many_clients") == turned_away);
    }
    // All at once: every client has requests in flight while the others are served.
    std::thread::scope(|scope| {
        for clients in clients.chunks_mut(8) {
            scope.spawn(|| {
                for round in 0..20 {
                    for client in &mut *clients {
                        (0..32).for_each(|n| client.send(1, round * 32 + n, 0, &[n, round]).unwrap());
                    }
                    for client in &mut *clients {
                        for n in 0..32 {
                            assert!(client.wait(LONG).unwrap(), "no verdict");
                            let verdict = client.recv().unwrap().unwrap();
                            let sum = u64::rotate_left(n, 1) ^ round;
                            assert_eq!(verdict.req_id, round * 32 + n);
                            assert_eq!(verdict.payload[..3], [2, sum, !sum]);
                        }
                    }
                }
            });
        }
    });
    // One goes, one comes.
    drop(clients.pop());
    service.settle(63);
    clients.push(connect().unwrap());
    drop(clients);
    service.settle(0);
    let (counts, total) = (service.counts(), service.total());
    assert_eq!((counts.accepted, counts.failed, counts.went_away), (65, 0, 0));
    assert_eq!(counts.refused.iter().sum::<u64>(), 3);
    assert_eq!((total.quarantined(), total.taken), (0, 64 * 20 * 32));
    service.stop();
}

/// The client's word at its limits, and never the word it was: the server's sleep ends in time, and its wake never waits.
#[test]
fn neither_sleep_nor_wake_depends_on_what_a_client_says() {
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(sizes())).unwrap();
    let (mut connection, _client, rings) = raw_pair(&listener, &path, SLOT_BYTES);
    let kick = rings.c.word(layout::C_KICK);
    let mut parker = Parker::new();
    for value in [0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX - 1, u64::MAX] {
        kick.store(value, Ordering::Release);
        let parked = parker.park([&connection].into_iter(), Duration::from_millis(1));
        assert_eq!(parked, Parked::TimedOut, "at {value:#x}");
    }
    // A sleep may end early for a word that changes, and it does end.
    let stop = flag();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                kick.fetch_add(0x8000_0001, Ordering::Relaxed);
                // SAFETY: the kernel uses the address only to find sleepers.
                unsafe { libc::syscall(libc::SYS_futex, kick.as_ptr(), libc::FUTEX_WAKE, i32::MAX, 0, 0, 0) };
            }
        });
        for _ in 0..200 {
            assert_ne!(
                parker.park([&connection].into_iter(), Duration::from_millis(1)),
                Parked::Ready,
                "there is no work"
            );
        }
        stop.store(true, Ordering::Relaxed);
    });
    // Announced asleep for ever, with nobody on the bell: it is rung now and then, and publishing goes on.
    let mut request = Request::new();
    for parked in [1, u64::from(u32::MAX), u64::MAX] {
        rings.c.word(layout::C_PARKED).store(parked, Ordering::Release);
        std::thread::sleep(Duration::from_millis(1));
        let bell = rings.s.word(layout::S_VERDICT_BELL).load(Ordering::Acquire);
        let first = connection.taken();
        for index in first..first + 10_000 {
            rings.put(index, index + 1, 0);
            assert_eq!(connection.poll(&mut request), Ok(true));
            connection.reply(&answer(&request)).unwrap();
            connection.publish();
            rings.c.word(layout::C_VERDICT_CURSOR).store(index + 1, Ordering::Release);
        }
        let rung = rings.s.word(layout::S_VERDICT_BELL).load(Ordering::Acquire).wrapping_sub(bell);
        assert!(
            (1..10_000).contains(&rung) && connection.quarantined().is_none(),
            "parked {parked:#x}: {rung}"
        );
        assert_eq!(connection.taken(), first + 10_000);
    }
}

fn errno(result: isize) -> i32 {
    assert_eq!(result, -1, "it was allowed");
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

/// Maps more than there is of a file, and touches it.
fn touch_beyond(map: &RawMap) {
    // SAFETY: grows our own mapping to an address of the kernel's choice; the old one is not used again. What is read
    // beyond the file's end is what this process dies of.
    unsafe {
        let grown = libc::mremap(map.base.cast(), map.bytes, map.bytes * 2, libc::MREMAP_MAYMOVE);
        assert_ne!(grown, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        let end = grown.cast::<u8>().add(map.bytes);
        std::hint::black_box(end.read_volatile());
    }
    panic!("there was something beyond the end of the file");
}

/// A second mapping of S made out of the first has no more rights than that.
fn double_s(rings: &RawRings) {
    let s = &rings.s;
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a length of zero asks for a second mapping of the same shared pages, elsewhere; then calls that name that
    // mapping only, and are refused.
    unsafe {
        let again = libc::mremap(s.base.cast(), 0, s.bytes, libc::MREMAP_MAYMOVE);
        assert_ne!(again, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        assert_eq!(errno(libc::mprotect(again, s.bytes, writable) as isize), libc::EACCES);
        errno(libc::madvise(again, s.bytes, libc::MADV_REMOVE) as isize);
        assert_eq!(libc::munmap(again, s.bytes), 0);
    }
    // Nor through the process's own memory file, which writes to private read-only pages.
    let memory = std::fs::OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap();
    let state = s.base as u64 + layout::S_STATE as u64;
    assert!(std::os::unix::fs::FileExt::write_at(&memory, &[0; 8], state).is_err(), "S was written");
    // Nor through the link to its descriptor: a new description, the same seals.
    let link = format!("/proc/self/fd/{}", s.fd.as_raw_fd());
    let file = std::fs::OpenOptions::new().read(true).write(true).open(link).unwrap();
    for map in [(s, &file), (&rings.c, &std::fs::File::from(rings.c.fd.try_clone().unwrap()))] {
        let (map, file) = map;
        // SAFETY: asks for a new mapping and for changes of size and contents; every one is refused.
        unsafe {
            let fd = file.as_raw_fd();
            let again = libc::mmap(std::ptr::null_mut(), map.bytes, writable, libc::MAP_SHARED, fd, 0);
            assert_eq!(again, libc::MAP_FAILED);
            assert_eq!(errno(libc::ftruncate(fd, 0) as isize), libc::EPERM);
            for mode in [libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, 0] {
                // Nothing may be taken away; what is allocated already may be asked for again.
                let bytes = if mode == 0 { map.bytes * 2 } else { map.bytes };
                assert_eq!(errno(libc::fallocate(fd, mode, 0, bytes as i64) as isize), libc::EPERM);
            }
        }
    }
}

/// Not a test by itself: a client that bends its mappings, and dies of it where it must.
#[test]
fn child_overreacher() {
    let Ok(told) = std::env::var(OVERREACH_VARIABLE) else { return };
    let (what, path) = told.split_once(' ').unwrap();
    let mut by_hand = ByHand::connect(Path::new(path), SLOT_BYTES, what).unwrap();
    let ask = |by_hand: &mut ByHand| {
        assert!(by_hand.send());
        until("the verdict", || by_hand.receive().is_some());
    };
    ask(&mut by_hand);
    match what {
        "beyond-c" => touch_beyond(&by_hand.rings.c),
        "beyond-s" => touch_beyond(&by_hand.rings.s),
        "double-s" => double_s(&by_hand.rings),
        other => panic!("{other}?"),
    }
    ask(&mut by_hand);
}

#[test]
fn bent_mappings_hurt_nobody_else() {
    let (_directory, path) = socket_path();
    let service = Service::start(&path, server_options(sizes()));
    let neighbour = Neighbour::start(&path, sizes());
    for (what, killed_by, taken) in
        [("beyond-c", Some(libc::SIGBUS), 1), ("beyond-s", Some(libc::SIGBUS), 1), ("double-s", None, 2)]
    {
        if what == "double-s" && emulated("a mapping doubled by mremap (the emulator refuses that: ENOMEM)") {
            continue;
        }
        let told = format!("{what} {}", path.display());
        let mut client = child("child_overreacher", OVERREACH_VARIABLE, told.as_ref());
        let status = client.wait().unwrap();
        assert_eq!((status.signal(), status.success()), (killed_by, killed_by.is_none()), "{what}");
        neighbour.goes_on(1000);
        service.settle(1);
        let tally = service.tally(what);
        assert_eq!((tally.hung_up, tally.quarantined(), tally.taken), (1, 0, taken), "{what}");
    }
    neighbour.finish();
    service.settle(0);
    service.stop();
}

/// A client that always claims to sleep is woken a bounded number of times, and one that does sleep is not forgotten.
#[test]
fn a_client_that_never_wakes_cannot_cost_a_system_call_for_each_verdict() {
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry(128, 64))).unwrap();
    let (mut connection, _client, rings) = raw_pair(&listener, &path, 128);
    rings.c.word(layout::C_PARKED).store(1, Ordering::Relaxed);
    let bell = || rings.s.word(layout::S_VERDICT_BELL).load(Ordering::Relaxed);
    let began = std::time::Instant::now();
    let mut request = Request::new();
    let mut rounds = |connection: &mut Connection, from: u64, to: u64| {
        for n in from..to {
            rings.put(n, n + 1, 0);
            assert_eq!(connection.poll(&mut request), Ok(true));
            connection.reply(&answer(&request)).unwrap();
            connection.publish();
            rings.c.word(layout::C_VERDICT_CURSOR).store(n + 1, Ordering::Release);
        }
    };
    rounds(&mut connection, 0, 8);
    assert_eq!(bell(), 8, "a few wakes follow each other at once");
    rounds(&mut connection, 8, 100_000);
    let earned = began.elapsed().as_micros() as u64 / 500 + 1;
    assert!(bell() <= 8 + earned, "{} wakes, {earned} earned", bell());
    // What is owed is made up for in rounds without requests, and before the server sleeps.
    rounds(&mut connection, 100_000, 100_100);
    let before = bell();
    assert_eq!(Parker::new().park([&connection].into_iter(), Duration::from_millis(1)), Parked::TimedOut);
    assert_eq!(bell(), before + 1);
    std::thread::sleep(Duration::from_millis(1));
    rounds(&mut connection, 100_100, 100_200);
    let before = bell();
    until("the wake owed", || {
        connection.publish();
        bell() > before
    });
}
