//! The handshake as a state machine, driven by one thread at both ends, and what a client may ask for.

mod support;

use std::os::fd::AsRawFd;
use std::time::Duration;

use support::*;
use tollgate_ring::*;

/// Whether the descriptor can be read at once.
fn readable(connecting: &Connecting) -> bool {
    let fd = connecting.poll_fd().expect("a descriptor").as_raw_fd();
    let mut fds = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
    // SAFETY: one entry, ours to write.
    unsafe { libc::poll(fds.as_mut_ptr(), 1, 0) == 1 }
}

#[test]
fn one_thread_can_drive_both_ends() {
    let geometry = geometry(128, 8);
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry)).unwrap();
    let mut connecting = Connecting::begin(&path, client_options(geometry)).unwrap();
    assert!(connecting.advance().unwrap().is_none() && !readable(&connecting), "no welcome yet");
    assert!(listener.accept_within(Duration::ZERO).unwrap().is_none());
    assert!(readable(&connecting), "the welcome");
    assert!(connecting.advance().unwrap().is_none() && !readable(&connecting), "not active yet");
    let mut connection = listener.accept_within(Duration::ZERO).unwrap().expect("a connection");
    assert!(readable(&connecting), "the activation");
    let mut client = connecting.advance().unwrap().expect("a client");
    client.send(1, 5, 0, &[]).unwrap();
    assert!(connection.poll(&mut Request::new()).unwrap());
    assert!(connecting.poll_fd().is_none());
    assert!(matches!(connecting.advance(), Err(ConnectError::Over)));
}

#[test]
fn a_handshake_ends_with_its_reason() {
    let good = client_options(geometry(128, 8));
    let (directory, path) = socket_path();
    let error = Connecting::begin(&path, good.clone()).err().unwrap();
    assert!(matches!(error, ConnectError::NotListening { .. }), "{error}");
    let long = directory.path().join("x".repeat(200));
    assert!(matches!(Connecting::begin(&long, good.clone()), Err(ConnectError::Path(_))));

    let listener = Listener::bind(&path, server_options(geometry(128, 8))).unwrap();
    let mut refused = Connecting::begin(&path, ClientOptions { slot_bytes: 512, ..good.clone() }).unwrap();
    assert!(listener.accept_within(Duration::ZERO).is_err());
    let error = refused.advance().err().unwrap();
    assert!(matches!(error, ConnectError::Refused(Refusal::SlotSize { expected: 128 })), "{error}");

    let impatient = ClientOptions { timeout: Duration::ZERO, ..good.clone() };
    let error = Connecting::begin(&path, impatient).unwrap().advance().err().unwrap();
    assert!(matches!(error, ConnectError::TimedOut(_)), "{error}");

    let mut abandoned = Connecting::begin(&path, good).unwrap();
    drop(listener);
    let error = abandoned.advance().err().unwrap();
    assert!(matches!(error, ConnectError::Closed), "{error}");
}

/// Callers that the server has not yet let in wait their turn, without blocking, and get in.
#[test]
fn a_full_queue_is_waited_for() {
    let geometry = geometry(128, 8);
    let (_directory, path) = socket_path();
    let options = ServerOptions { clients_max: 1000, ..server_options(geometry) };
    let listener = Listener::bind(&path, options).unwrap();
    let mut waiting: Vec<_> =
        (0..100).map(|_| Connecting::begin(&path, client_options(geometry)).unwrap()).collect();
    assert!(waiting.iter().any(|c| c.poll_fd().is_none()), "no more than 100 places in the queue");
    let (mut clients, mut connections) = (Vec::new(), Vec::new());
    until("all are in", || {
        connections.extend(listener.accept_within(Duration::ZERO).unwrap());
        waiting.retain_mut(|connecting| match connecting.advance().unwrap() {
            Some(client) => {
                clients.push(client);
                false
            }
            None => true,
        });
        waiting.is_empty()
    });
    assert_eq!((clients.len(), connections.len()), (100, 100));
}

/// A client that asks for durable verdicts never silently gets others: from a server that does not know the word, or
/// that refuses it, comes an error that says so.
#[test]
fn durable_is_granted_or_an_error() {
    let geometry = geometry(128, 8);
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry)).unwrap();
    let options = ClientOptions { durable: true, ..client_options(geometry) };
    let error = std::thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect(&path, options).err());
        assert!(accept_result(&listener).is_err(), "no connection comes of it");
        client.join().unwrap().expect("an error")
    });
    let expected = match error {
        ConnectError::NotGranted { features } | ConnectError::Refused(Refusal::NotOffered { features }) => {
            features == layout::FEATURE_DURABLE
        }
        _ => false,
    };
    assert!(expected, "{error}");
    let message = error.to_string();
    assert!(message.contains("only when durable") && message.contains("connect without it"), "{message}");
}
