//! The life of a connection: who is let in, who is told what, how each end learns of the other's death, and sleeping.

mod support;

use std::os::unix::net::UnixListener;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use support::*;
use tollgate_ring::*;

const SERVER_VARIABLE: &str = "TOLLGATE_RING_SERVER_SOCKET";
const CLIENT_VARIABLE: &str = "TOLLGATE_RING_CLIENT_SOCKET";

/// Connects with these options and returns what the client and the server each say about it.
fn refused(listener: &Listener, options: ClientOptions, path: &std::path::Path) -> (Refusal, String) {
    std::thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect(path, options).err().unwrap());
        let AcceptError::Refused { refusal, pid, .. } = accept_result(listener).err().unwrap() else {
            panic!("not a refusal")
        };
        assert_eq!(pid, std::process::id() as i32);
        let error = client.join().unwrap();
        let ConnectError::Refused(told) = error else { panic!("{error}") };
        assert_eq!(told, refusal);
        (told, error.to_string())
    })
}

#[test]
fn a_client_that_does_not_fit_is_told_why() {
    let geometry = geometry(256, 8);
    let (_directory, path) = socket_path();
    let options = ServerOptions { clients_max: 1, ..server_options(geometry) };
    let listener = Listener::bind(&path, options).unwrap();
    let good = client_options(geometry);

    let (refusal, message) = refused(&listener, ClientOptions { slot_bytes: 128, ..good.clone() }, &path);
    assert_eq!(refusal, Refusal::SlotSize { expected: 256 });
    assert!(message.contains("slot_bytes = 256"), "{message}");

    let (refusal, message) =
        refused(&listener, ClientOptions { schema_hash: [8; 32], ..good.clone() }, &path);
    assert_eq!(refusal, Refusal::SchemaHash { expected_prefix: 0x0707_0707_0707_0707 });
    assert!(message.contains("0707070707070707"), "{message}");

    let (connection, _client) = join(&listener, &path, geometry);
    let (refusal, _) = refused(&listener, good, &path);
    assert_eq!(refusal, Refusal::TooManyClients { clients_max: 1 });
    // A place is free again once its connection is dropped, and refusals took none; or as soon as it is given back.
    drop(connection);
    let (mut old, _client) = join(&listener, &path, geometry);
    old.give_place_back();
    let (connection, client) = join(&listener, &path, geometry);
    drop(old);
    let (refusal, _) = refused(&listener, client_options(geometry), &path);
    assert_eq!(refusal, Refusal::TooManyClients { clients_max: 1 }, "a place is given back once");
    assert_eq!(connection.principal().client_id, client.client_id());
    assert_eq!(connection.name(), "test");
}

#[test]
fn a_user_who_is_not_listed_is_refused() {
    let geometry = geometry(128, 8);
    let (_directory, path) = socket_path();
    // SAFETY: a call without arguments.
    let uid = unsafe { libc::geteuid() };
    let options = ServerOptions { allowed_uids: vec![uid + 1], ..server_options(geometry) };
    let listener = Listener::bind(&path, options).unwrap();
    for _ in 0..20 {
        let (refusal, _) = refused(&listener, client_options(geometry), &path);
        assert_eq!(refusal, Refusal::NotPermitted { uid });
    }
}

#[test]
fn bad_handshake_messages_are_refused() {
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry(128, 8))).unwrap();
    let good = hello(128);
    let changed = |word: usize, value: u64| {
        let mut words = good;
        words[word] = value;
        as_bytes(&words)
    };
    let mut long = as_bytes(&good);
    long.push(0);
    let table: [(Vec<u8>, u64); 9] = [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 6),
        (vec![0xff; 128], 6),
        (vec![0; 1], 6),
        (long, 6),
        (changed(0, 0), 6),
        (changed(1, 1 | 3 << 32), 6),    // mapped before hello
        (changed(1, 2 | 1 << 32), 1),    // ABI major 2
        (changed(12, 1), 1),             // other offsets
        (changed(3, 128 | 32 << 32), 1), // other verdict slots
    ];
    for (bytes, code) in table {
        let client = RawClient::connect(&path);
        client.say(&bytes);
        let error = accept_result(&listener).err().unwrap();
        assert!(matches!(error, AcceptError::Refused { .. }), "{error}");
        let (found, detail) = client.refusal();
        assert_eq!(found, code, "{error}");
        if code == 1 {
            assert_eq!(detail, 1, "the server's version");
        }
    }
    // A good hello, then an acknowledgement of another connection.
    let client = RawClient::connect(&path);
    let server = std::thread::spawn(move || accept_result(&listener).err().unwrap());
    let rings = client.begin(128);
    client.say_mapped(rings.epoch ^ 1);
    assert_eq!(client.refusal().0, 6);
    assert!(matches!(server.join().unwrap(), AcceptError::Refused { refusal: Refusal::BadMessage, .. }));
}

#[test]
fn a_silent_client_times_out_and_holds_up_nobody() {
    let geometry = geometry(128, 8);
    let (_directory, path) = socket_path();
    let options = ServerOptions { handshake_timeout: Duration::from_secs(2), ..server_options(geometry) };
    let listener = Listener::bind(&path, options).unwrap();
    // One says nothing at all; one stops after the welcome, while it holds a place.
    let silent = RawClient::connect(&path);
    assert!(listener.accept_within(Duration::ZERO).unwrap().is_none());
    let half = RawClient::connect(&path);
    half.say(&as_bytes(&hello(128)));
    let (connection, client) = join(&listener, &path, geometry);
    drop((connection, client));
    for _ in 0..2 {
        let error = accept_result(&listener).err().unwrap();
        assert!(matches!(error, AcceptError::Refused { refusal: Refusal::TimedOut, .. }), "{error}");
    }
    assert_eq!(silent.refusal().0, 7);
    assert_eq!(half.hear().unwrap().0[1] >> 32, 2, "the welcome");
    assert_eq!(half.refusal().0, 7);
}

#[test]
fn a_client_that_leaves_during_the_handshake_is_reported() {
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry(128, 8))).unwrap();
    drop(RawClient::connect(&path));
    assert!(matches!(accept_result(&listener), Err(AcceptError::WentAway { .. })));
}

#[test]
fn a_server_that_is_not_there_or_does_not_answer_is_an_error() {
    let (directory, path) = socket_path();
    let options = client_options(geometry(128, 8));
    let error = Client::connect(&path, options.clone()).err().unwrap();
    assert!(matches!(error, ConnectError::NotListening { .. }), "{error}");
    let long = directory.path().join("x".repeat(200));
    assert!(matches!(Client::connect(&long, options.clone()), Err(ConnectError::Path(_))));

    let listener = Listener::bind(&path, server_options(geometry(128, 8))).unwrap();
    let impatient = ClientOptions { timeout: Duration::from_millis(20), ..options };
    let error = Client::connect(&path, impatient).err().unwrap();
    assert!(matches!(error, ConnectError::TimedOut(_)), "{error}");
    drop(listener);
}

#[test]
fn the_socket_file_is_replaced_only_if_stale_and_removed_on_drop() {
    let (_directory, path) = socket_path();
    let options = server_options(geometry(128, 8));
    let listener = Listener::bind(&path, options.clone()).unwrap();
    assert!(matches!(Listener::bind(&path, options.clone()), Err(BindError::InUse(_))));
    drop(listener);
    assert!(!path.exists());

    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "stale");
    // A child that another test is just starting may hold the dead socket for a moment.
    let mut listener = None;
    until("replaced", || {
        listener = Listener::bind(&path, options.clone()).ok();
        listener.is_some()
    });
    // A file that took its place is not ours to remove.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    drop(listener);
    assert!(matches!(Listener::bind(&path, options.clone()), Err(BindError::NotASocket(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");

    let bad = ServerOptions { geometry: geometry(64, 8), ..options };
    assert!(matches!(Listener::bind(&path, bad), Err(BindError::Geometry(_))));
}

#[test]
fn a_full_ring_is_busy_and_a_long_payload_is_refused() {
    // The request ring is the smaller, then the verdict ring.
    for (request_capacity, verdict_capacity) in [(8, 64), (64, 8)] {
        let geometry = Geometry { slot_bytes: 128, request_capacity, verdict_capacity };
        let (_directory, _listener, mut connection, mut client) = pair(geometry, u64::MAX - 3);
        assert_eq!(client.send(0, 0, 0, &[0; 13]), Err(SendError::TooLong { found: 13, max: 12 }));
        for n in 0..8 {
            client.send(1, n, 0, &[n; 12]).unwrap();
        }
        assert_eq!(client.send(1, 8, 0, &[]), Err(SendError::Busy));
        assert_eq!(client.in_flight(), 8);
        let mut request = Request::new();
        for n in 0..8 {
            assert!(connection.poll(&mut request).unwrap());
            assert_eq!((request.req_id, request.words()), (n, &[n; 12][..]));
            connection.reply(&answer(&request)).unwrap();
        }
        assert!(!connection.poll(&mut request).unwrap());
        connection.publish();
        if verdict_capacity == 8 {
            // Room in the request ring alone is not enough: eight verdicts are still to be received.
            assert_eq!(client.send(1, 8, 0, &[]), Err(SendError::Busy));
            assert_eq!(client.recv().unwrap().unwrap().req_id, 0);
        }
        client.send(1, 8, 0, &[]).unwrap();
    }
}

#[test]
fn heartbeats_pass_both_ways() {
    let (_directory, _listener, connection, client) = pair(geometry(128, 8), 0);
    assert_eq!((client.server_heartbeat_age(), connection.client_heartbeat_ns()), (None, 0));
    connection.heartbeat(monotonic_ns());
    client.heartbeat(5);
    assert!(client.server_heartbeat_age().unwrap() < LONG);
    assert_eq!(connection.client_heartbeat_ns(), 5);
}

#[test]
fn a_closed_connection_still_yields_its_last_verdicts() {
    let (_directory, _listener, mut connection, mut client) = pair(geometry(128, 8), 0);
    client.send(1, 1, 0, &[]).unwrap();
    let mut request = Request::new();
    assert!(connection.poll(&mut request).unwrap());
    connection.reply(&answer(&request)).unwrap();
    drop(connection);
    assert_eq!(client.send(1, 2, 0, &[]), Err(SendError::Closed(Closed::ServerGone)));
    assert_eq!(client.wait(LONG), Ok(true));
    assert_eq!(client.recv().unwrap().unwrap().req_id, 1);
    assert_eq!(client.recv(), Err(Closed::ServerGone));
    assert_eq!(client.wait(LONG), Err(Closed::ServerGone));
    assert!(!client.is_alive());
}

#[test]
fn a_client_that_hangs_up_or_is_dropped_is_noticed() {
    let geometry = geometry(128, 8);
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry)).unwrap();
    let watcher = listener.watcher();
    let (leaving, client) = join(&listener, &path, geometry);
    let (staying, _other) = join(&listener, &path, geometry);
    assert!(watcher.poll(Duration::ZERO).is_empty());
    let (sender, receiver) = client.split();
    drop(sender);
    assert!(watcher.poll(Duration::ZERO).is_empty());
    drop(receiver);
    assert_eq!(watcher.poll(LONG), [leaving.principal().client_id]);
    assert!(leaving.hung_up() && leaving.lifeline().hung_up() && !staying.hung_up());
    assert!(watcher.poll(Duration::ZERO).is_empty(), "told once");
}

/// Not a test by itself: a client process that waits to be killed.
#[test]
fn child_client() {
    let Some(path) = std::env::var_os(CLIENT_VARIABLE) else { return };
    let mut client = Client::connect(path.as_ref(), client_options(geometry(128, 8))).unwrap();
    client.send(1, 1, 0, &[]).unwrap();
    let _ = client.wait(LONG);
}

#[test]
fn a_killed_client_is_noticed() {
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry(128, 8))).unwrap();
    let watcher = listener.watcher();
    let mut process = child("child_client", CLIENT_VARIABLE, path.as_os_str());
    let mut connection = accept(&listener);
    let mut request = Request::new();
    until("its request", || connection.poll(&mut request).unwrap());
    assert!(watcher.poll(Duration::ZERO).is_empty());
    process.kill().unwrap();
    until("hung up", || !watcher.poll(Duration::from_millis(100)).is_empty());
    assert!(connection.hung_up());
    process.wait().unwrap();
}

/// Not a test by itself: a server process that answers one request and waits to be killed.
#[test]
fn child_server() {
    let Some(path) = std::env::var_os(SERVER_VARIABLE) else { return };
    let listener = Listener::bind(path.as_ref(), server_options(geometry(128, 8))).unwrap();
    echo(accept(&listener), &flag());
}

#[test]
fn a_killed_server_is_noticed_and_leaves_nothing_in_the_way() {
    let (_directory, path) = socket_path();
    let mut process = child("child_server", SERVER_VARIABLE, path.as_os_str());
    let mut client = None;
    until("connected", || {
        client = Client::connect(&path, client_options(geometry(128, 8))).ok();
        client.is_some()
    });
    let mut client = client.unwrap();
    drive(&mut client, 100);
    assert!(client.is_alive());
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(client.wait(LONG), Err(Closed::ServerGone));
    assert_eq!(client.recv(), Err(Closed::ServerGone));
    assert_eq!(client.send(1, 1, 0, &[]), Err(SendError::Closed(Closed::ServerGone)));
    let listener = Listener::bind(&path, server_options(geometry(128, 8))).unwrap();
    drop(join(&listener, &path, geometry(128, 8)));
}

#[test]
fn a_parked_server_is_woken_by_any_client() {
    let geometry = geometry(128, 8);
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry)).unwrap();
    let (mut connections, mut clients): (Vec<_>, Vec<_>) =
        (0..3).map(|_| join(&listener, &path, geometry)).unzip();
    let mut parker = Parker::new();
    assert_eq!(parker.park(connections.iter(), Duration::from_millis(1)), Parked::TimedOut);
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut request = Request::new();
            let mut served = 0;
            while served < 3000 {
                // A lost wake would take a minute here, and three thousand of them fail the test.
                assert_ne!(parker.park(connections.iter(), LONG), Parked::TimedOut);
                for connection in &mut connections {
                    while connection.poll(&mut request).unwrap() {
                        connection.reply(&answer(&request)).unwrap();
                        served += 1;
                    }
                    connection.publish();
                }
            }
        });
        for n in 0..3000 {
            let client = &mut clients[n % 3];
            client.send(1, n as u64, 0, &[]).unwrap();
            // One at a time, and asleep: both ends sleep and wake for each message.
            assert_eq!(client.wait(LONG), Ok(true));
            assert_eq!(client.recv().unwrap().unwrap().req_id, n as u64);
        }
        server.join().unwrap();
    });
}

#[test]
fn a_waiting_client_gives_up_in_time() {
    let (_directory, _listener, _connection, mut client) = pair(geometry(128, 8), 0);
    let start = Instant::now();
    assert_eq!(client.wait(Duration::from_millis(120)), Ok(false));
    assert!(start.elapsed() >= Duration::from_millis(120));
    assert_eq!(client.wait(Duration::ZERO), Ok(false));
}

/// Processor time of this thread.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours to write.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The words slept on lie in read-only mappings; a kernel that refused them would leave both ends spinning.
#[test]
fn both_ends_really_sleep() {
    let (_directory, _listener, connection, mut client) = pair(geometry(128, 8), 0);
    let before = cpu_time();
    assert_eq!(client.wait(Duration::from_millis(400)), Ok(false));
    let start = Instant::now();
    let mut parker = Parker::new();
    if emulated("one park lasts its 400 ms (the emulator may lack futex_waitv: sleeps of a millisecond)") {
        while start.elapsed() < Duration::from_millis(400) {
            parker.park([&connection].into_iter(), Duration::from_millis(400));
        }
    } else {
        assert_eq!(parker.park([&connection].into_iter(), Duration::from_millis(400)), Parked::TimedOut);
    }
    assert!(cpu_time() - before < Duration::from_millis(200));
}

#[test]
fn a_quarantined_client_is_told() {
    let (_directory, path) = socket_path();
    let geometry = geometry(128, 8);
    let listener = Listener::bind(&path, server_options(geometry)).unwrap();
    let (mut connection, _client, rings) = raw_pair(&listener, &path, geometry.slot_bytes);
    rings.put(0, 99, 0);
    assert!(connection.poll(&mut Request::new()).is_err());
    // Closing does not cover the reason up.
    drop(connection);
    assert_eq!(rings.s.word(layout::S_STATE).load(Ordering::Relaxed), layout::STATE_QUARANTINED);
}
