//! Processes killed and stopped at random points, on either side of the ring.
//!
//! `TOLLGATE_KILLS` is the number of clients killed. The tests take turns, because one of them counts descriptors.

mod hostile_rig;
mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::Child;
use std::sync::Mutex;
use std::time::Duration;

use hostile_rig::*;
use support::*;
use tollgate_ring::*;

const VICTIM_VARIABLE: &str = "TOLLGATE_RING_VICTIM";
const SERVER_VARIABLE: &str = "TOLLGATE_RING_SERVER_TO_KILL";
const CLIENTS_MAX: u32 = 8;
const SERVER_KILLS: usize = 10;
/// From the server's death to the declared verdict: the bound that the product states.
const FALLBACK_MAX_NS: u64 = 100_000_000;
const SILENCE: [u64; 4] = [4, 3, 2, 1];

static TURN: Mutex<()> = Mutex::new(());

fn sizes() -> Geometry {
    geometry(128, 64)
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: a signal to a child of our own that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Not a test by itself: a client with traffic that ends by being killed.
#[test]
fn child_victim() {
    let Some(path) = std::env::var_os(VICTIM_VARIABLE) else { return };
    let options = ClientOptions { name: "victim".into(), ..client_options(sizes()) };
    let mut client = Client::connect(path.as_ref(), options).unwrap();
    while !matches!(client.wait(Duration::ZERO), Err(Closed::ServerGone)) {
        drive(&mut client, 100);
    }
}

#[test]
fn killed_and_stopped_clients_leave_nothing_behind() {
    let _turn = TURN.lock().unwrap();
    let kills = volume("TOLLGATE_KILLS", 100);
    let (_directory, path) = socket_path();
    let service =
        Service::start(&path, ServerOptions { clients_max: CLIENTS_MAX, ..server_options(sizes()) });
    let neighbour = Neighbour::start(&path, sizes());
    neighbour.goes_on(100);
    let before = descriptors();
    let mut random = Random(kills);
    let (mut in_service, mut stopped) = (0, 0);
    for n in 0..kills {
        let accepted = service.counts().accepted;
        let mut victim = child("child_victim", VICTIM_VARIABLE, path.as_os_str());
        // One in four is killed wherever it may be on its way; the others in service.
        if n % 4 != 0 {
            until("in service", || service.counts().accepted > accepted);
            in_service += 1;
        }
        std::thread::sleep(Duration::from_micros(random.below(5_000)));
        if random.below(2) == 0 {
            signal(&victim, libc::SIGSTOP);
            stopped += 1;
            neighbour.goes_on(100);
            if random.below(2) == 0 {
                signal(&victim, libc::SIGCONT);
                std::thread::sleep(Duration::from_micros(random.below(2_000)));
            }
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        neighbour.goes_on(100);
        // It is noticed, before the next comes.
        service.settle(1);
    }
    // One that was killed with its hello sent may still be found in the socket's queue.
    until("no descriptor is left", || descriptors() == before);
    service.settle(1);
    let (tally, counts) = (service.tally("victim"), service.counts());
    println!("{kills} killed, {stopped} stopped first: {tally:?} {counts:?}");
    assert_eq!((tally.quarantined(), tally.hung_up), (0, tally.departed));
    assert!(tally.departed >= in_service, "{} of {in_service} noticed", tally.departed);
    until("the watcher has told of each", || service.noticed() == tally.departed);
    assert_eq!(counts.accepted, tally.departed + 1);
    assert!(tally.departed + counts.went_away <= kills);
    assert_eq!((counts.failed, counts.refused.iter().sum::<u64>()), (0, 0));

    // Every place is there again, and no more than that.
    let others: Vec<_> =
        (1..CLIENTS_MAX).map(|_| Client::connect(&path, client_options(sizes())).unwrap()).collect();
    let error = Client::connect(&path, client_options(sizes())).err().expect("no place is left");
    let refusal = Refusal::TooManyClients { clients_max: CLIENTS_MAX };
    assert!(matches!(error, ConnectError::Refused(found) if found == refusal), "{error}");
    // Told before it is counted.
    until("it is counted", || service.refused("too_many_clients") == 1);
    drop(others);
    println!("the honest neighbour: {} verdicts, all checked", neighbour.finish());
    service.settle(0);
    service.stop();
}

/// Not a test by itself: a server that ends by being killed.
#[test]
fn child_server() {
    let Some(path) = std::env::var_os(SERVER_VARIABLE) else { return };
    let service = Service::start(Path::new(&path), server_options(sizes()));
    std::thread::sleep(LONG);
    service.stop();
}

/// Who answered a request, and how often.
#[derive(Default)]
struct Answers {
    by_server: u64,
    by_fallback: u64,
    open: HashMap<u64, [u64; 2]>,
}

impl Answers {
    fn submit(&mut self, session: &mut Session, req_id: u64) {
        let now_ns = monotonic_ns();
        let payload = [word(req_id, 0), word(req_id, 1)];
        match session.submit(1, 0, req_id, now_ns, &payload, now_ns) {
            Ok(()) => assert!(self.open.insert(req_id, payload).is_none()),
            Err(SubmitError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Takes one answer; it must be the first to its request, and the right one.
    fn take(&mut self, session: &mut Session) -> Option<Source> {
        let answer = session.poll(monotonic_ns())?;
        let [a, b] = self.open.remove(&answer.req_id).expect("one answer to each request");
        match answer.source {
            Source::Server => {
                let sum = a.rotate_left(1) ^ b;
                assert_eq!(answer.payload[..3], [2, sum, !sum], "request {}", answer.req_id);
                self.by_server += 1;
            }
            Source::FailClosed(Silence::Outage) => {
                assert_eq!(answer.payload, SILENCE);
                self.by_fallback += 1;
            }
            other => panic!("request {}: {other:?}", answer.req_id),
        }
        Some(answer.source)
    }
}

#[test]
fn a_killed_server_is_answered_for_in_time() {
    let _turn = TURN.lock().unwrap();
    let mut after_ns = Vec::new();
    for n in 0..SERVER_KILLS as u64 {
        let (_directory, path) = socket_path();
        let mut server = child("child_server", SERVER_VARIABLE, path.as_os_str());
        // So long a deadline that only the outage can be the reason.
        let fallback = Fallback::FailClosed { payload: SILENCE };
        let options = SessionOptions {
            in_flight_max: 64,
            outage_grace: Duration::from_millis(20),
            ..SessionOptions::new(path, client_options(sizes()), LONG, fallback)
        };
        let mut session = Session::open(options, monotonic_ns()).unwrap();
        let mut answers = Answers::default();
        until("connected", || {
            assert_eq!(answers.take(&mut session), None);
            session.is_connected()
        });
        let mut req_id = 0;
        let mut round = |answers: &mut Answers, session: &mut Session| {
            answers.submit(session, req_id);
            req_id += 1;
            let answer = answers.take(session);
            if answer.is_none() {
                session.wait(Duration::from_millis(1), monotonic_ns());
            }
            answer
        };
        until("a thousand answers", || {
            round(&mut answers, &mut session);
            answers.by_server >= 1000 + 37 * n
        });
        let killed_ns = monotonic_ns();
        server.kill().unwrap();
        until("a fallback", || matches!(round(&mut answers, &mut session), Some(Source::FailClosed(_))));
        after_ns.push(monotonic_ns() - killed_ns);
        server.wait().unwrap();
        // Everything that was accepted has its one answer, the server's or the declared one.
        until("all answered", || {
            answers.take(&mut session);
            answers.open.is_empty()
        });
        let counts = session.counts();
        assert_eq!((counts.answered, counts.fallback_outage), (answers.by_server, answers.by_fallback));
        assert_eq!((counts.submitted, counts.disconnects), (counts.answered + counts.fallback_outage, 1));
        assert_eq!((counts.fallback_deadline, counts.strange), (0, 0));
    }
    after_ns.sort_unstable();
    println!("fallback after the kill, in us: {:?}", after_ns.iter().map(|ns| ns / 1000).collect::<Vec<_>>());
    if emulated("the bound on the time to the declared verdict (the emulator's speed says nothing of it)") {
        return;
    }
    let median_ns = after_ns[SERVER_KILLS / 2];
    assert!(
        median_ns <= FALLBACK_MAX_NS,
        "the declared verdict came only after {median_ns} ns: {after_ns:?}"
    );
}
