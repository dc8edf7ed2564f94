//! Runs the real binary in directories of its own, and decides the same events in this process to compare.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tollgate::config::Config;
use tollgate::encode::{self, EventWords, FieldSlot};
use tollgate::engine::units::{Currency, EventId, Time};
use tollgate::engine::wire::{Admission, FLAG_REFUSED, Input, Outcome};
use tollgate::engine::{Engine, Step};
use tollgate::policy;
use tollgate::token::Tokenizer;
use tollgate_ring::{Client, ClientOptions, ConnectError};

/// Counts, sums and rules enough for verdicts to differ.
pub const POLICY: &str = r#"
policy test revision 1
entity card, merchant
reason MANY 7 { analyst "many payments in an hour", customer "try later", iso "59" }
reason BIG 8 { analyst "much money in a day", withhold, iso "61" }
event payment {
  card: card, merchant: merchant?
  amount: money
}
event label amends payment { is_fraud: bool }
feature payments_1h = count(payment) by card last 1h
feature spend_24h = sum(payment.amount in USD) by card last 24h
feature risk_7d = ratio(payment where label.is_fraud, payment) by merchant last 7d
rule many on payment { when payments_1h > 3 then review, score 80, reason MANY }
rule big on payment { when spend_24h > 1000 USD then challenge, score 50, reason BIG }
rule risky on payment { when risk_7d > 0.04 then block, score 95 }
decide payment {
  score = rule_scores
  review when score >= 75
  unassessed allow
  late after 50ms { allow when amount in USD < 50 USD, else review }
}
"#;

/// How long anything may take before the test says that it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Directories and files for one appliance.
pub struct Rig {
    /// Journal, configuration, policy, standard error.
    pub disk: TempDir,
    /// Ring, socket, lock.
    pub memory: TempDir,
    extra: String,
}

impl Rig {
    /// With this policy.
    pub fn new(policy: &str) -> Self {
        Self::with(policy, "")
    }

    /// With this policy and more configuration (whole sections other than engine and journal).
    pub fn with(policy: &str, extra: &str) -> Self {
        let rig = Self {
            disk: tempfile::tempdir().unwrap(),
            memory: tempfile::tempdir_in("/dev/shm").unwrap(),
            extra: extra.into(),
        };
        rig.set_policy(policy);
        std::fs::write(rig.config(), rig.config_text()).unwrap();
        rig
    }

    pub fn config_text(&self) -> String {
        format!(
            "[engine]\nclock = \"event\"\ntouch_memory = false\nkeys_max = 4096\nspill_bytes_max = \"4MiB\"\nrows_per_key_max = 1024\n\
             dedup_entries_max = 65536\n\
             [journal]\ndir = {:?}\nruntime_dir = {:?}\nring_bytes = \"1MiB\"\nsegment_bytes = \"256KiB\"\n{}",
            self.journal(),
            self.runtime(),
            self.extra
        )
    }

    pub fn config(&self) -> PathBuf {
        self.disk.path().join("appliance.toml")
    }

    pub fn policy(&self) -> PathBuf {
        self.disk.path().join("test.policy")
    }

    pub fn journal(&self) -> PathBuf {
        self.disk.path().join("journal")
    }

    pub fn runtime(&self) -> PathBuf {
        self.memory.path().join("run")
    }

    pub fn set_policy(&self, text: &str) {
        std::fs::write(self.policy(), text).unwrap();
    }

    /// The command that runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.arg("run").arg("--config").arg(self.config()).arg("--policy").arg(self.policy());
        command
    }

    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Running {
        let log = self.disk.path().join("stderr");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut child = self.command().stdout(Stdio::piped()).stderr(file).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(rest) = line.strip_prefix("ready ") else {
            let status = child.wait().unwrap();
            panic!("not ready, {status}: {line}{}", std::fs::read_to_string(&log).unwrap());
        };
        let pairs = rest.split_whitespace().filter_map(|pair| pair.split_once('='));
        let ready = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Running { child, ready, log }
    }

    /// Starts it, expecting that it refuses; its exit code and what it said.
    pub fn refused(&self) -> (i32, String) {
        let output = self.command().output().unwrap();
        assert!(!output.status.success(), "it started");
        (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
    }

    /// The limits that the configuration comes to.
    pub fn limits(&self) -> tollgate::engine::Limits {
        Config::read(&self.config()).unwrap().engine.limits
    }
}

/// A running appliance; killed when dropped.
pub struct Running {
    pub child: Child,
    pub ready: HashMap<String, String>,
    log: PathBuf,
}

impl Running {
    pub fn socket(&self) -> &Path {
        Path::new(&self.ready["socket"])
    }

    pub fn recovered(&self) -> (u64, u64) {
        let digest = u64::from_str_radix(&self.ready["digest"], 16).unwrap();
        (self.ready["recovered_seq"].parse().unwrap(), digest)
    }

    pub fn connect(&self, oracle: &Oracle) -> Client {
        self.try_connect(oracle.layout_hash).unwrap()
    }

    pub fn try_connect(&self, schema_hash: [u8; 32]) -> Result<Client, ConnectError> {
        let options = ClientOptions {
            schema_hash,
            slot_bytes: 256,
            name: "test".into(),
            timeout: PATIENCE,
            durable: false,
        };
        Client::connect(self.socket(), options)
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a signal to a child of our own that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Waits until this has been written to standard error.
    pub fn wait_for_log(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap();
            if log.contains(text) {
                return;
            }
            assert!(Instant::now() < end, "`{text}` is not said:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, and a good end.
    pub fn stop(mut self) -> String {
        self.signal(libc::SIGTERM);
        let status = self.wait();
        let log = std::fs::read_to_string(&self.log).unwrap();
        assert!(status.success(), "{status}\n{log}");
        log
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status,
                None if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
                None => panic!("it does not end:\n{}", std::fs::read_to_string(&self.log).unwrap()),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One event, ready to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: u16,
    pub words: Vec<u64>,
}

impl Event {
    pub fn id(&self) -> [u64; 2] {
        [self.words[0], self.words[1]]
    }
}

/// The same policy in this process.
pub struct Oracle {
    pub engine: Engine,
    pub layout_hash: [u8; 32],
    payment: u16,
    label: u16,
}

/// Who the tests are, to the appliance.
pub fn principal() -> u32 {
    // SAFETY: a call without arguments.
    unsafe { libc::geteuid() }
}

impl Oracle {
    pub fn new(rig: &Rig) -> Self {
        let text = std::fs::read_to_string(rig.policy()).unwrap();
        let program = policy::compile(&text, &Tokenizer::default())
            .unwrap_or_else(|found| panic!("{}", policy::diagnostics::render("test", &text, &found)));
        let loaded = policy::archive::open(policy::archive::seal(&program)).unwrap();
        let layout_hash = program.layout_hash;
        let kind = |name: &str| program.events.iter().position(|e| e.name == name).unwrap() as u16;
        let (payment, label) = (kind("payment"), kind("label"));
        Self { engine: Engine::new(loaded, &rig.limits()).unwrap(), layout_hash, payment, label }
    }

    /// What the engine of this process says, as the appliance would answer it.
    pub fn decide(&mut self, event: &Event, admission: Admission) -> Outcome {
        let revision = self.engine.loaded().program().revision.to_native();
        let Event { kind, words } = event;
        let input = Input { principal: principal(), kind: *kind, admission, received: Time(0), words };
        match self.engine.step(&input) {
            Step::Decided(outcome) | Step::Repeated(outcome) => outcome,
            Step::Refused(refusal) => Outcome {
                score: -1,
                flags: FLAG_REFUSED,
                policy_revision: revision,
                reasons: [refusal as u16, 0, 0, 0],
                ..Outcome::default()
            },
        }
    }

    /// Payment `n` of a card at a merchant.
    pub fn payment(&self, n: u64, card: u64, minor: i64) -> Event {
        let loaded = self.engine.loaded();
        let plan = &loaded.program().events[usize::from(self.payment)];
        let tokens = Tokenizer::default();
        let slot = |name: &str| -> FieldSlot { encode::field(plan, name).unwrap() };
        let mut words = EventWords::new(plan, EventId([n, 1]), at(n));
        words.set_key(slot("card"), tokens.key("card", &card.to_string()).unwrap());
        if !n.is_multiple_of(3) {
            words.set_key(slot("merchant"), tokens.key("merchant", &(card % 5).to_string()).unwrap());
        }
        words.set_money(slot("amount"), minor, Currency::from_alpha("USD").unwrap());
        Event { kind: self.payment, words: words.words().to_vec() }
    }

    /// The label of a payment.
    pub fn label(&self, n: u64, of: &Event, is_fraud: bool) -> Event {
        let loaded = self.engine.loaded();
        let program = loaded.program();
        let plan = &program.events[usize::from(self.label)];
        let amended = &program.events[usize::from(self.payment)];
        let mut words = EventWords::new(plan, EventId([n, 2]), at(n));
        words.set_target(EventId(of.id()), Time(of.words[2] as i64));
        words.set_number(encode::field(plan, "is_fraud").unwrap(), is_fraud.into());
        for name in ["card", "merchant"] {
            let from = encode::field(amended, name).unwrap();
            if of.words[3] >> from.bit & 1 == 1 {
                let word = usize::from(from.word);
                let to = encode::field(plan, &format!("payment.{name}")).unwrap();
                words.set_key(to, tollgate::engine::units::Key([of.words[word], of.words[word + 1]]));
            }
        }
        Event { kind: self.label, words: words.words().to_vec() }
    }

    /// A mixed stream: payments of a few cards, labels, and frames that must be refused.
    pub fn stream(&self, count: u64, seed: u64) -> Vec<Event> {
        let mut random = Random(seed);
        let mut events: Vec<Event> = Vec::new();
        for n in 1..=count {
            let n = n + seed * 1_000_000;
            let event = match random.below(20) {
                0 if !events.is_empty() => events[random.below(events.len() as u64) as usize].clone(),
                1 | 2 if !events.is_empty() => {
                    let of = events[random.below(events.len() as u64) as usize].clone();
                    if of.kind == self.payment && of.words.len() == self.payment(1, 1, 1).words.len() {
                        self.label(n, &of, random.below(2) == 0)
                    } else {
                        self.payment(n, random.below(40), 100)
                    }
                }
                3 => Event { kind: 99, words: vec![1, 2, 3, 4] },
                4 => {
                    let mut event = self.payment(n, random.below(40), 5_000);
                    event.words.pop();
                    event
                }
                _ => self.payment(n, random.below(40), random.below(50_000) as i64),
            };
            events.push(event);
        }
        events
    }
}

/// Event time: seconds apart, from 2026 on.
fn at(n: u64) -> Time {
    Time(1_767_225_600_000_000 + n as i64 * 1_000_000)
}

/// A small generator, the same on every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Sends one event and waits for its verdict.
pub fn ask(client: &mut Client, event: &Event, t_intended: u64) -> Outcome {
    client.send(event.kind, 7, t_intended, &event.words).unwrap();
    assert!(client.wait(PATIENCE).unwrap(), "no verdict");
    let verdict = client.recv().unwrap().unwrap();
    assert_eq!((verdict.req_id, verdict.kind, verdict.t_intended), (7, event.kind, t_intended));
    Outcome::from_words(verdict.payload).unwrap().0
}
