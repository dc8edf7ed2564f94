//! The real binary with tiny slices: whether what it prints can be read and agrees with itself, not how fast anything is.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test says that it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Each run wants two cores: one run at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Directories that a run must leave as empty as they were.
struct Places {
    disk: TempDir,
    memory: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Places {
    fn new() -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            disk: tempfile::tempdir().unwrap(),
            memory: tempfile::tempdir_in("/dev/shm").unwrap(),
            _turn: turn,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate-bench"));
        command.args(arguments).env("TMPDIR", self.disk.path()).stdin(Stdio::null());
        if arguments[0] == "e2e" {
            command.arg("--runtime-dir").arg(self.memory.path());
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn assert_empty(&self) {
        for place in [self.disk.path(), self.memory.path()] {
            let left: Vec<_> = std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    /// The lines of a run that must go well, by name.
    fn lines(&self, arguments: &[&str]) -> HashMap<String, Value> {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{errors}", output.status);
        self.assert_empty();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let named: Vec<_> = lines.map(|line| (line["name"].as_str().unwrap().to_owned(), line)).collect();
        let count = named.len();
        let named: HashMap<_, _> = named.into_iter().collect();
        assert_eq!(named.len(), count, "a name came twice:\n{text}");
        named.values().for_each(check_fields);
        named
    }
}

fn number(line: &Value, field: &str) -> f64 {
    line[field].as_f64().unwrap_or_else(|| panic!("{field} of {line}"))
}

/// What holds for every line.
fn check_fields(line: &Value) {
    let unit = line["unit"].as_str().unwrap();
    assert!(["ns", "1/s", "bytes"].contains(&unit), "{line}");
    let percentiles = ["p50", "p90", "p99", "p999", "p9999", "max"];
    // What features add has no single times: it is what two other figures differ by.
    if unit == "bytes" || line["name"].as_str().unwrap().starts_with("features.45") {
        assert!(percentiles.iter().all(|field| line[*field].is_null()), "{line}");
        assert_eq!(line["samples"], 0, "{line}");
    } else {
        assert!(percentiles.map(|field| number(line, field)).is_sorted(), "{line}");
        assert!(number(line, "samples") >= 1.0, "{line}");
    }
    assert!(unit == "bytes" || number(line, "slices") >= 1.0, "{line}");
    for field in ["cpu", "kernel"] {
        assert!(!line[field].as_str().unwrap().is_empty(), "{line}");
    }
    assert!(!line["pinning"].as_array().unwrap().is_empty(), "{line}");
    for field in ["floor", "ratio"] {
        let value = line.get(field).unwrap_or_else(|| panic!("no {field}: {line}"));
        assert!(value.is_null() || value.as_f64().is_some_and(|value| value >= 0.0), "{line}");
    }
}

#[test]
fn noise_tells_readings_and_waits() {
    let lines = Places::new().lines(&["noise", "--seconds", "1", "--json"]);
    assert_eq!(lines.len(), 2);
    assert!((0.0..=1.0).contains(&number(&lines["noise"], "away_share")));
    // The same gaps: the longest wait is the longest gap, up to the histogram's three digits.
    let (gap, wait) = (number(&lines["noise"], "max"), number(&lines["noise.wait"], "max"));
    assert!(wait <= gap && (wait >= gap * 0.99 || wait == 0.0), "{gap} {wait}");
}

#[test]
fn every_way_is_measured_against_the_floor() {
    let places = Places::new();
    let svg = tempfile::NamedTempFile::new().unwrap();
    let drawing = svg.path().to_str().unwrap();
    let arguments =
        ["ring", "--slices", "1", "--slice-ms", "20", "--slot-bytes", "128", "--json", "--svg", drawing];
    let lines = places.lines(&arguments);
    let floor = number(&lines["floor.rtt.128"], "value");
    assert!(lines["floor.rtt.128"]["ratio"].is_null() && floor > 0.0);
    let ways = ["ring.rtt", "peer.unix", "peer.seqpacket", "peer.pipe", "peer.tcp", "peer.unix.blocking"];
    for way in ways {
        let line = &lines[&format!("{way}.128")];
        assert_eq!(number(line, "floor"), floor);
        // One slice: the ratio is that of the two figures.
        let ratio = number(line, "value") / floor;
        assert!((number(line, "ratio") / ratio - 1.0).abs() < 1e-9, "{line}");
        assert_eq!(line["pinning"].as_array().unwrap().len(), 2);
    }
    let optional = usize::from(lines.contains_key("peer.iceoryx2.128"));
    assert_eq!(lines.len(), 1 + ways.len() + optional);
    let drawn = std::fs::read_to_string(svg.path()).unwrap();
    assert!(lines.keys().all(|name| drawn.contains(&format!(">{name}<"))), "{drawn}");
}

#[test]
fn the_table_has_a_row_for_every_figure() {
    let places = Places::new();
    let output = places.run(&["ring", "--slices", "1", "--slice-ms", "5", "--slot-bytes", "256,512"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for name in ["floor.rtt.256", "ring.rtt.256", "ring.rtt.512", "peer.tcp.512", "peer.iceoryx2"] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}\n{text}");
    }
    places.assert_empty();
}

#[test]
fn the_whole_appliance_answers_what_it_is_sent() {
    let places = Places::new();
    let arguments = ["e2e", "--keys", "1000", "--slices", "2", "--slice-ms", "100", "--json"];
    let lines = places.lines(&arguments);
    let rate = number(&lines["e2e.saturation"], "value");
    assert_eq!(lines["e2e.saturation"]["unit"], "1/s");
    assert!(rate > 0.0);
    let opens = [10, 50, 80, 95].map(|share| (format!("e2e.open.{share}"), f64::from(share) / 100.0));
    for name in
        ["e2e.closed", "e2e.saturation"].into_iter().chain(opens.iter().map(|(name, _)| name.as_str()))
    {
        let (line, service) = (&lines[name], &lines[&format!("{name}.service")]);
        assert_eq!(line["samples"], service["samples"], "{name}");
        assert!(line["idle"]["max"].is_u64() && service.get("idle").is_none());
        // What the engine took is a part of what the client waited for.
        assert!(number(service, "p50") <= number(line, "p50"), "{line}\n{service}");
    }
    for (name, share) in &opens {
        let line = &lines[name];
        let offered = number(line, "offered_per_s");
        assert!((offered / (rate * share) - 1.0).abs() < 1e-9, "{line}");
        // Everything that was due in both slices of a tenth of a second was sent and answered, late or not.
        assert!((number(line, "samples") - offered * 0.2).abs() <= 4.0, "{line}");
    }
    assert_eq!(lines.len(), 12);
}

#[test]
fn rules_are_measured_against_the_same_by_hand() {
    let places = Places::new();
    let arguments = ["policy", "--slices", "1", "--slice-ms", "5", "--rules", "10,300", "--json"];
    let lines = places.lines(&arguments);
    for (firing, fired) in [(0, 0.0..=0.0), (5, 4.0..=6.0), (50, 40.0..=60.0)] {
        let name = format!("policy.100.fire{firing}");
        let (line, by_hand) = (&lines[&name], &lines[&format!("{name}.hand")]);
        assert_eq!(line["floor"], by_hand["value"]);
        assert!(by_hand["ratio"].is_null());
        let ratio = number(line, "value") / number(by_hand, "value");
        assert!((number(line, "ratio") / ratio - 1.0).abs() < 1e-9, "{line}");
        assert!(fired.contains(&number(line, "fired_mean")), "{line}");
    }
    for rules in [10.0, 300.0] {
        let line = &lines[&format!("policy.rules.{rules}")];
        // Some can never fire: their channel is two things at once.
        assert!((0.8 * rules..=rules).contains(&number(line, "clauses")), "{line}");
        assert!(number(line, "table_bytes") > 0.0, "{line}");
    }
    assert!(number(&lines["policy.compile.1000"], "value") > 0.0);
}

#[test]
fn features_are_measured_against_bare_lookups() {
    let places = Places::new();
    let arguments = [
        "features",
        "--keys-log2",
        "5,7",
        "--population",
        "3",
        "--slices",
        "1",
        "--slice-ms",
        "10",
        "--memory-keys-log2",
        "8",
        "--json",
    ];
    let lines = places.lines(&arguments);
    for keys in [160, 640] {
        for draw in ["uniform", "zipf"] {
            let name = |what: &str| format!("{what}.{draw}.keys.{keys}.population.3");
            let floor = &lines[&name("floor.lookups")];
            assert!(floor["ratio"].is_null());
            for way in ["", ".plain", ".bursts"] {
                let [line, with, without] =
                    ["features.45", "decision.45", "decision.0"].map(|what| &lines[&(name(what) + way)]);
                for line in [line, with, without] {
                    assert_eq!(line["floor"], floor["value"]);
                    let ratio = number(line, "value") / number(floor, "value");
                    assert!((number(line, "ratio") / ratio - 1.0).abs() < 1e-9, "{line}");
                }
                // Of one slice.
                assert_eq!(number(line, "value"), number(with, "value") - number(without, "value"));
                let each = number(line, "per_feature_ns") * 45.0;
                assert!((each - number(line, "value")).abs() < 1e-6, "{line}");
                assert!(line["p50"].is_null() && with["p50"].is_u64(), "{line}");
                // Which is as quiet as any.
                let quiet = &lines[&(name("features.45") + way + ".quiet")];
                assert!(["value", "floor", "ratio", "slices"].iter().all(|part| quiet[part] == line[part]));
                assert_eq!(number(line, "keys"), f64::from(keys));
                let parts = ["index_bytes", "record_bytes", "slab_bytes"].map(|part| number(line, part));
                let bytes = number(line, "bytes_per_key") * f64::from(keys);
                assert!((parts.iter().sum::<f64>() / bytes - 1.0).abs() < 1e-9, "{line}");
                // Five keys, and three rows of each in the window or more that it holds no longer.
                let (scanned, most) = (number(line, "rows_scanned"), number(line, "event_work_max"));
                assert!(scanned >= 5.0 && scanned <= most && number(line, "rows_moved") < most, "{line}");
            }
        }
    }
    for name in ["features.memory", "features.memory.geometric"] {
        let line = &lines[name];
        assert!(line["unit"] == "bytes" && line["p50"].is_null(), "{line}");
        let (keys, stored) = (number(line, "keys"), number(line, "stored"));
        // The time between two payments is rounded up.
        assert!((5.0 * (256.0 * 20.0 - 1.0)..=5.0 * 256.0 * 20.0).contains(&stored), "{line}");
        assert_eq!(number(line, "budget_bytes"), 96.0 * keys + 32.0 * stored);
        let ratio = number(line, "bytes_per_stored") * stored / number(line, "budget_bytes");
        assert!((number(line, "ratio") / ratio - 1.0).abs() < 1e-9, "{line}");
    }
    assert_eq!(lines.len(), 2 * 2 * (1 + 3 * 4) + 2);
}

#[test]
fn a_hostile_neighbour_is_put_in_quarantine_and_the_honest_client_is_answered() {
    let places = Places::new();
    let arguments = ["hostile", "--slices", "2", "--slice-ms", "60", "--connects-per-s", "100", "--json"];
    let lines = places.lines(&arguments);
    let (silent, calm, hostile) =
        (&lines["hostile.silent.p999"], &lines["hostile.calm.p999"], &lines["hostile.p999"]);
    assert_eq!(lines.len(), 3);
    assert!(silent["ratio"].is_null());
    assert_eq!(calm["floor"], silent["value"]);
    assert_eq!(hostile["floor"], calm["value"]);
    assert!(number(hostile, "ratio") > 0.0 && number(hostile, "ratio_silent") > 0.0, "{hostile}");
    // One connection at least in each slice, and every hostile one found out, by both ends' count.
    let (connects, all) = (number(hostile, "hostile_connects"), number(hostile, "connects"));
    assert!(connects >= 2.0 && all >= connects + 4.0, "{hostile}");
    assert_eq!(number(hostile, "quarantined"), connects);
    let server = &hostile["server"];
    let by = ["sequence", "length", "cursor"].map(|by| number(server, by));
    assert_eq!(by.iter().sum::<f64>(), connects, "{hostile}");
    // The honest client is one more.
    assert_eq!(number(server, "accepted"), all + 1.0, "{hostile}");
    assert_eq!((number(server, "refused"), number(hostile, "lost")), (0.0, 0.0), "{hostile}");
    let timed = [silent, calm, hostile].map(|line| number(line, "samples")).iter().sum::<f64>();
    assert!(number(hostile, "asked") >= timed, "{hostile}");
}

#[test]
fn every_trick_ends_in_quarantine() {
    let places = Places::new();
    for trick in ["asleep", "storm", "tear", "stall"] {
        let lines =
            places.lines(&["hostile", "--slices", "1", "--slice-ms", "30", "--tricks", trick, "--json"]);
        let hostile = &lines["hostile.p999"];
        assert!(number(hostile, "quarantined") >= 1.0, "{hostile}");
        assert_eq!(number(hostile, "quarantined"), number(hostile, "hostile_connects"), "{hostile}");
        // One that stalls is judged by its cursor, once that is all there is to judge.
        let by_cursor = number(&hostile["server"], "cursor");
        assert!((trick == "stall") == (by_cursor > 0.0), "{trick}: {hostile}");
    }
}

/// Waits until something is so.
fn await_true(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: it takes too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The one child of a run that is under way.
fn child_of(process: &Child) -> u32 {
    let path = format!("/proc/{0}/task/{0}/children", process.id());
    let mut found = None;
    await_true("a child", || {
        let children = std::fs::read_to_string(&path).unwrap_or_default();
        found = children.split_whitespace().next().map(|child| child.parse().unwrap());
        found.is_some()
    });
    found.unwrap()
}

/// Whether a process runs: it is there, and no zombie.
fn runs(process: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat"));
    state
        .is_ok_and(|state| !state.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']))
}

fn signal(process: &Child, signal: i32) {
    // SAFETY: a signal to a child of our own that has not been waited for.
    assert_eq!(unsafe { libc::kill(process.id() as i32, signal) }, 0);
}

const ENDLESS: [&[&str]; 3] = [
    &["ring", "--slices", "10000"],
    &["e2e", "--keys", "1000", "--slices", "1000"],
    &["hostile", "--slices", "10000"],
];

#[test]
fn a_killed_run_takes_its_other_process_along() {
    for arguments in ENDLESS {
        let places = Places::new();
        let mut run = places.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let child = child_of(&run);
        assert!(runs(child));
        run.kill().unwrap();
        run.wait().unwrap();
        await_true("the end of the child", || !runs(child));
    }
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    for arguments in ENDLESS {
        let places = Places::new();
        let run = places.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let child = child_of(&run);
        await_true("a directory", || Path::new(places.disk.path()).read_dir().unwrap().next().is_some());
        signal(&run, libc::SIGINT);
        let output = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("interrupted"), "{said}");
        await_true("the end of the child", || !runs(child));
        places.assert_empty();
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let places = Places::new();
    for (arguments, expected) in [
        (&["ring", "--slot-bytes", "100"][..], "choose 128, 256 or 512"),
        (&["ring", "--slices", "0"], "0 is not in 1..="),
        (&["e2e", "--journal-dir", "/nowhere"], "a directory in /nowhere"),
        (&["features", "--keys-log2", "1", "--population", "1", "--slices", "4"], "before the end of time"),
        (&["hostile", "--tricks", "politeness"], "possible values: asleep, storm, tear, stall"),
    ] {
        let output = places.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{said}");
    }
    places.assert_empty();
}
