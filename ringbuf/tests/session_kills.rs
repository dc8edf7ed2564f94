//! The session against servers in processes of their own that are killed.

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::*;
use tollgate_ring::*;

const SERVER_VARIABLE: &str = "TOLLGATE_RING_SESSION_SOCKET";
const HOLDING_SERVER_VARIABLE: &str = "TOLLGATE_RING_SESSION_SOCKET_HOLDING";
const SILENCE: [u64; 4] = [9, 8, 7, 6];
const GONE: Source = Source::FailClosed(Silence::Outage);

/// Serves one client until killed, keeping the newest `held` requests unanswered. Writes down what it was asked, each time
/// as (ticket, the caller's id), before it answers.
fn serve_and_log(path: &Path, held: usize) {
    use std::io::Write;
    let listener = Listener::bind(path, server_options(geometry(128, 256))).unwrap();
    let mut log = std::fs::OpenOptions::new().append(true).create(true).open(log_of(path)).unwrap();
    let watcher = listener.watcher();
    let mut connection = accept(&listener);
    let (mut request, mut waiting) = (Request::new(), std::collections::VecDeque::new());
    while !connection.hung_up() {
        let mut lines = Vec::new();
        while connection.poll(&mut request).unwrap() {
            lines.extend_from_slice(&request.req_id.to_le_bytes());
            lines.extend_from_slice(&request.payload[0].to_le_bytes());
            waiting.push_back(answer(&request));
        }
        if lines.is_empty() {
            // Nobody is left behind if the test dies.
            watcher.poll(Duration::from_micros(100));
        }
        log.write_all(&lines).unwrap();
        while waiting.len() > held {
            connection.reply(&waiting.pop_front().unwrap()).unwrap();
        }
        connection.publish();
    }
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("log")
}

/// Not a test by itself: a server that answers everything.
#[test]
fn child_server() {
    let Some(path) = std::env::var_os(SERVER_VARIABLE) else { return };
    serve_and_log(path.as_ref(), 0);
}

/// Not a test by itself: a server that always has something unanswered.
#[test]
fn child_holding_server() {
    let Some(path) = std::env::var_os(HOLDING_SERVER_VARIABLE) else { return };
    serve_and_log(path.as_ref(), 8);
}

/// A process that does not outlive the test.
struct Server(std::process::Child);

impl Server {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A death without a word is found by the life check of a poll, and what was written before is received.
#[test]
fn a_poll_alone_notices_a_killed_server() {
    let geometry = geometry(128, 8);
    let (_directory, path) = socket_path();
    let mut server = Server(child("child_server", SERVER_VARIABLE, path.as_os_str()));
    let every = LONG * 60;
    let fallback = Fallback::FailClosed { payload: SILENCE };
    let options = SessionOptions {
        in_flight_max: 8,
        outage_grace: every * 10,
        life_check_every: every,
        ..SessionOptions::new(path, client_options(geometry), every * 10, fallback)
    };
    let mut session = Session::open(options, monotonic_ns()).unwrap();
    until("connected", || {
        assert_eq!(session.poll(monotonic_ns()), None);
        session.is_connected()
    });
    let now = monotonic_ns();
    session.submit(1, 0, 7, now, &[7], now).unwrap();
    session.wait(LONG, now);
    server.kill();
    // It is not yet time to ask, so nothing can be known.
    assert!(session.is_connected());
    let later = monotonic_ns() + every.as_nanos() as u64;
    assert_eq!(session.poll(later).map(|answer| (answer.req_id, answer.source)), Some((7, Source::Server)));
    assert_eq!(session.poll(later), None);
    assert_eq!((session.is_connected(), session.last_closed()), (false, Some(Closed::ServerGone)));
}

/// Keeps a stream going, and every answer by the caller's id.
struct Stream {
    session: Session,
    submitted: u64,
    answers: HashMap<u64, Source>,
    end_ns: u64,
}

impl Stream {
    /// Submits one request unless it is `idle`, and takes the answers there are.
    fn turn(&mut self, idle: bool) {
        let now = monotonic_ns();
        assert!(now < self.end_ns, "hung: {:?}", self.session.counts());
        if !idle {
            let id = self.submitted;
            self.session.submit(1, 0, id, now, &[id], now).unwrap();
            self.submitted += 1;
        }
        while let Some(answer) = self.session.poll(now) {
            assert!(answer.req_id < self.submitted);
            let before = self.answers.insert(answer.req_id, answer.source);
            assert_eq!(before, None, "request {} was answered twice", answer.req_id);
        }
        // Bursts, with sleeps between them.
        if idle || self.submitted.is_multiple_of(16) {
            self.session.wait(Duration::from_micros(200), now);
        }
    }
}

#[test]
fn a_killed_server_costs_no_answer_and_its_successor_hears_of_everything() {
    let (_directory, path) = socket_path();
    let mut first = Server(child("child_holding_server", HOLDING_SERVER_VARIABLE, path.as_os_str()));
    let client = ClientOptions { timeout: LONG, ..client_options(geometry(128, 256)) };
    // Only the outage can be the reason for a fallback, once the first connection is there.
    let fallback = Fallback::FailClosed { payload: SILENCE };
    let options = SessionOptions {
        in_flight_max: 4096,
        outage_grace: Duration::from_millis(20),
        ..SessionOptions::new(path.clone(), client, LONG * 10, fallback)
    };
    let end_ns = monotonic_ns() + LONG.as_nanos() as u64;
    let session = Session::open(options, monotonic_ns()).unwrap();
    let mut stream = Stream { session, submitted: 0, answers: HashMap::new(), end_ns };
    until("connected", || {
        stream.turn(true);
        stream.session.is_connected()
    });
    while stream.answers.len() < 2000 {
        stream.turn(stream.session.in_flight() >= 64);
    }
    assert!(stream.answers.values().all(|&source| source == Source::Server));

    first.kill();
    let killed_ns = monotonic_ns();
    let in_flight: Vec<u64> = (0..stream.submitted).filter(|id| !stream.answers.contains_key(id)).collect();
    assert!(in_flight.len() >= 8, "the server held that many back");
    let mut settled_ns = None;
    let last = stream.submitted + 500;
    while stream.submitted < last || stream.session.in_flight() > 0 {
        stream.turn(stream.submitted == last);
        if settled_ns.is_none() && in_flight.iter().all(|id| stream.answers.contains_key(id)) {
            settled_ns = Some(monotonic_ns());
        }
    }
    let fallbacks = in_flight.iter().filter(|id| stream.answers[id] == GONE).count();
    println!(
        "{} in flight when the server was killed; the last was answered {} us later, {fallbacks} by fallback",
        in_flight.len(),
        (settled_ns.unwrap() - killed_ns) / 1000
    );
    assert!(fallbacks >= 8);
    assert!(stream.session.unheard() as usize >= fallbacks + 500 && !stream.session.is_connected());

    let _second = Server(child("child_server", SERVER_VARIABLE, path.as_os_str()));
    while !stream.session.is_connected() {
        stream.turn(true);
    }
    println!("connected again {} ms after the kill", (monotonic_ns() - killed_ns) / 1_000_000);
    let last = stream.submitted + 1000;
    while stream.submitted < last || stream.session.unheard() > 0 {
        stream.turn(stream.submitted == last || stream.session.in_flight() >= 64);
    }
    let counts = stream.session.counts();
    println!("{counts:?}");
    assert_eq!((counts.submitted, counts.forgotten, counts.strange), (stream.submitted, 0, 0));
    assert_eq!(counts.fallback_deadline, 0);
    assert_eq!(counts.answered + counts.fallback_outage, counts.submitted);
    assert_eq!(stream.answers.len() as u64, stream.submitted);
    assert_eq!((counts.connects, counts.disconnects, counts.late), (2, 1, counts.fallback_outage));
    assert!(counts.resubmitted >= 8);

    // What the servers were asked: everything, and each ticket for one request only.
    let log = std::fs::read(log_of(&path)).unwrap();
    let (words, rest) = log.as_chunks::<8>();
    assert!(rest.is_empty());
    let words: Vec<u64> = words.iter().map(|&bytes| u64::from_le_bytes(bytes)).collect();
    let (mut heard, mut tickets) = (HashMap::<u64, u64>::new(), HashMap::new());
    for pair in words.chunks(2) {
        *heard.entry(pair[1]).or_default() += 1;
        assert_eq!(*tickets.entry(pair[0]).or_insert(pair[1]), pair[1]);
    }
    assert!((0..stream.submitted).all(|id| heard.contains_key(&id)));
    assert!(heard.values().all(|&times| times <= 2));
    assert_eq!(words.len() as u64 / 2 - stream.submitted, heard.values().filter(|&&n| n == 2).count() as u64);
}
