//! What a client cannot do: to the server, to other clients, to the files.

mod support;

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use support::*;
use tollgate_ring::*;

fn errno(result: libc::c_int) -> i32 {
    assert_eq!(result, -1, "it was allowed");
    std::io::Error::last_os_error().raw_os_error().unwrap()
}

#[test]
fn seals_hold_against_the_client() {
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry(128, 64))).unwrap();
    let (mut connection, _client, rings) = raw_pair(&listener, &path, 128);
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    for map in [&rings.c, &rings.s] {
        let fd = map.fd.as_raw_fd();
        // SAFETY: calls on an open descriptor; every one of them is refused, the new mapping too.
        unsafe {
            assert_eq!(errno(libc::ftruncate(fd, 4096)), libc::EPERM);
            assert_eq!(errno(libc::ftruncate(fd, 1 << 20)), libc::EPERM);
            let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            assert_eq!(errno(libc::fallocate(fd, punch, 0, 4096)), libc::EPERM);
            assert_eq!(errno(libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_WRITE)), libc::EPERM);
            assert_eq!(libc::pwrite(fd, [0_u8; 8].as_ptr().cast(), 8, 0), -1);
            let again = libc::mmap(std::ptr::null_mut(), map.bytes, writable, libc::MAP_SHARED, fd, 0);
            assert_eq!(again, libc::MAP_FAILED);
            if !emulated("MADV_REMOVE is refused (the emulator answers madvise itself)") {
                errno(libc::madvise(map.base.cast(), map.bytes, libc::MADV_REMOVE));
            }
        }
    }
    // SAFETY: names our own read-only mapping, and is refused.
    unsafe {
        assert_eq!(errno(libc::mprotect(rings.s.base.cast(), 4096, writable)), libc::EACCES);
    }
    // Reopening through /proc is a new description of the same sealed file.
    let again = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/self/fd/{}", rings.s.fd.as_raw_fd()));
    if let Ok(file) = again {
        assert!(std::os::unix::fs::FileExt::write_at(&file, b"x", 0).is_err());
    }
    // The mapping made in time still works.
    rings.put(0, 1, 0);
    assert_eq!(connection.poll(&mut Request::new()), Ok(true));
}

/// What a client may do to its files before it says it has mapped them, and what comes of it.
#[test]
fn files_spoilt_during_the_handshake_are_refused_or_repaired() {
    type Spoil = fn(&RawRings);
    let seal: Spoil = |rings| {
        // SAFETY: fcntl on an open descriptor.
        assert_eq!(unsafe { libc::fcntl(rings.c.fd.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SEAL) }, 0);
    };
    let header: Spoil = |rings| rings.c.word(32).store(u64::MAX, Ordering::Relaxed);
    let punch: Spoil = |rings| {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: fallocate on an open descriptor.
        assert_eq!(unsafe { libc::fallocate(rings.c.fd.as_raw_fd(), mode, 0, 4096) }, 0);
    };
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry(128, 64))).unwrap();
    for (spoil, code, refusal) in [
        (seal, 8, Refusal::SealRefused),
        (header, 9, Refusal::HeaderAltered),
        (punch, 9, Refusal::HeaderAltered),
    ] {
        std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                let client = RawClient::connect(&path);
                let rings = client.begin(128);
                spoil(&rings);
                client.say_mapped(rings.epoch);
                client.refusal().0
            });
            let error = accept_result(&listener).err().unwrap();
            assert!(matches!(error, AcceptError::Refused { refusal: r, .. } if r == refusal), "{error}");
            assert_eq!(client.join().unwrap(), code);
        });
    }
    // A hole among the slots leaves zeroes, which are no sequence number of an empty ring.
    let raw = std::thread::spawn({
        let path = path.clone();
        move || {
            let client = RawClient::connect(&path);
            let rings = client.begin(128);
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            // SAFETY: fallocate on an open descriptor.
            unsafe { assert_eq!(libc::fallocate(rings.c.fd.as_raw_fd(), mode, 4096, 4096), 0) };
            client.say_mapped(rings.epoch);
            assert_eq!(client.hear().unwrap().0[1] >> 32, 4);
            (client, rings)
        }
    });
    let mut connection = accept(&listener);
    let _raw = raw.join().unwrap();
    assert!(matches!(connection.poll(&mut Request::new()), Err(Quarantine::Sequence { found: 0, .. })));
}

#[test]
fn a_scribbler_is_quarantined_and_its_neighbour_is_not() {
    let geometry = geometry(128, 64);
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry)).unwrap();
    let (connection, mut neighbour) = join(&listener, &path, geometry);
    let stop = flag();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| echo(connection, &stop));
        type Scribble = fn(&RawRings);
        let table: [(Scribble, Quarantine); 6] = [
            (|r| r.put(0, 2, 0), Quarantine::Sequence { index: 0, expected: 1, found: 2 }),
            (|r| r.put(0, 0, 0), Quarantine::Sequence { index: 0, expected: 1, found: 0 }),
            (|r| r.put(0, u64::MAX, 0), Quarantine::Sequence { index: 0, expected: 1, found: u64::MAX }),
            (|r| r.put(0, 1, 13), Quarantine::Length { index: 0, found: 13, max: 12 }),
            (|r| r.put(0, 1, 0xffff), Quarantine::Length { index: 0, found: 0xffff, max: 12 }),
            // Ahead of the verdicts written; seen when the server next needs the cursor.
            (
                |r| {
                    r.c.word(128).store(1, Ordering::Release);
                    (0..64).for_each(|i| r.put(i, i + 1, 0));
                },
                Quarantine::VerdictCursor { found: 1, last: 0, written: 0 },
            ),
        ];
        for (scribble, expected) in table {
            let (mut connection, _client, rings) = raw_pair(&listener, &path, 128);
            let mut request = Request::new();
            assert_eq!(connection.poll(&mut request), Ok(false));
            scribble(&rings);
            let found = loop {
                match connection.poll(&mut request) {
                    Ok(true) => {}
                    Ok(false) => panic!("not noticed: {expected}"),
                    Err(found) => break found,
                }
            };
            assert_eq!(found, expected);
            // It stays so, and the client can read it in S.
            rings.put(0, 1, 0);
            assert_eq!(connection.poll(&mut request), Err(expected));
            assert_eq!(connection.reply(&Verdict::default()), Err(ReplyError::Quarantined(expected)));
            assert_eq!(rings.s.word(layout::S_STATE).load(Ordering::Relaxed), layout::STATE_QUARANTINED);
            drive(&mut neighbour, 1000);
        }
        stop.store(true, Ordering::Relaxed);
        server.join().unwrap();
    });
}

#[test]
fn a_cursor_that_goes_back_is_quarantined() {
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry(128, 4))).unwrap();
    let (mut connection, _client, rings) = raw_pair(&listener, &path, 128);
    let mut request = Request::new();
    let mut serve = |connection: &mut Connection, from: u64| {
        for i in from..from + 4 {
            rings.put(i, i + 1, 0);
            assert_eq!(connection.poll(&mut request), Ok(true));
            connection.reply(&answer(&request)).unwrap();
        }
        connection.poll(&mut request)
    };
    assert_eq!(serve(&mut connection, 0), Ok(false));
    rings.c.word(128).store(4, Ordering::Release);
    // The next request makes the server read the cursor, which is then 4.
    rings.put(4, 5, 0);
    assert_eq!(connection.poll(&mut Request::new()), Ok(true));
    connection.reply(&Verdict::default()).unwrap();
    for i in 5..8 {
        rings.put(i, i + 1, 0);
        assert_eq!(connection.poll(&mut Request::new()), Ok(true));
        connection.reply(&Verdict::default()).unwrap();
    }
    rings.c.word(128).store(3, Ordering::Release);
    assert_eq!(
        connection.poll(&mut Request::new()),
        Err(Quarantine::VerdictCursor { found: 3, last: 4, written: 8 })
    );
}

#[test]
fn a_client_without_credit_is_not_read_and_does_not_keep_the_server_awake() {
    let (_directory, path) = socket_path();
    let geometry = Geometry { slot_bytes: 128, request_capacity: 64, verdict_capacity: 4 };
    let listener = Listener::bind(&path, server_options(geometry)).unwrap();
    let (mut connection, _client, rings) = raw_pair(&listener, &path, 128);
    let mut request = Request::new();
    (0..10).for_each(|i| rings.put(i, i + 1, 0));
    for _ in 0..4 {
        assert_eq!(connection.poll(&mut request), Ok(true));
        connection.reply(&answer(&request)).unwrap();
    }
    assert_eq!((connection.poll(&mut request), connection.credit()), (Ok(false), 0));
    assert_eq!(connection.reply(&answer(&request)), Err(ReplyError::NothingOwed));
    let parked = Parker::new().park([&connection].into_iter(), Duration::from_millis(1));
    assert_eq!(parked, Parked::TimedOut);
    rings.c.word(128).store(2, Ordering::Release);
    assert_eq!(Parker::new().park([&connection].into_iter(), LONG), Parked::Ready);
    assert_eq!((connection.poll(&mut request), connection.poll(&mut request)), (Ok(true), Ok(true)));
    assert_eq!(connection.poll(&mut request), Ok(false));
}
