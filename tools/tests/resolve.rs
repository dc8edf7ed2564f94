//! Amendments that know only an id, through the real `tollctl` to an appliance in a process of its own: the same features as
//! full amendments give, and what becomes of those that cannot be resolved.
//!
//! The appliance is this program again (cargo builds a package's tests only its own binaries), so that it can be killed.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use tempfile::TempDir;
use tollgate::appliance;
use tollgate::config::Config;
use tollgate::encode::{self, EventWords};
use tollgate::engine::program::SEMANTICS_VERSION;
use tollgate::engine::units::{EventId, Key, Time};
use tollgate::engine::wire::{Admission, Input};
use tollgate::engine::{Engine, Step};
use tollgate::journal::{Backend, Decision, Epoch, Journal, JournalOptions, store_policy};

const CHILD: &str = "TOLLGATE_RESOLVE_CHILD";

const POLICY: &str = "
policy resolve revision 1
entity card, merchant
event payment { card: card, merchant: merchant? }
event label amends payment { is_fraud: bool }
feature risk_7d = ratio(payment where label.is_fraud, payment) by merchant last 7d
feature frauds_7d = count(payment where label.is_fraud) by card last 7d
rule risky on payment { when risk_7d > 0.13 then block, score 95 }
rule again on payment { when frauds_7d > 6 then review, score 80 }
decide payment {
  score = rule_scores
  review when score >= 70
  unassessed allow
}
";

const PAYMENTS: &str = "
[event.payment]
id = \"id\"
time = { column = \"at\", unit = \"rfc3339\" }
fields = { card = \"card\", merchant = \"shop\" }
";

const FULL_LABELS: &str = "
[event.label]
when = { column = \"fraud\", equals = 1 }
after = \"1d\"
fields = { is_fraud = \"fraud\" }
";

const LABELS: &str = "
[event.label]
of = \"payment\"
time = { column = \"known\", unit = \"rfc3339\" }
fields = { is_fraud = \"fraud\" }
";

/// The appliance, when this program is run as one.
#[test]
fn child() {
    let Some(config) = std::env::var_os(CHILD) else { return };
    let config = Config::read(Path::new(&config)).unwrap();
    let policy = appliance::read_policy(config.policy_file.as_deref().unwrap()).unwrap();
    let running = appliance::start(&config, &policy).unwrap();
    println!("\nready {}", running.ready().socket.display());
    // Until the other side goes away or kills it.
    let _ = std::io::stdin().read_line(&mut String::new());
    running.stop().unwrap();
}

struct Rig {
    disk: TempDir,
    memory: TempDir,
}

/// An appliance; killed when dropped.
struct Running {
    child: Child,
    socket: PathBuf,
    /// Kept open: the harness in the child writes to it in the end.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Rig {
    fn new() -> Self {
        let rig =
            Self { disk: tempfile::tempdir().unwrap(), memory: tempfile::tempdir_in("/dev/shm").unwrap() };
        rig.write("test.policy", POLICY);
        rig.write("payments.toml", PAYMENTS);
        rig.write("full.toml", &format!("{PAYMENTS}{FULL_LABELS}"));
        rig.write("labels.toml", LABELS);
        let config = format!(
            "[policy]\nfile = {:?}\n[engine]\nclock = \"event\"\ntouch_memory = false\nkeys_max = 4096\nspill_bytes_max = \"4MiB\"\n\
             rows_per_key_max = 1024\ndedup_entries_max = 65536\n\
             [journal]\ndir = {:?}\nruntime_dir = {:?}\nring_bytes = \"1MiB\"\nsegment_bytes = \"64KiB\"\n",
            rig.path("test.policy"),
            rig.path("journal"),
            rig.runtime(),
        );
        rig.write("appliance.toml", &config);
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    fn runtime(&self) -> PathBuf {
        self.memory.path().join("run")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn start(&self) -> Running {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(CHILD, self.path("appliance.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let path = |line: std::io::Result<String>| line.unwrap().strip_prefix("ready ").map(PathBuf::from);
        let socket = lines.find_map(path).unwrap_or_else(|| panic!("it did not start: {}", self.read("log")));
        Running { child, socket, _lines: lines }
    }

    fn tollctl(&self, running: &Running, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollctl"));
        command.current_dir(self.disk.path()).args(arguments);
        command.args(["--policy", "test.policy", "--socket"]).arg(&running.socket);
        command
    }

    /// Sends payments as a switch does.
    fn switch(&self, running: &Running, events: &str, map: &str, out: &str) {
        let arguments = ["switch", "--events", events, "--map", map, "--out", out];
        let output = self.tollctl(running, &arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn resolving(&self, running: &Running, file: &str, map: &str) -> Command {
        let mut command = self.tollctl(running, &["resolve", file, "--map", map, "--journal", "journal"]);
        command.arg("--runtime").arg(self.runtime());
        command
    }

    fn resolve(&self, running: &Running, file: &str, map: &str) -> Told {
        Told::of(&self.resolving(running, file, map).output().unwrap())
    }

    /// The rolling digest at the journal's end; it goes over all features and verdicts.
    fn digest(&self) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_tollctl"))
            .args(["journal", "verify", "--policy"])
            .args([self.path("test.policy"), self.path("journal")])
            .output()
            .unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        told.lines().find(|line| line.starts_with("digest")).expect("a digest").to_owned()
    }
}

/// What `resolve` said.
#[derive(Debug)]
struct Told {
    code: Option<i32>,
    report: String,
    errors: String,
}

impl Told {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code(), report: text(&output.stdout), errors: text(&output.stderr) }
    }
}

/// The time so many seconds after ten o'clock, on a day of January 2026.
fn at(day: u32, second: u32) -> String {
    format!("2026-01-{day:02}T{:02}:{:02}:{:02}Z", 10 + second / 3600, second / 60 % 60, second % 60)
}

fn payments(day: u32, prefix: &str, count: u32) -> String {
    let mut text = "id,at,card,shop,fraud\n".to_owned();
    for row in 0..count {
        let shop = if row % 11 == 0 { String::new() } else { format!("m{}", row % 25) };
        let fraud = u32::from(row % 7 == 0 && day == 5);
        text += &format!("{prefix}{row},{},c{},{shop},{fraud}\n", at(day, row), row % 40);
    }
    text
}

/// The labels that `FULL_LABELS` makes of those payments, knowing only their ids.
fn labels(count: u32) -> String {
    let mut text = "payment,known,fraud\n".to_owned();
    for row in (0..count).filter(|row| row % 7 == 0) {
        text += &format!("p{row},{},1\n", at(6, row));
    }
    text
}

#[derive(Clone, Copy, PartialEq)]
enum Labels {
    Full,
    Resolved,
    None,
}

/// Payments, their labels a day later, more payments after that: the verdicts on these, and the digest.
fn history(kind: Labels) -> (String, String) {
    const PAYMENTS: u32 = 2_000;
    let rig = Rig::new();
    rig.write("first.csv", &payments(5, "p", PAYMENTS));
    rig.write("later.csv", &payments(7, "q", 500));
    rig.write("labels.csv", &labels(PAYMENTS));
    let mut running = rig.start();
    let map = if kind == Labels::Full { "full.toml" } else { "payments.toml" };
    rig.switch(&running, "first.csv", map, "first-out.csv");
    if kind == Labels::Resolved {
        // Dropped, it is killed: what only the ring held goes to a segment of its own.
        drop(running);
        running = rig.start();
        let told = rig.resolve(&running, "labels.csv", "labels.toml");
        let count = PAYMENTS.div_ceil(7);
        assert_eq!(told.code, Some(0), "{told:?}");
        assert_eq!(
            told.errors,
            format!(
                "amendments {count}, amended {count}, repeated 0, unknown 0, wrong kind 0, ambiguous 0, refused 0, bad 0\n"
            )
        );
        let first =
            format!("line,id,event,outcome,seq\n2,p0,label,amended,{}\n3,p7,label,amended,", PAYMENTS + 1);
        assert!(told.report.starts_with(&first), "{}", told.report);
        // Again: nothing happens twice.
        let told = rig.resolve(&running, "labels.csv", "labels.toml");
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(told.errors.contains(&format!("amended 0, repeated {count}, ")), "{}", told.errors);
        let indexes = std::fs::read_dir(rig.path("journal")).unwrap().map(|entry| entry.unwrap().path());
        assert!(indexes.filter(|path| path.extension().is_some_and(|e| e == "tgx")).count() > 0);
    }
    rig.switch(&running, "later.csv", "full.toml", "later-out.csv");
    running.stop();
    (rig.read("later-out.csv"), rig.digest())
}

#[test]
fn resolved_labels_do_what_full_labels_do() {
    let full = history(Labels::Full);
    assert!(full.0.contains(",95,block,") && full.0.contains(",80,review,"), "the labels are felt");
    assert_eq!(history(Labels::Resolved), full);
    let none = history(Labels::None);
    assert!(!none.0.contains("block") && none.1 != full.1);
}

#[test]
fn what_cannot_be_resolved_is_told_row_by_row() {
    let rig = Rig::new();
    rig.write("first.csv", &payments(5, "p", 30));
    let running = rig.start();
    rig.switch(&running, "first.csv", "payments.toml", "out.csv");
    rig.write(
        "labels.csv",
        "payment,known,fraud\n\
         p1,2026-01-06T10:00:00Z,1\n\
         p1,2026-01-06T10:00:00Z,1\n\
         p1,2026-01-06T10:00:01Z,1\n\
         nobody,2026-01-06T10:00:00Z,1\n\
         p2,yesterday,1\n\
         p3,2026-01-06T10:00:00Z,perhaps\n\
         4111111111111111,2026-01-06T10:00:00Z,1\n\
         ,2026-01-06T10:00:00Z,1\n\
         p4,2026-01-06T10:00:00Z,1\n",
    );
    let told = rig.resolve(&running, "labels.csv", "labels.toml");
    assert_eq!(told.code, Some(1), "{told:?}");
    assert_eq!(
        told.report,
        "line,id,event,outcome,seq\n\
         2,p1,label,amended,31\n\
         3,p1,label,repeated,31\n\
         4,p1,label,refused,\n\
         5,nobody,label,unknown,\n\
         6,,label,bad,\n\
         7,p3,label,bad,\n\
         8,,label,bad,\n\
         9,,label,bad,\n\
         10,p4,label,amended,32\n"
    );
    for expected in [
        "line 4: the amendment was refused: this id was used before with another payload",
        "labels.csv:6, column known: `yesterday` is not an RFC 3339 time",
        "labels.csv:7, column fraud: `perhaps` is not a truth value",
        "labels.csv:8, column payment: the value is sixteen digits",
        "labels.csv:9, column payment: the id is required and the value is missing",
        "amendments 9, amended 2, repeated 1, unknown 1, wrong kind 0, ambiguous 0, refused 1, bad 4",
        "error: 6 amendments were not resolved",
    ] {
        assert!(told.errors.contains(expected), "{expected}\n{}", told.errors);
    }
    assert!(!told.errors.contains("4111"), "{}", told.errors);

    // With ids of their own, one event takes several; a broken row ends the file, and those before it count.
    rig.write("ids.toml", &format!("{LABELS}id = \"case\"\n"));
    rig.write(
        "cases.csv",
        "payment,known,fraud,case\np1,2026-01-06T10:00:01Z,1,k1\np1,2026-01-06T10:00:02Z,0,k2\np1,2026\n",
    );
    let told = rig.resolve(&running, "cases.csv", "ids.toml");
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.errors.contains("cases.csv:4: the row has 2 fields, the header 4"), "{}", told.errors);
    assert!(told.report.ends_with("2,p1,label,amended,33\n3,p1,label,amended,34\n"), "{}", told.report);
    running.stop();
}

/// A journal as an appliance would have written it for these events: (sender, kind, id, time, card).
fn journal(rig: &Rig, events: &[(u32, &str, u64, i64, u64)]) {
    let config = Config::read(&rig.path("appliance.toml")).unwrap();
    let (loaded, archive) =
        appliance::load(&appliance::read_policy(&rig.path("test.policy")).unwrap()).unwrap();
    let program = loaded.program();
    let mut options = JournalOptions::new(rig.path("journal"), rig.runtime());
    (options.ring_bytes, options.segment_bytes, options.batch_bytes_max) = (1 << 16, 1 << 16, 1 << 14);
    options.backend = Backend::Pwrite;
    let limits = config.engine.limits;
    let epoch = Epoch {
        semantics: SEMANTICS_VERSION,
        policy_hash: loaded.hash(),
        layout_hash: program.layout_hash,
        limits,
        started: Time(0),
        took_over: false,
    };
    let recovered = Journal::recover(&options).unwrap();
    store_policy(&options.dir, &loaded.hash(), &archive).unwrap();
    let (mut writer, flusher) = recovered.start(epoch).unwrap();
    let mut engine = Engine::new(loaded.clone(), &limits).unwrap();
    for (principal, name, id, time, card) in events {
        let (kind, plan) = encode::event(program, name).unwrap();
        let mut words = EventWords::new(plan, EventId([*id, 0xabc]), Time(*time));
        let key = match *name {
            "payment" => "card",
            _ => "payment.card",
        };
        words.set_key(encode::field(plan, key).unwrap(), Key([*card, 1]));
        if *name == "label" {
            words.set_target(EventId([*id + 1, 0xabc]), Time(*time));
            words.set_number(encode::field(plan, "is_fraud").unwrap(), 1);
        }
        let input = Input {
            principal: *principal,
            kind,
            admission: Admission::Normal,
            received: Time(*time),
            words: words.words(),
        };
        let Step::Decided(outcome) = engine.step(&input) else { panic!("not decided") };
        writer.append(&Decision { input, outcome, digest: engine.digest() }).unwrap();
    }
    flusher.shutdown().unwrap();
}

#[test]
fn an_id_that_two_senders_used_is_ambiguous_until_one_is_named() {
    const DAY: i64 = 86_400_000_000;
    let rig = Rig::new();
    let time = 20_000 * DAY;
    journal(
        &rig,
        &[
            (1, "payment", 10, time, 1),
            (1, "payment", 11, time + 1, 2),
            (2, "payment", 11, time + 2, 3),
            (2, "label", 12, time + 3, 3),
            (2, "payment", 13, time + 4, 4),
            (1, "label", 13, time + 5, 5),
        ],
    );
    rig.write("hex.toml", &LABELS.replace("\"payment\"", "{ column = \"payment\", form = \"hex\" }"));
    let row = |id: u64| format!("{:016x}{id:016x},2024-10-05T00:00:00Z,1\n", 0xabc);
    rig.write(
        "labels.csv",
        &format!(
            "payment,known,fraud\n{}{}{}{}{}abc,2024-10-05T00:00:00Z,1\n",
            row(10),
            row(11),
            row(12),
            row(13),
            row(99)
        ),
    );
    let running = rig.start();
    let told = rig.resolve(&running, "labels.csv", "hex.toml");
    assert_eq!(told.code, Some(1), "{told:?}");
    let outcomes: Vec<&str> =
        told.report.lines().skip(1).map(|line| line.split(',').nth(3).unwrap()).collect();
    assert_eq!(outcomes, ["amended", "ambiguous", "wrong_kind", "amended", "unknown", "bad"]);
    assert!(
        told.errors.contains("labels.csv:7, column payment: `abc` is not an event's id in hexadecimal"),
        "{}",
        told.errors
    );

    let output =
        rig.resolving(&running, "labels.csv", "hex.toml").args(["--principal", "1"]).output().unwrap();
    let outcomes: Vec<String> = Told::of(&output)
        .report
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(3).unwrap().to_owned())
        .collect();
    assert_eq!(outcomes, ["repeated", "amended", "unknown", "wrong_kind", "unknown", "bad"]);
    running.stop();
}

#[test]
fn followed_rows_are_answered_as_they_come() {
    let rig = Rig::new();
    rig.write("first.csv", &payments(5, "p", 30));
    let running = rig.start();
    rig.switch(&running, "first.csv", "payments.toml", "out.csv");
    let fifo = rig.path("labels.csv");
    let name = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: the name ends with a zero and lives through the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let mut command = rig.resolving(&running, "labels.csv", "labels.toml");
    let mut child = command.arg("--follow").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut report = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(report.next().unwrap().unwrap(), "line,id,event,outcome,seq");
    // Each writer opens the FIFO and leaves it again.
    let write = |text: &str| {
        std::fs::OpenOptions::new().write(true).open(&fifo).unwrap().write_all(text.as_bytes()).unwrap();
    };
    write("payment,known,fraud\np1,2026-01-06T10:00:00Z,1\n");
    assert_eq!(report.next().unwrap().unwrap(), "2,p1,label,amended,31");
    write("p2,2026-01-06T10:00:00Z,1\np1,2026-01-06T10:00:00Z,1\n");
    assert_eq!(report.next().unwrap().unwrap(), "3,p2,label,amended,32");
    assert_eq!(report.next().unwrap().unwrap(), "4,p1,label,repeated,31");
    // SAFETY: a signal to a child of our own that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    assert!(errors.starts_with("amendments 3, amended 2, repeated 1, unknown 0,"), "{errors}");

    // Standard input ends by itself.
    let mut command = rig.resolving(&running, "-", "labels.toml");
    let mut child = command.arg("--follow").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"payment,known,fraud\np3,2026-01-06T10:00:00Z,1\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("2,p3,label,amended,33\n"));
    running.stop();
}

#[test]
fn maps_and_journals_that_do_not_fit_are_refused() {
    let rig = Rig::new();
    rig.write("first.csv", &payments(5, "p", 3));
    rig.write("labels.csv", "payment,known,fraud\n");
    let running = rig.start();
    let refused = |map: &str, expected: &str| {
        rig.write("bad.toml", map);
        let told = rig.resolve(&running, "labels.csv", "bad.toml");
        assert_eq!((told.code, told.report.as_str()), (Some(1), ""), "{told:?}");
        assert!(told.errors.contains(expected), "{}", told.errors);
    };
    refused(PAYMENTS, "bad.toml:2:8: `payment` amends nothing");
    refused(FULL_LABELS, "unknown key `after`\n  help: the keys known here are when, of, time, id, fields");
    refused(&LABELS.replace("of =", "id ="), "`label` has no `of`");
    refused(&LABELS.replace("\"payment\"", "{ form = \"hex\" }"), "`of` needs a column");
    refused(
        &LABELS.replace("\"payment\"", "{ column = \"payment\", form = \"uuid\" }"),
        "the only form is \"hex\"",
    );
    refused(&LABELS.replace("of = \"payment\"", "of = 7"), "of must be a table");
    let told = rig.resolve(&running, "labels.csv", "labels.toml");
    assert_eq!((told.code, told.report.as_str()), (Some(0), "line,id,event,outcome,seq\n"), "{told:?}");
    let output = rig.resolving(&running, "labels.csv", "labels.toml").arg("--follow").output().unwrap();
    let told = Told::of(&output);
    assert!(told.code == Some(1) && told.errors.contains("labels.csv: is no FIFO"), "{told:?}");
    rig.write("test.policy", &POLICY.replace("is_fraud: bool", "is_fraud: bool, note: int?"));
    let told = rig.resolve(&running, "labels.csv", "labels.toml");
    assert!(told.code == Some(1) && told.errors.contains("other event layouts"), "{told:?}");
    running.stop();
}
