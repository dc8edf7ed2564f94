//! What the hostile tests share: one server thread for everybody, as the documentation of the crate has it, honest
//! neighbours that check every verdict, and a client by hand that can also behave.

// Each test file is its own program and uses its own part of this.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tollgate_ring::*;

use crate::support::*;

/// Requests taken from one client before the next has its turn.
const BURST: u64 = 16;
/// Rounds without work before the server parks. Few, so that it parks often.
const IDLE_ROUNDS: u32 = 200;

/// A number from the environment, or its default.
pub fn volume(variable: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(variable) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{variable}={text}: set it to a number"))
}

/// What the server has seen of the clients of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that have left, for whatever reason.
    pub departed: u64,
    /// Of these, those whose peer was gone.
    pub hung_up: u64,
    /// Of these, those quarantined for a sequence number, a length, a verdict cursor.
    pub sequence: u64,
    pub length: u64,
    pub cursor: u64,
    /// Requests taken by the connections that have left.
    pub taken: u64,
}

impl Tally {
    pub fn quarantined(&self) -> u64 {
        self.sequence + self.length + self.cursor
    }
}

/// What all threads of a [`Service`] share.
struct Shared {
    listener: Listener,
    stop: AtomicBool,
    tallies: Mutex<BTreeMap<String, Tally>>,
    /// Peers that the watcher reported.
    noticed: AtomicU64,
    parks: AtomicU64,
    rounds: AtomicU64,
}

/// A server: the thread that serves, one that accepts, one that watches, one that drops.
pub struct Service {
    pub path: PathBuf,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Service {
    pub fn start(path: &Path, options: ServerOptions) -> Service {
        let shared = Arc::new(Shared {
            listener: Listener::bind(path, options).unwrap(),
            stop: AtomicBool::new(false),
            tallies: Mutex::default(),
            noticed: AtomicU64::new(0),
            parks: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
        });
        let (arrive, arrivals) = mpsc::channel();
        let (depart, departures) = mpsc::channel();
        let parker = Parker::new();
        let (for_acceptor, for_watcher) = (parker.bell(), parker.bell());
        let with = |run: Box<dyn FnOnce(&Shared) + Send>| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || run(&shared))
        };
        let threads = vec![
            with(Box::new(move |shared| accept_all(shared, &arrive, &for_acceptor))),
            with(Box::new(move |shared| watch(shared, &for_watcher))),
            with(Box::new(move |shared| serve(shared, &arrivals, &depart, parker))),
            with(Box::new(move |shared| bury(shared, &departures))),
        ];
        Service { path: path.into(), shared, threads }
    }

    pub fn counts(&self) -> ListenerCounts {
        self.shared.listener.counts()
    }

    /// How often a client was refused for this reason.
    pub fn refused(&self, name: &str) -> u64 {
        self.counts().refused[number(name)]
    }

    pub fn tally(&self, name: &str) -> Tally {
        self.shared.tallies.lock().unwrap().get(name).copied().unwrap_or_default()
    }

    /// Of all names together.
    pub fn total(&self) -> Tally {
        let tallies = self.shared.tallies.lock().unwrap();
        tallies.values().fold(Tally::default(), |sum, one| Tally {
            departed: sum.departed + one.departed,
            hung_up: sum.hung_up + one.hung_up,
            sequence: sum.sequence + one.sequence,
            length: sum.length + one.length,
            cursor: sum.cursor + one.cursor,
            taken: sum.taken + one.taken,
        })
    }

    pub fn noticed(&self) -> u64 {
        self.shared.noticed.load(Ordering::Acquire)
    }

    pub fn parks(&self) -> u64 {
        self.shared.parks.load(Ordering::Acquire)
    }

    /// Rounds of the serving thread: it is alive while this grows.
    pub fn rounds(&self) -> u64 {
        self.shared.rounds.load(Ordering::Acquire)
    }

    /// Waits until nobody is connected but `left` clients.
    pub fn settle(&self, left: u64) {
        until("everybody gone has departed", || self.counts().accepted - self.total().departed == left);
    }

    /// Ends all threads; a panic in one of them is this one's.
    pub fn stop(mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread of the server panicked");
        }
    }
}

/// The number of a refusal by its name.
pub fn number(name: &str) -> usize {
    Refusal::NAMES.iter().position(|&known| known == name).expect("the name of a refusal")
}

fn accept_all(shared: &Shared, arrive: &mpsc::Sender<Connection>, bell: &Bell) {
    while !shared.stop.load(Ordering::Acquire) {
        match shared.listener.accept_within(Duration::from_millis(20)) {
            Ok(Some(connection)) => {
                arrive.send(connection).unwrap();
                bell.ring();
            }
            // What went wrong is counted by the listener. A pause, so that a lasting failure is no busy loop.
            Ok(None) => {}
            Err(AcceptError::Io(_)) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => {}
        }
    }
}

fn watch(shared: &Shared, bell: &Bell) {
    let watcher = shared.listener.watcher();
    while !shared.stop.load(Ordering::Acquire) {
        let gone = watcher.poll(Duration::from_millis(20));
        if !gone.is_empty() {
            shared.noticed.fetch_add(gone.len() as u64, Ordering::AcqRel);
            bell.ring();
        }
    }
}

fn serve(
    shared: &Shared,
    arrivals: &mpsc::Receiver<Connection>,
    depart: &mpsc::Sender<Connection>,
    mut parker: Parker,
) {
    let mut connections: Vec<Connection> = Vec::new();
    let mut request = Request::new();
    let mut idle_rounds = 0;
    while !shared.stop.load(Ordering::Acquire) {
        connections.extend(arrivals.try_iter());
        let mut work = 0;
        for connection in &mut connections {
            let mut burst = 0;
            while burst < BURST && matches!(connection.poll(&mut request), Ok(true)) {
                connection.reply(&answer(&request)).expect("one verdict for each request taken");
                burst += 1;
            }
            connection.publish();
            work += burst;
        }
        for connection in connections.extract_if(.., |c| c.hung_up() || c.quarantined().is_some()) {
            depart.send(connection).unwrap();
        }
        idle_rounds = if work > 0 { 0 } else { idle_rounds + 1 };
        if idle_rounds > IDLE_ROUNDS {
            parker.park(connections.iter(), Duration::from_millis(50));
            shared.parks.fetch_add(1, Ordering::AcqRel);
            idle_rounds = 0;
        }
        shared.rounds.fetch_add(1, Ordering::AcqRel);
    }
}

/// Counts those that left, and drops them.
fn bury(shared: &Shared, departures: &mpsc::Receiver<Connection>) {
    for connection in departures {
        let name = connection.name().to_owned();
        let (quarantine, hung_up, taken) =
            (connection.quarantined(), connection.hung_up(), connection.taken());
        // Before it is counted: whoever sees the count finds its place and its descriptors given back.
        drop(connection);
        let mut tallies = shared.tallies.lock().unwrap();
        let tally = tallies.entry(name).or_default();
        tally.departed += 1;
        tally.taken += taken;
        match quarantine {
            Some(Quarantine::Sequence { .. }) => tally.sequence += 1,
            Some(Quarantine::Length { .. }) => tally.length += 1,
            Some(Quarantine::VerdictCursor { .. }) => tally.cursor += 1,
            None => tally.hung_up += u64::from(hung_up),
        }
    }
}

/// An honest client in a thread of its own: it checks every verdict, and loses none.
pub struct Neighbour {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Neighbour {
    pub fn start(path: &Path, geometry: Geometry) -> Neighbour {
        let options = ClientOptions { name: "honest".into(), ..client_options(geometry) };
        let mut client = Client::connect(path, options).unwrap();
        let (stop, received) = (flag(), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&received));
        let thread = std::thread::spawn(move || converse(&mut client, &stopped, &count));
        Neighbour { stop, received, thread }
    }

    /// Verdicts received and checked.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    /// Waits until it has received `more`.
    pub fn goes_on(&self, more: u64) {
        let goal = self.received() + more;
        until("the honest neighbour is served", || {
            assert!(!self.thread.is_finished(), "the honest neighbour failed");
            self.received() >= goal
        });
    }

    /// Everything sent is answered and checked; returns how much it was.
    pub fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the honest neighbour lost something");
        self.received.load(Ordering::Acquire)
    }
}

/// Sends in bursts and sleeps for the answers, so that both sides park and wake all the time.
fn converse(client: &mut Client, stop: &AtomicBool, count: &AtomicU64) {
    let room = client.geometry().request_words();
    let mut words = [0; REQUEST_WORDS_MAX];
    let (mut sent, mut received) = (0_u64, 0_u64);
    loop {
        let stopping = stop.load(Ordering::Acquire);
        let burst = if stopping { 0 } else { 1 + word(sent, 0) % 24 };
        for _ in 0..burst {
            let len = fill(sent, &mut words[..room]);
            match client.send(sent as u16, sent, sent << 3, &words[..len]) {
                Ok(()) => sent += 1,
                Err(SendError::Busy) => break,
                Err(error) => panic!("after {sent} requests: {error}"),
            }
        }
        while received < sent {
            match client.recv().unwrap() {
                Some(verdict) => {
                    assert_eq!(verdict, expected(received, room));
                    received += 1;
                    count.store(received, Ordering::Release);
                }
                None => assert!(client.wait(LONG).unwrap(), "request {received} is not answered"),
            }
        }
        if stopping {
            assert_eq!(client.in_flight(), 0);
            return;
        }
    }
}

/// A small generator, seeded.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A client by hand in service. It keeps the protocol as long as nobody writes to its file behind its back.
pub struct ByHand {
    pub client: RawClient,
    pub rings: RawRings,
    /// Requests sent and verdicts received.
    pub sent: u64,
    pub received: u64,
}

impl ByHand {
    /// None: refused, or the server has gone.
    pub fn connect(path: &Path, slot_bytes: u32, name: &str) -> Option<ByHand> {
        let client = RawClient::connect(path);
        let mut words = hello(slot_bytes);
        for (to, from) in words[8..12].iter_mut().zip(name.as_bytes().chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..from.len()].copy_from_slice(from);
            *to = u64::from_le_bytes(bytes);
        }
        client.say(&as_bytes(&words));
        let (welcome, fds) = client.hear()?;
        let [c, s] = <[std::os::fd::OwnedFd; 2]>::try_from(fds).ok()?;
        let c = RawMap::new(c, libc::PROT_READ | libc::PROT_WRITE);
        let s = RawMap::new(s, libc::PROT_READ);
        let (capacity, epoch) = (welcome[4] as u32, welcome[5]);
        let rings = RawRings { c, s, slot_bytes: slot_bytes as usize, capacity, epoch };
        client.say_mapped(epoch);
        let (active, _) = client.hear()?;
        assert_eq!(active[1] >> 32, 4, "not in service");
        Some(ByHand { client, rings, sent: 0, received: 0 })
    }

    /// Whether the server still serves this client.
    pub fn is_served(&self) -> bool {
        self.rings.s.word(layout::S_STATE).load(Ordering::Relaxed) == layout::STATE_ACTIVE
    }

    /// Where request `index` lies in C.
    pub fn slot(&self, index: u64) -> usize {
        layout::SLOTS + (index % u64::from(self.rings.capacity)) as usize * self.rings.slot_bytes
    }

    /// The word at a byte offset of C.
    pub fn c(&self, offset: usize) -> &AtomicU64 {
        self.rings.c.word(offset)
    }

    /// Sends one request of two words if there is room.
    pub fn send(&mut self) -> bool {
        if self.sent - self.received >= u64::from(self.rings.capacity) {
            return false;
        }
        let at = self.slot(self.sent);
        self.c(at + 32).store(word(self.sent, 0), Ordering::Relaxed);
        self.c(at + 40).store(word(self.sent, 1), Ordering::Relaxed);
        self.rings.put(self.sent, self.sent + 1, 2);
        self.sent += 1;
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.rings.s.word(layout::S_DOORBELL).load(Ordering::Relaxed) != 0 {
            self.kick(self.c(layout::C_KICK).load(Ordering::Relaxed).wrapping_add(1));
        }
        true
    }

    /// Sets the wake word and wakes whoever sleeps on it.
    pub fn kick(&self, value: u64) {
        let kick = self.c(layout::C_KICK);
        kick.store(value, Ordering::Release);
        // SAFETY: the kernel uses the address only to find sleepers.
        unsafe { libc::syscall(libc::SYS_futex, kick.as_ptr(), libc::FUTEX_WAKE, i32::MAX, 0, 0, 0) };
    }

    /// Receives one verdict if it is there, and returns its second payload word.
    pub fn receive(&mut self) -> Option<u64> {
        let slot = layout::SLOTS
            + (self.received % u64::from(self.rings.capacity)) as usize * layout::VERDICT_SLOT_BYTES as usize;
        let seq = self.rings.s.word(slot).load(Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::Acquire);
        if seq != self.received + 1 {
            return None;
        }
        let sum = self.rings.s.word(slot + 40).load(Ordering::Relaxed);
        self.received += 1;
        self.c(layout::C_VERDICT_CURSOR).store(self.received, Ordering::Release);
        Some(sum)
    }

    /// Receives all that is there, whatever it is.
    pub fn receive_all(&mut self) {
        while self.receive().is_some() {}
    }

    /// Receives all that is there; each must be the right one.
    pub fn check_all(&mut self) {
        loop {
            let n = self.received;
            let Some(sum) = self.receive() else { return };
            assert_eq!(sum, word(n, 0).rotate_left(1) ^ word(n, 1), "verdict {n} is another request's");
        }
    }
}
