//! Messages go through whole and in order: within a process, across processes, and across the wrap of the index.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use support::*;
use tollgate_ring::*;

const SOCKET_VARIABLE: &str = "TOLLGATE_RING_ECHO_SOCKET";

#[test]
fn all_slot_sizes_echo_within_a_process_and_over_the_wrap() {
    for slot_bytes in [128, 256, 512] {
        for (first_index, capacity) in [(0, 64), (u64::MAX - 1000, 2), (u64::MAX - 1, 64)] {
            let (_directory, _listener, connection, mut client) =
                pair(geometry(slot_bytes, capacity), first_index);
            let stop = flag();
            std::thread::scope(|scope| {
                let server = scope.spawn(|| echo(connection, &stop));
                drive(&mut client, 20_000);
                stop.store(true, Ordering::Relaxed);
                assert_eq!(server.join().unwrap(), 20_000);
            });
        }
    }
}

#[test]
fn halves_work_in_two_threads_with_rings_of_different_sizes() {
    const COUNT: u64 = 200_000;
    for (request_capacity, verdict_capacity) in [(256, 16), (16, 256)] {
        let geometry = Geometry { slot_bytes: 256, request_capacity, verdict_capacity };
        let (_directory, _listener, connection, client) = pair(geometry, 0);
        let stop = flag();
        let (mut sender, mut receiver) = client.split();
        std::thread::scope(|scope| {
            let server = scope.spawn(|| echo(connection, &stop));
            scope.spawn(move || {
                let mut words = [0; REQUEST_WORDS_MAX];
                for n in 0..COUNT {
                    let len = fill(n, &mut words[..28]);
                    until("sent", || sender.send(n as u16, n, n << 3, &words[..len]).is_ok());
                    assert!(sender.in_flight() <= u64::from(verdict_capacity));
                }
            });
            for n in 0..COUNT {
                let mut got = None;
                until("received", || {
                    got = receiver.recv().unwrap();
                    got.is_some()
                });
                assert_eq!(got, Some(expected(n, 28)));
            }
            stop.store(true, Ordering::Relaxed);
            assert_eq!(server.join().unwrap(), COUNT);
        });
    }
}

/// Not a test by itself: the client process of the one below.
#[test]
fn child_client() {
    let Some(path) = std::env::var_os(SOCKET_VARIABLE) else { return };
    let mut client = Client::connect(path.as_ref(), client_options(geometry(256, 512))).unwrap();
    drive(&mut client, 1_000_000);
}

#[test]
fn a_million_messages_between_two_processes() {
    let (_directory, path) = socket_path();
    let listener = Listener::bind(&path, server_options(geometry(256, 512))).unwrap();
    let mut process = child("child_client", SOCKET_VARIABLE, path.as_os_str());
    let connection = accept(&listener);
    assert_eq!(connection.principal().pid, process.id() as i32);
    let watcher = listener.watcher();
    let stop = flag();
    let served = std::thread::scope(|scope| {
        let server = scope.spawn(|| echo(connection, &stop));
        while !server.is_finished() {
            watcher.poll(Duration::from_millis(50));
        }
        server.join().unwrap()
    });
    assert!(process.wait().unwrap().success());
    assert_eq!(served, 1_000_000);
}
