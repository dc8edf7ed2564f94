//! The session: deadline, fallback, outage, reconnection, resubmission. Most of it with a clock that the test turns, and a
//! server driven by the same thread. `session_kills.rs` has it against processes that are killed.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use support::*;
use tollgate_ring::*;

const DEADLINE: u64 = 1000;
const GRACE: u64 = 300;
const EVERY: u64 = 50;
const SILENCE: [u64; 4] = [9, 8, 7, 6];

fn options(path: &Path, geometry: Geometry, in_flight_max: u32) -> SessionOptions {
    let fallback = Fallback::FailClosed { payload: SILENCE };
    let deadline = Duration::from_nanos(DEADLINE);
    SessionOptions {
        in_flight_max,
        outage_grace: Duration::from_nanos(GRACE),
        reconnect_every: Duration::from_nanos(EVERY),
        ..SessionOptions::new(path.into(), client_options(geometry), deadline, fallback)
    }
}

/// A session and a server in one thread, under one clock.
struct Rig {
    _directory: tempfile::TempDir,
    path: PathBuf,
    geometry: Geometry,
    listener: Option<Listener>,
    connection: Option<Connection>,
    session: Session,
    now: u64,
}

impl Rig {
    /// Nobody listens yet.
    fn new(geometry: Geometry, in_flight_max: u32) -> Rig {
        let (directory, path) = socket_path();
        let session = Session::open(options(&path, geometry, in_flight_max), 10_000).unwrap();
        Rig { _directory: directory, path, geometry, listener: None, connection: None, session, now: 10_000 }
    }

    /// Connected.
    fn connected(geometry: Geometry, in_flight_max: u32) -> Rig {
        let mut rig = Rig::new(geometry, in_flight_max);
        rig.connect();
        rig
    }

    fn start_server(&mut self) {
        self.listener = Some(Listener::bind(&self.path, server_options(self.geometry)).unwrap());
    }

    /// Starts the server, and connects in no more than the time between two attempts. No answer may come on the way.
    fn connect(&mut self) {
        self.start_server();
        self.now += EVERY;
        for _ in 0..3 {
            assert_eq!(self.session.poll(self.now), None);
            let connection = self.listener.as_ref().unwrap().accept_within(Duration::ZERO).unwrap();
            self.connection = self.connection.take().or(connection);
        }
        assert_eq!(self.session.poll(self.now), None);
        assert!(self.session.is_connected() && self.session.last_error().is_none());
    }

    /// What the server has written is still received; then the session knows.
    fn kill_server(&mut self) {
        (self.connection, self.listener) = (None, None);
    }

    fn submit(&mut self, req_id: u64) -> Result<(), SubmitError> {
        self.session.submit(3, 4, req_id, 0, &[req_id, !req_id], self.now)
    }

    fn submit_all(&mut self, req_ids: std::ops::Range<u64>) {
        req_ids.for_each(|req_id| self.submit(req_id).unwrap());
    }

    /// Everything the server finds: tickets, and the callers' ids from the payload.
    fn take(&mut self) -> Vec<(u64, u64)> {
        let connection = self.connection.as_mut().unwrap();
        let (mut request, mut taken) = (Request::new(), Vec::new());
        while connection.poll(&mut request).unwrap() {
            let id = request.payload[0];
            assert_eq!((request.kind, request.flags, request.words()), (3, 4, &[id, !id][..]));
            taken.push((request.req_id, id));
        }
        taken
    }

    fn take_ids(&mut self) -> Vec<u64> {
        self.take().into_iter().map(|(_, id)| id).collect()
    }

    fn reply(&mut self, ticket: u64, word: u64) {
        let verdict = Verdict { kind: 5, flags: 6, req_id: ticket, t_intended: 7, payload: [word; 4] };
        self.connection.as_mut().unwrap().reply(&verdict).unwrap();
    }

    fn poll_id(&mut self) -> Option<(u64, Source)> {
        self.session.poll(self.now).map(|answer| (answer.req_id, answer.source))
    }

    /// Polls until there is nothing.
    fn drain(&mut self) -> Vec<(u64, Source)> {
        std::iter::from_fn(|| self.poll_id()).collect()
    }
}

const LATE: Source = Source::FailClosed(Silence::Deadline);
const GONE: Source = Source::FailClosed(Silence::Outage);

#[test]
fn verdicts_come_in_any_order_under_the_callers_names() {
    let mut rig = Rig::connected(geometry(128, 8), 8);
    rig.session.submit(3, 4, 77, 0, &[77, !77], rig.now).unwrap();
    rig.session.submit(3, 4, 77, rig.now - 5, &[77, !77], rig.now).unwrap();
    rig.submit(u64::MAX).unwrap();
    let taken = rig.take();
    assert_eq!(taken, [(0, 77), (1, 77), (2, u64::MAX)]);
    for (ticket, _) in taken.into_iter().rev() {
        rig.reply(ticket, ticket);
    }
    let answer = |req_id, t_intended, word| Answer {
        kind: 5,
        req_id,
        t_intended,
        payload: [word; 4],
        flags: 6,
        source: Source::Server,
    };
    assert_eq!(rig.session.in_flight(), 3);
    assert_eq!(rig.session.poll(rig.now), Some(answer(u64::MAX, rig.now, 2)));
    assert_eq!(rig.session.poll(rig.now), Some(answer(77, rig.now - 5, 1)));
    assert_eq!(rig.session.poll(rig.now), Some(answer(77, rig.now, 0)), "the time of submission for 0");
    assert_eq!(rig.session.poll(rig.now), None);
    let counts = rig.session.counts();
    let expected = SessionCounts { submitted: 3, answered: 3, connects: 1, ..SessionCounts::default() };
    assert_eq!((counts, rig.session.in_flight(), rig.session.unheard()), (expected, 0, 0));
}

#[test]
fn silence_is_answered_at_the_deadline_and_the_late_verdict_dropped() {
    for (fallback, source) in [
        (Fallback::FailClosed { payload: SILENCE }, Source::FailClosed(Silence::Deadline)),
        (Fallback::FailOpen { payload: SILENCE }, Source::FailOpen(Silence::Deadline)),
    ] {
        let mut rig = Rig::new(geometry(128, 8), 8);
        let options = SessionOptions { fallback, ..options(&rig.path, rig.geometry, 8) };
        rig.session = Session::open(options, rig.now).unwrap();
        rig.connect();
        // Meant to be sent 100 earlier, and due that much earlier, although it was submitted second.
        rig.submit(1).unwrap();
        rig.session.submit(3, 4, 2, rig.now - 100, &[2, !2], rig.now).unwrap();
        assert_eq!(rig.take_ids(), [1, 2]);
        let start = rig.now;
        assert_eq!(rig.session.next_due_ns(), Some(start - 100 + DEADLINE));
        rig.now = start - 100 + DEADLINE - 1;
        assert_eq!(rig.poll_id(), None);
        rig.now += 1;
        let answer =
            Answer { kind: 3, req_id: 2, t_intended: start - 100, payload: SILENCE, flags: 0, source };
        assert_eq!(rig.session.poll(rig.now), Some(answer));
        assert_eq!((rig.poll_id(), rig.session.in_flight(), rig.session.unheard()), (None, 1, 2));
        // A verdict that is there wins over a deadline that has passed.
        rig.now = start + 2 * DEADLINE;
        rig.reply(1, 0);
        rig.reply(0, 0);
        assert_eq!(rig.drain(), [(1, Source::Server)]);
        let counts = rig.session.counts();
        assert_eq!((counts.late, counts.fallback_deadline, counts.answered, counts.strange), (1, 1, 1, 0));
        assert_eq!((rig.session.unheard(), rig.session.next_due_ns()), (0, None));
    }
}

#[test]
fn verdicts_nobody_waits_for_are_dropped() {
    let mut rig = Rig::connected(geometry(128, 8), 4);
    rig.submit_all(0..4);
    assert_eq!(rig.take_ids(), [0, 1, 2, 3]);
    // Never given; given but not yet; the place of ticket 1 under another number; then ticket 1 twice.
    for ticket in [u64::MAX, 4, 5, 1] {
        rig.reply(ticket, 0);
    }
    assert_eq!(rig.drain(), [(1, Source::Server)]);
    rig.submit(4).unwrap();
    assert_eq!(rig.take(), [(5, 4)], "the next ticket that has the vacant place");
    rig.reply(1, 0);
    assert_eq!(rig.drain(), []);
    assert_eq!((rig.session.counts().strange, rig.session.in_flight()), (4, 4));
}

#[test]
fn requests_wait_for_a_server_that_starts_later() {
    let mut rig = Rig::new(geometry(128, 8), 8);
    rig.submit_all(0..3);
    assert_eq!(rig.poll_id(), None);
    assert!(!rig.session.is_connected());
    let error = rig.session.last_error().expect("why");
    assert!(matches!(error, ConnectError::NotListening { .. }), "{error}");
    rig.connect();
    rig.submit(3).unwrap();
    assert_eq!(rig.take(), [(0, 0), (1, 1), (2, 2), (3, 3)]);
    let counts = rig.session.counts();
    assert_eq!((counts.resubmitted, counts.connects, counts.disconnects), (0, 1, 0), "first sent, not again");
}

#[test]
fn without_a_server_everything_gets_the_fallback() {
    let mut rig = Rig::new(geometry(128, 8), 4);
    rig.submit_all(0..2);
    rig.now += GRACE - 1;
    assert_eq!(rig.poll_id(), None);
    rig.submit(2).unwrap();
    assert_eq!(rig.session.next_due_ns(), Some(rig.now + 1));
    rig.now += 1;
    assert_eq!(rig.drain(), [(0, GONE), (1, GONE), (2, GONE)]);
    // The grace counts from the loss: in a long outage there is no waiting.
    for n in 3..100 {
        rig.now += 10 * DEADLINE;
        rig.submit(n).unwrap();
        assert_eq!(rig.drain(), [(n, GONE)], "a table full of settled requests makes nobody wait");
    }
    let counts = rig.session.counts();
    assert_eq!((counts.fallback_outage, counts.forgotten, counts.busy), (100, 96, 0));
    rig.connect();
    assert_eq!(rig.take_ids(), [96, 97, 98, 99]);
}

#[test]
fn what_the_server_has_not_answered_is_sent_again_before_anything_new() {
    let mut rig = Rig::connected(geometry(128, 8), 16);
    rig.submit_all(0..2);
    rig.now += DEADLINE / 2;
    rig.submit_all(2..6);
    let taken = rig.take();
    rig.now += DEADLINE / 2;
    assert_eq!(rig.drain(), [(0, LATE), (1, LATE)]);
    // Answered: 1 (late), 3. Written before the end, so received.
    rig.reply(taken[1].0, 0);
    rig.reply(taken[3].0, 0);
    rig.kill_server();
    // The send notices the end first; the verdicts are received all the same.
    rig.submit(6).unwrap();
    assert_eq!(rig.drain(), [(3, Source::Server)]);
    assert!(!rig.session.is_connected());
    assert_eq!(rig.session.last_closed(), Some(Closed::ServerGone));
    rig.now += GRACE - 1 - EVERY;
    assert_eq!(rig.drain(), []);
    // Quicker than the grace: nobody notices.
    rig.connect();
    rig.submit(7).unwrap();
    let taken = rig.take();
    assert_eq!(taken, [(0, 0), (2, 2), (4, 4), (5, 5), (6, 6), (7, 7)]);
    for (ticket, _) in taken {
        rig.reply(ticket, 0);
    }
    let answered: Vec<u64> = rig.drain().into_iter().map(|(id, _)| id).collect();
    assert_eq!(answered, [2, 4, 5, 6, 7]);
    let counts = rig.session.counts();
    let expected = SessionCounts {
        submitted: 8,
        answered: 6,
        fallback_deadline: 2,
        late: 2,
        resubmitted: 4,
        connects: 2,
        disconnects: 1,
        ..SessionCounts::default()
    };
    assert_eq!((counts, rig.session.unheard()), (expected, 0));
}

#[test]
fn only_the_unanswered_make_busy_and_the_forgotten_are_not_mistaken() {
    let mut rig = Rig::connected(geometry(128, 8), 2);
    rig.submit_all(0..2);
    assert_eq!(rig.submit(2), Err(SubmitError::Busy));
    assert_eq!(rig.take(), [(0, 0), (1, 1)]);
    rig.now += DEADLINE;
    assert_eq!(rig.poll_id(), Some((0, LATE)));
    rig.submit(2).unwrap();
    assert_eq!(rig.submit(3), Err(SubmitError::Busy), "request 1 is past its deadline but not answered");
    assert_eq!(rig.take(), [(2, 2)]);
    // The verdict of the forgotten request is not that of the one in its place.
    rig.reply(0, 1);
    assert_eq!(rig.drain(), [(1, LATE)]);
    rig.reply(2, 2);
    assert_eq!(rig.drain(), [(2, Source::Server)]);
    let counts = rig.session.counts();
    assert_eq!((counts.busy, counts.forgotten, counts.strange, counts.late), (2, 1, 1, 0));
    let words = [0; 13];
    let long = rig.session.submit(3, 4, 3, 0, &words, rig.now);
    assert_eq!(long, Err(SubmitError::TooLong { found: 13, max: 12 }));
}

#[test]
fn a_ring_with_less_room_means_waiting_in_order() {
    let small = Geometry { slot_bytes: 128, request_capacity: 4, verdict_capacity: 2 };
    let mut rig = Rig::connected(small, 16);
    rig.submit_all(0..16);
    let mut answered = Vec::new();
    for _ in 0..8 {
        let taken = rig.take();
        assert_eq!(taken.len(), 2);
        taken.into_iter().for_each(|(ticket, _)| rig.reply(ticket, 0));
        answered.extend(rig.drain().into_iter().map(|(id, _)| id));
    }
    assert_eq!(answered, (0..16).collect::<Vec<_>>());
}

#[test]
fn no_ending_makes_it_spin() {
    // Refused each time; then let in and dropped each time; then never answered.
    let (_directory, path) = socket_path();
    let other = ServerOptions { schema_hash: [8; 32], ..server_options(geometry(128, 8)) };
    let refusing = Listener::bind(&path, other).unwrap();
    let mut session = Session::open(options(&path, geometry(128, 8), 8), 0).unwrap();
    let mut refused = 0;
    for now in 0..10 * EVERY {
        refused += u64::from(refusing.accept_within(Duration::ZERO).is_err());
        assert_eq!(session.poll(now), None);
    }
    assert_eq!(refused, 10);
    let error = session.last_error().expect("why");
    assert!(matches!(error, ConnectError::Refused(Refusal::SchemaHash { .. })), "{error}");
    drop(refusing);

    let dropping = Listener::bind(&path, server_options(geometry(128, 8))).unwrap();
    for now in 10 * EVERY..20 * EVERY {
        drop(dropping.accept_within(Duration::ZERO));
        assert_eq!(session.poll(now), None);
    }
    let counts = session.counts();
    assert!(session.last_error().is_none());
    assert_eq!((counts.connects, counts.disconnects), (10, 10));
    drop(dropping);

    let _silent = Listener::bind(&path, server_options(geometry(128, 8))).unwrap();
    let client =
        ClientOptions { timeout: Duration::from_nanos(3 * EVERY), ..client_options(geometry(128, 8)) };
    let options = SessionOptions { client, ..options(&path, geometry(128, 8), 8) };
    let mut session = Session::open(options, 0).unwrap();
    assert_eq!(session.poll(3 * EVERY - 1), None);
    assert!(session.last_error().is_none());
    assert_eq!(session.poll(3 * EVERY), None);
    let error = session.last_error().expect("why");
    assert!(matches!(error, ConnectError::TimedOut(_)), "{error}");
}

#[test]
fn impossible_options_are_refused_by_name() {
    let good = options(Path::new("/nowhere/at/all"), geometry(128, 8), 8);
    assert!(Session::open(good.clone(), 0).is_ok());
    let zero = Duration::ZERO;
    let client = |client: ClientOptions| SessionOptions { client, ..good.clone() };
    let table = [
        (SessionOptions { in_flight_max: 0, ..good.clone() }, "in_flight_max of 0"),
        (SessionOptions { in_flight_max: 24, ..good.clone() }, "in_flight_max of 24"),
        (SessionOptions { in_flight_max: 1 << 21, ..good.clone() }, "from 1 to 1048576"),
        (SessionOptions { deadline: zero, ..good.clone() }, "deadline of zero"),
        (SessionOptions { reconnect_every: zero, ..good.clone() }, "reconnect_every of zero"),
        (SessionOptions { life_check_every: zero, ..good.clone() }, "life_check_every of zero"),
        (client(ClientOptions { timeout: zero, ..good.client.clone() }), "client.timeout of zero"),
        (client(ClientOptions { slot_bytes: 64, ..good.client.clone() }), "slot of 64 bytes"),
        (SessionOptions { path: "x".repeat(200).into(), ..good.clone() }, "use 1 to 107 bytes"),
    ];
    for (options, expected) in table {
        let message = Session::open(options, 0).err().expect(expected).to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_sleeper_wakes_for_a_verdict_and_for_what_is_due() {
    let geometry = geometry(128, 8);
    let (_directory, path) = socket_path();
    let patient = SessionOptions { deadline: LONG * 60, ..options(&path, geometry, 8) };
    let patient = SessionOptions { outage_grace: LONG * 60, life_check_every: LONG * 60, ..patient };
    let mut session = Session::open(patient.clone(), monotonic_ns()).unwrap();
    let stop = flag();
    let listener = Listener::bind(&path, server_options(geometry)).unwrap();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| echo(accept(&listener), &stop));
        session.submit(1, 0, 5, 0, &[1, 2], monotonic_ns()).unwrap();
        // Each sleep is worth an hour; only waking gets us through: for the steps of connecting, and for each verdict.
        for n in 0..1000 {
            let answer = loop {
                let now = monotonic_ns();
                match session.poll(now) {
                    Some(answer) => break answer,
                    None => session.wait(LONG * 60, now),
                }
            };
            assert_eq!((answer.req_id, answer.source), (5 + n, Source::Server));
            session.submit(1, 0, 6 + n, 0, &[1, 2], monotonic_ns()).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        server.join().unwrap();
    });
    drop(listener);
    // No server, and nothing due: the sleep ends for the next attempt.
    let start = monotonic_ns();
    let eager = SessionOptions { reconnect_every: Duration::from_millis(2), ..patient.clone() };
    let mut session = Session::open(eager, start).unwrap();
    session.wait(LONG, start);
    assert!(monotonic_ns() - start < LONG.as_nanos() as u64 / 2);
    // And a deadline in a moment.
    let hasty = SessionOptions { deadline: Duration::from_millis(5), reconnect_every: LONG * 60, ..patient };
    let mut session = Session::open(hasty, monotonic_ns()).unwrap();
    session.submit(1, 0, 5, 0, &[], monotonic_ns()).unwrap();
    let answer = loop {
        let now = monotonic_ns();
        match session.poll(now) {
            Some(answer) => break answer,
            None => session.wait(LONG * 60, now),
        }
    };
    assert_eq!((answer.req_id, answer.source), (5, LATE));
}
