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

/// A client that asks for durable verdicts never silently gets others.
#[test]
fn a_server_that_does_not_offer_durable_verdicts_says_so() {
    let geometry = geometry(128, 8);
    let (_directory, path) = socket_path();
    let listener =
        Listener::bind(&path, ServerOptions { durable: false, ..server_options(geometry) }).unwrap();
    let options = ClientOptions { durable: true, ..client_options(geometry) };
    let error = std::thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect(&path, options).err());
        let refusal = Refusal::NotOffered { features: layout::FEATURE_DURABLE };
        assert!(
            matches!(accept_result(&listener), Err(AcceptError::Refused { refusal: r, .. }) if r == refusal)
        );
        assert_eq!(listener.counts().refused[refusal.number()], 1);
        client.join().unwrap().expect("an error")
    });
    let message = error.to_string();
    assert!(message.contains("only when durable") && message.contains("connect without it"), "{message}");
}

#[test]
fn held_verdicts_are_seen_in_order_once_released() {
    let geometry = geometry(128, 4);
    let (_directory, path) = socket_path();
    let listener = Listener::bind_from(&path, server_options(geometry), u64::MAX - 2).unwrap();
    let options = ClientOptions { durable: true, ..client_options(geometry) };
    let (mut connection, mut client) = std::thread::scope(|scope| {
        let client = scope.spawn(|| Client::connect(&path, options).unwrap());
        (accept(&listener), client.join().unwrap())
    });
    assert!(connection.is_durable());
    let mut request = Request::new();
    let mut received = Vec::new();
    // Three laps: positions 1, 2, 3, …, with a duplicate's older position behind a newer one now and then.
    for lap in 0..3_u64 {
        for n in 0..4 {
            client.send(1, lap * 4 + n, 0, &[]).unwrap();
            assert!(connection.poll(&mut request).unwrap());
            let position = if n == 2 { 1 } else { lap * 4 + n + 1 };
            connection.reply_when(&answer(&request), position).unwrap();
        }
        connection.publish();
        assert_eq!((connection.held(), client.recv()), (4, Ok(None)));
        assert_eq!(client.wait(Duration::from_millis(1)), Ok(false), "nothing may be seen");
        for (reached, held) in [(lap * 4, 4), (lap * 4 + 1, 3), (lap * 4 + 2, 1), (lap * 4 + 9, 0)] {
            connection.release_verdicts(reached);
            connection.publish();
            assert_eq!(connection.held(), held, "lap {lap}, {reached} reached");
        }
        while let Some(verdict) = client.recv().unwrap() {
            received.push(verdict.req_id);
        }
    }
    assert_eq!(received, (0..12).collect::<Vec<_>>());
    // A plain reply waits behind what is held; an end lets nothing out.
    for n in 0..2 {
        client.send(1, n, 0, &[]).unwrap();
        assert!(connection.poll(&mut request).unwrap());
        let reply = if n == 0 {
            connection.reply_when(&answer(&request), 1000)
        } else {
            connection.reply(&answer(&request))
        };
        reply.unwrap();
    }
    connection.release_verdicts(999);
    assert_eq!(connection.held(), 2);
    drop(connection);
    assert_eq!(client.recv(), Err(Closed::ServerGone));
}
