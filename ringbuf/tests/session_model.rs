//! The session against a plain model of what it promises, under any schedule of submissions, polls, verdicts in any order,
//! deaths and returns of the server, and time. The model predicts every answer and every refusal exactly.

mod support;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::*;
use tollgate_ring::*;

const DEADLINE: u64 = 1000;
const GRACE: u64 = 300;
const EVERY: u64 = 40;
const SILENCE: [u64; 4] = [9, 8, 7, 6];

/// What the model knows of a request that the server has not answered. The callers' ids are 0, 1, 2, … in order of
/// submission.
struct Item {
    id: u64,
    t_intended: u64,
    due: u64,
    settled: bool,
}

/// What the session must do next.
struct Model {
    in_flight_max: usize,
    /// In order of submission.
    live: Vec<Item>,
    /// Settled, in the order of settling.
    settled: VecDeque<u64>,
    /// Verdicts that the session has not read: the id answered; None if for no request at all.
    verdicts: VecDeque<Option<u64>>,
    lost: u64,
    counts: SessionCounts,
}

impl Model {
    fn open(&self) -> usize {
        self.live.len() - self.settled.len()
    }

    fn position(&self, id: u64) -> Option<usize> {
        self.live.iter().position(|item| item.id == id)
    }

    /// Takes a request in, or not.
    fn submit(&mut self, id: u64, t_intended: u64, now: u64) -> Result<(), SubmitError> {
        if self.open() == self.in_flight_max {
            self.counts.busy += 1;
            return Err(SubmitError::Busy);
        }
        if self.live.len() == self.in_flight_max {
            let forgotten = self.settled.pop_front().expect("fewer are open than live");
            self.live.retain(|item| item.id != forgotten);
            self.counts.forgotten += 1;
        }
        let t_intended = if t_intended == 0 { now } else { t_intended };
        self.live.push(Item { id, t_intended, due: t_intended + DEADLINE, settled: false });
        self.counts.submitted += 1;
        Ok(())
    }

    /// The answer that is the server's, if the session finds one.
    fn verdict(&mut self) -> Option<Answer> {
        while let Some(verdict) = self.verdicts.pop_front() {
            let Some(place) = verdict.and_then(|id| self.position(id)) else {
                self.counts.strange += 1;
                continue;
            };
            let Item { id, t_intended, settled, .. } = self.live.remove(place);
            if settled {
                self.settled.retain(|&other| other != id);
                self.counts.late += 1;
                continue;
            }
            self.counts.answered += 1;
            let (kind, flags, source) = (kind_of(id) + 1, flags_of(id) + 1, Source::Server);
            return Some(Answer { kind, req_id: id, t_intended, payload: [id, 1, 2, 3], flags, source });
        }
        None
    }

    /// The answer that is due.
    fn silence(&mut self, connected: bool, now: u64) -> Option<Answer> {
        let outage = if connected { u64::MAX } else { self.lost + GRACE };
        let open = self.live.iter_mut().filter(|item| !item.settled);
        let item = open.min_by_key(|item| (item.due, item.id))?;
        if now < item.due.min(outage) {
            return None;
        }
        item.settled = true;
        self.settled.push_back(item.id);
        let silence = if outage < item.due { Silence::Outage } else { Silence::Deadline };
        match silence {
            Silence::Outage => self.counts.fallback_outage += 1,
            Silence::Deadline => self.counts.fallback_deadline += 1,
        }
        let &mut Item { id, t_intended, .. } = item;
        let source = Source::FailOpen(silence);
        Some(Answer { kind: kind_of(id), req_id: id, t_intended, payload: SILENCE, flags: 0, source })
    }
}

fn kind_of(id: u64) -> u16 {
    id as u16 & 0xff
}

fn flags_of(id: u64) -> u32 {
    id as u32 ^ 0xffff
}

/// Length and words of a payload; the id is in front.
fn payload_of(id: u64) -> Vec<u64> {
    (0..=id % 12).map(|i| if i == 0 { id } else { word(id, i as usize) }).collect()
}

struct Run {
    directory: tempfile::TempDir,
    options: ServerOptions,
    listener: Option<Listener>,
    connection: Option<Connection>,
    /// Taken on this connection and not answered: tickets and ids.
    owed: Vec<(u64, u64)>,
    /// All ids taken on this connection.
    taken: Vec<u64>,
    /// The ticket of each id the server has ever seen, and how often it has been taken.
    tickets: HashMap<u64, (u64, u64)>,
    session: Session,
    model: Model,
    submissions: u64,
    now: u64,
}

impl Run {
    fn new(geometry: Geometry, in_flight_max: u32) -> Run {
        let (directory, path) = socket_path();
        let fallback = Fallback::FailOpen { payload: SILENCE };
        let deadline = Duration::from_nanos(DEADLINE);
        let options = SessionOptions {
            in_flight_max,
            outage_grace: Duration::from_nanos(GRACE),
            reconnect_every: Duration::from_nanos(EVERY),
            ..SessionOptions::new(path, client_options(geometry), deadline, fallback)
        };
        let now = 5000;
        let model = Model {
            in_flight_max: in_flight_max as usize,
            live: Vec::new(),
            settled: VecDeque::new(),
            verdicts: VecDeque::new(),
            lost: now,
            counts: SessionCounts::default(),
        };
        Run {
            directory,
            options: server_options(geometry),
            listener: None,
            connection: None,
            owed: Vec::new(),
            taken: Vec::new(),
            tickets: HashMap::new(),
            session: Session::open(options, now).unwrap(),
            model,
            submissions: 0,
            now,
        }
    }

    fn submit(&mut self, value: u64) {
        let id = self.submissions;
        let t_intended = match value % 4 {
            0 => 0,
            1 | 2 => self.now,
            _ => self.now - DEADLINE + 8 * value,
        };
        let words = payload_of(id);
        let found = self.session.submit(kind_of(id), flags_of(id), id, t_intended, &words, self.now);
        assert_eq!(found, self.model.submit(id, t_intended, self.now));
        self.submissions += u64::from(found.is_ok());
    }

    /// One poll, whose result the model knows beforehand, but for whether there is a connection: that is a matter of
    /// system calls, and the session tells.
    fn poll(&mut self) -> bool {
        let before = self.session.is_connected();
        let found = self.session.poll(self.now);
        let after = self.session.is_connected();
        let mut expected = if before { self.model.verdict() } else { None };
        if before && !after {
            assert!(
                self.model.verdicts.is_empty() && expected.is_none(),
                "all is received before hanging up"
            );
            self.model.lost = self.now;
            self.model.counts.disconnects += 1;
        }
        self.model.counts.connects += u64::from(after && !before);
        if expected.is_none() {
            expected = self.model.silence(after, self.now);
        }
        assert_eq!(found, expected);
        let SessionCounts { resubmitted, .. } = self.session.counts();
        assert_eq!(self.session.counts(), SessionCounts { resubmitted, ..self.model.counts });
        assert_eq!(self.session.in_flight() as usize, self.model.open());
        assert_eq!(self.session.unheard() as usize, self.model.live.len());
        found.is_some()
    }

    /// The server takes one request, which must be the right one.
    fn take(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let mut request = Request::new();
        if !connection.poll(&mut request).unwrap() {
            return false;
        }
        let id = request.payload[0];
        assert_eq!(request.words(), payload_of(id));
        assert_eq!((request.kind, request.flags), (kind_of(id), flags_of(id)));
        let (ticket, times) = self.tickets.entry(id).or_insert((request.req_id, 0));
        assert_eq!(*ticket, request.req_id, "a request keeps its ticket");
        *times += 1;
        // In order of submission, and nothing that the server owes an answer to is passed over.
        assert!(self.taken.last().is_none_or(|&last| last < id));
        for item in self.model.live.iter().filter(|item| item.id < id) {
            assert!(self.taken.contains(&item.id), "{} comes before {}", item.id, id);
        }
        if let Some(item) = self.model.live.iter().find(|item| item.id == id) {
            assert_eq!(item.t_intended, request.t_intended);
        }
        self.taken.push(id);
        self.owed.push((request.req_id, id));
        true
    }

    /// The server answers one of those it owes; or, if `strange`, somebody else, and the one for whose place in the ring
    /// that is never.
    fn reply(&mut self, value: u64, strange: bool) -> bool {
        let Some(connection) = self.connection.as_mut().filter(|_| !self.owed.is_empty()) else {
            return false;
        };
        let (mut ticket, mut id) = self.owed.swap_remove(value as usize % self.owed.len());
        let mut verdict = Some(id);
        if strange {
            // A ticket that was used once and is not in the table any more, or that nobody ever gave.
            let gone = self.tickets.iter().find(|&(&id, _)| self.model.position(id).is_none());
            (id, ticket) = gone.map_or((0, u64::MAX - value), |(&id, &(ticket, _))| (id, ticket));
            verdict = None;
        }
        let (kind, flags) = (kind_of(id) + 1, flags_of(id) + 1);
        let payload = [id, 1, 2, 3];
        connection.reply(&Verdict { kind, flags, req_id: ticket, t_intended: 0, payload }).unwrap();
        connection.publish();
        self.model.verdicts.push_back(verdict);
        true
    }

    fn serve(&mut self) {
        let path = self.directory.path().join("ring");
        let listener = self
            .listener
            .get_or_insert_with(|| Listener::bind(&path, self.options.clone()).expect("a free path"));
        // An error is a client that has given up meanwhile.
        if let Ok(Some(connection)) = listener.accept_within(Duration::ZERO) {
            self.connection = Some(connection);
            (self.owed, self.taken) = (Vec::new(), Vec::new());
        }
    }

    fn kill(&mut self, whole: bool) {
        self.connection = None;
        self.owed.clear();
        if whole {
            self.listener = None;
        }
    }

    fn step(&mut self, what: u8, value: u64) {
        match what {
            0..8 => self.submit(value),
            8..16 => drop(self.poll()),
            16..22 => drop((0..=value % 4).all(|_| self.take())),
            22..28 => drop((0..=value % 4).all(|n| self.reply(value.wrapping_mul(n + 7), false))),
            28 => drop(self.reply(value, value.is_multiple_of(4))),
            29..33 => self.now += value,
            33..39 => {
                self.serve();
                self.poll();
            }
            39 => self.kill(value < 160),
            _ => unreachable!("forty kinds of steps"),
        }
    }

    /// The server stays and answers everything: nothing may be left.
    fn finish(&mut self) {
        let mut rounds = 0;
        while self.session.unheard() > 0 {
            rounds += 1;
            assert!(rounds < 10_000, "never finished: {:?}", self.session.counts());
            self.now += 1;
            self.serve();
            while self.poll() {}
            while self.take() {}
            while self.reply(3, false) {}
            // What a strange reply was given for stays owed until the connection ends.
            if rounds % 200 == 0 {
                self.kill(false);
            }
        }
        let counts = self.session.counts();
        assert_eq!(
            counts.submitted,
            counts.answered + counts.fallback_deadline + counts.fallback_outage,
            "one answer for each"
        );
        let unheard = (0..self.submissions).filter(|id| !self.tickets.contains_key(id)).count() as u64;
        assert!(unheard <= counts.forgotten);
        let again: u64 = self.tickets.values().map(|&(_, times)| times - 1).sum();
        assert!(again <= counts.resubmitted, "{again} taken again, {} sent again", counts.resubmitted);
    }
}

#[test]
fn every_schedule_gives_one_answer_to_each_request() {
    let sizes = (1..4_u32, 1..4_u32, 0..5_u32);
    let steps = proptest::collection::vec((0..40_u8, 0..256_u64), 1..800);
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() };
    let seen = Cell::new([0; 9]);
    TestRunner::new(config)
        .run(&(sizes, steps), |((requests, verdicts, in_flight), steps)| {
            let (request_capacity, verdict_capacity) = (1 << requests, 1 << verdicts);
            let mut run =
                Run::new(Geometry { slot_bytes: 128, request_capacity, verdict_capacity }, 1 << in_flight);
            steps.into_iter().for_each(|(what, value)| run.step(what, value));
            run.finish();
            let c = run.session.counts();
            let counts = [
                c.answered,
                c.fallback_deadline,
                c.fallback_outage,
                c.late,
                c.strange,
                c.forgotten,
                c.resubmitted,
                c.disconnects,
                c.busy,
            ];
            seen.set(std::array::from_fn(|i| seen.get()[i] + counts[i]));
            Ok(())
        })
        .unwrap();
    // All of it was really tried; each of these is in the hundreds at least.
    assert!(seen.get().into_iter().all(|count| count > 10), "{seen:?}");
}
