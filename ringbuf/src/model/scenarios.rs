//! What must hold under every schedule.

#[cfg(loom)]
use loom::thread;
#[cfg(shuttle)]
use shuttle::thread;
#[cfg(not(any(loom, shuttle)))]
use std::thread;

use std::sync::Arc;
use std::time::Duration;

use super::{ModelFile, Plain, explore, files};
use crate::ends::{self, ReceiveEnd, SendEnd, ServerEnd, Sleeper, client_ends};
use crate::error::{Closed, SendError};
use crate::file::ReadFile;
use crate::layout::{C_KICK, Geometry, Request, STATE_CLOSED, Verdict};
use crate::wait::Rings;

type Sender = SendEnd<ModelFile, ModelFile>;
type Receiver = ReceiveEnd<ModelFile, ModelFile>;
type Server = ServerEnd<ModelFile, ModelFile>;

/// Messages in a scenario: loom tries every schedule of a few, and Miri is some thousand times slower than the machine.
const fn messages(loom: u64) -> u64 {
    if cfg!(loom) {
        loom
    } else if cfg!(miri) {
        24
    } else if cfg!(shuttle) {
        100
    } else {
        2_000
    }
}

/// Attempts of a thread where three meet: loom cannot follow three that wait for each other, and gets a few tries each.
const TRIES: usize = if cfg!(loom) { 2 } else { usize::MAX };

/// Longer than anything takes: where sleeps have an end at all, only a lost wake reaches it.
const LONG: Duration = Duration::from_secs(60);

fn connect(request_capacity: u32, verdict_capacity: u32, first: u64) -> (Sender, Receiver, Server) {
    let geometry = Geometry { slot_bytes: 128, request_capacity, verdict_capacity };
    let (c, s) = files(geometry, first, 1);
    let (sender, receiver) = client_ends(c.clone(), s.clone(), geometry, first);
    (sender, receiver, Server::new(c, s, geometry, first, false))
}

fn send(sender: &mut Sender, n: u64) -> bool {
    match sender.send(1, 0, n, !n, &[n ^ 0x55]) {
        Ok(()) => true,
        Err(SendError::Busy) => false,
        Err(error) => panic!("{error}"),
    }
}

fn check(verdict: &Verdict, n: u64) {
    assert_eq!((verdict.req_id, verdict.t_intended), (n, !n));
    assert_eq!(verdict.payload, [n ^ 0x55, 2, 3, n]);
}

/// Takes one request if there is one, checks that it is whole and answers it.
fn serve(server: &mut Server, request: &mut Request) -> bool {
    let served = answer(server, request);
    if served {
        server.publish();
    }
    served
}

/// The same, telling nobody yet.
fn answer(server: &mut Server, request: &mut Request) -> bool {
    if !server.poll(request).expect("an honest client") {
        return false;
    }
    let Request { req_id, t_intended, .. } = *request;
    assert_eq!((request.kind, request.len, t_intended, request.payload[0]), (1, 1, !req_id, req_id ^ 0x55));
    let payload = [request.payload[0], 2, 3, req_id];
    server.reply(&Verdict { kind: 1, flags: 0, req_id, t_intended, payload }, 0).expect("room");
    true
}

/// Sleeps for one connection, as [`crate::Parker`] does for many.
struct Bed<'s> {
    kick: u64,
    c: &'s ModelFile,
}

impl Sleeper<ModelFile, ModelFile> for Bed<'_> {
    type Slept = ();

    fn note(&mut self, end: &Server) {
        self.kick = end.c.load(C_KICK);
    }

    fn is_called(&self) -> bool {
        false
    }

    fn sleep(&mut self) {
        self.c.sleep(C_KICK, self.kick, LONG);
    }
}

fn park(server: &Server) {
    ends::park([server].into_iter(), &mut Bed { kick: 0, c: &server.c });
}

/// One thread sends and receives, the other serves; both poll.
fn polling(request_capacity: u32, verdict_capacity: u32, first: u64, count: u64) {
    let (mut sender, mut receiver, mut server) = connect(request_capacity, verdict_capacity, first);
    let serving = thread::spawn(move || {
        let mut request = Request::new();
        let mut served = 0;
        while served < count {
            if serve(&mut server, &mut request) {
                served += 1;
            } else {
                thread::yield_now();
            }
        }
    });
    let (mut sent, mut received) = (0, 0);
    while received < count {
        let mut idle = true;
        if sent < count && send(&mut sender, sent) {
            (sent, idle) = (sent + 1, false);
        }
        if let Some(verdict) = receiver.recv().unwrap() {
            check(&verdict, received);
            (received, idle) = (received + 1, false);
        }
        assert!(sender.link.in_flight() <= u64::from(verdict_capacity));
        if idle {
            thread::yield_now();
        }
    }
    serving.join().unwrap();
}

#[test]
fn messages_pass_whole_and_in_order() {
    explore(|| polling(2, 2, u64::MAX - 1, messages(3)));
}

/// More verdicts than requests fit: the request cursor alone says when a slot may be used again.
#[test]
fn a_request_slot_is_used_again_only_when_given_back() {
    explore(|| polling(1, 4, 0, messages(2)));
}

/// Sender and receiver in threads of their own, fewer verdicts than requests: credit passes from the one to the other.
#[test]
fn credit_passes_between_the_halves_of_a_client() {
    explore(|| {
        let count = messages(2);
        let (mut sender, mut receiver, mut server) = connect(2, 1, u64::MAX);
        // The first message has been answered already, which leaves the checker fewer schedules to try.
        let mut request = Request::new();
        assert!(send(&mut sender, 0) && serve(&mut server, &mut request));
        let serving = thread::spawn(move || {
            let mut served = 1;
            for _ in 0..TRIES {
                served += u64::from(serve(&mut server, &mut request));
                if served == count {
                    break;
                }
                thread::yield_now();
            }
        });
        let receiving = thread::spawn(move || {
            let mut received = 0;
            for _ in 0..TRIES {
                if let Some(verdict) = receiver.recv().unwrap() {
                    check(&verdict, received);
                    received += 1;
                }
                assert!(receiver.link.in_flight() <= 1);
                if received == count {
                    break;
                }
                thread::yield_now();
            }
        });
        let mut sent = 1;
        for _ in 0..TRIES {
            sent += u64::from(send(&mut sender, sent));
            if sent == count {
                break;
            }
            thread::yield_now();
        }
        receiving.join().unwrap();
        serving.join().unwrap();
    });
}

/// A server that sleeps whenever there is nothing to do is woken for every request.
#[test]
fn no_request_is_slept_through() {
    explore(|| {
        let count = messages(2);
        let (mut sender, mut receiver, mut server) = connect(2, 2, 0);
        let serving = thread::spawn(move || {
            let mut request = Request::new();
            let mut served = 0;
            while served < count {
                if serve(&mut server, &mut request) {
                    served += 1;
                } else {
                    park(&server);
                }
            }
        });
        for n in 0..count {
            while !send(&mut sender, n) {
                // Only for the longer runs: the ring is full.
                let _ = receiver.recv().unwrap();
                thread::yield_now();
            }
        }
        serving.join().unwrap();
    });
}

/// A client that sleeps whenever there is nothing to receive is woken for every verdict. One message by itself
/// first: with the server finished, a wake that is lost is a deadlock, and not a server that polls for ever.
#[test]
fn no_verdict_is_slept_through() {
    // Wakes are rationed, so that many messages would take their time.
    for count in [1, messages(2).min(100)] {
        explore(move || {
            let (mut sender, mut receiver, mut server) = connect(2, 2, 0);
            let serving = thread::spawn(move || {
                let mut request = Request::new();
                let mut served = 0;
                while served < count {
                    if serve(&mut server, &mut request) {
                        served += 1;
                    } else {
                        // Wakes that were put off.
                        server.publish();
                        thread::yield_now();
                    }
                }
                server.pay_wake();
            });
            for n in 0..count {
                assert!(send(&mut sender, n));
                let verdict = loop {
                    match receiver.recv().unwrap() {
                        Some(verdict) => break verdict,
                        None => drop(receiver.doze(LONG)),
                    }
                };
                check(&verdict, n);
            }
            serving.join().unwrap();
        });
    }
}

/// A connection that ends in good order still yields the verdicts written before, asleep or awake.
#[test]
fn the_last_verdict_is_received_before_the_end() {
    for (asleep, published) in [(false, false), (false, true), (true, true)] {
        explore(move || {
            let (mut sender, mut receiver, mut server) = connect(2, 2, 0);
            assert!(send(&mut sender, 0));
            let serving = thread::spawn(move || {
                assert!(answer(&mut server, &mut Request::new()));
                if published {
                    server.publish();
                }
                server.end(STATE_CLOSED);
            });
            let mut received = 0;
            let end = loop {
                match receiver.recv() {
                    Ok(Some(_)) => received += 1,
                    Ok(None) if asleep => drop(receiver.doze(LONG)),
                    Ok(None) => thread::yield_now(),
                    Err(end) => break end,
                }
            };
            assert_eq!((end, received), (Closed::ServerGone, 1));
            serving.join().unwrap();
        });
    }
}

/// What is handed over before a bell is rung is there for whoever hears it.
#[test]
fn what_was_handed_over_is_there_when_the_bell_is_heard() {
    explore(|| {
        let shared = Arc::new((Plain::new(), Rings::new()));
        let ringing = Arc::clone(&shared);
        let ringer = thread::spawn(move || {
            ringing.0.set(7);
            ringing.1.add();
        });
        while shared.1.heard() == 0 {
            thread::yield_now();
        }
        assert_eq!(shared.0.get(), 7);
        ringer.join().unwrap();
    });
}

/// Both ends sleep, the server ends the connection now and then, and the client connects again and sends again what was not
/// answered: each message is answered, and the server meets none that had been answered on a connection before.
#[cfg(not(loom))]
#[test]
fn reconnections_lose_nothing() {
    use std::collections::BTreeSet;

    explore(|| {
        let (count, every) = (messages(0) / 4, 5);
        let (mut sender, mut receiver, server) = connect(4, 4, 0);
        let (next_in, next) = channel();
        next_in.send(server).unwrap();
        let serving = thread::spawn(move || {
            let mut answered = BTreeSet::new();
            let mut request = Request::new();
            // One connection after the other; the last one ends when the client has hung up its end of the channel.
            while let Ok(mut server) = next.recv() {
                let mut left = every;
                while left > 0 && (answered.len() as u64) < count {
                    if serve(&mut server, &mut request) {
                        answered.insert(request.req_id);
                        left -= 1;
                    } else {
                        park(&server);
                    }
                }
                server.end(STATE_CLOSED);
            }
            answered
        });
        let mut unanswered: BTreeSet<u64> = (0..count).collect();
        let mut next_to_send = 0;
        let mut connections = 1_u64;
        while !unanswered.is_empty() {
            let mut closed = false;
            while let Some(&n) = unanswered.range(next_to_send..).next() {
                match sender.send(1, 0, n, !n, &[n ^ 0x55]) {
                    Ok(()) => next_to_send = n + 1,
                    Err(SendError::Busy) => break,
                    Err(SendError::Closed(_)) => {
                        closed = true;
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            // All that was written before the end is still received.
            let mut idle = true;
            loop {
                match receiver.recv() {
                    Ok(Some(verdict)) => {
                        idle = false;
                        assert!(unanswered.remove(&verdict.req_id), "answered twice: {}", verdict.req_id);
                        check(&verdict, verdict.req_id);
                    }
                    Ok(None) => break,
                    Err(_) => {
                        closed = true;
                        break;
                    }
                }
            }
            if closed && !unanswered.is_empty() {
                let (again_sender, again_receiver, server) = connect(4, 4, connections << 32);
                (sender, receiver) = (again_sender, again_receiver);
                next_in.send(server).unwrap();
                connections += 1;
                next_to_send = 0;
            } else if idle && !unanswered.is_empty() {
                // In flight, or there would have been room to send.
                receiver.doze(LONG);
            }
        }
        drop(next_in);
        assert_eq!(serving.join().unwrap().len() as u64, count);
        assert!(connections > 1);
    });
}

#[cfg(not(any(loom, shuttle)))]
fn channel() -> (std::sync::mpsc::Sender<Server>, std::sync::mpsc::Receiver<Server>) {
    std::sync::mpsc::channel()
}

#[cfg(shuttle)]
fn channel() -> (shuttle::sync::mpsc::Sender<Server>, shuttle::sync::mpsc::Receiver<Server>) {
    shuttle::sync::mpsc::channel()
}
