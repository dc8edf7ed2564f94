//! The same file through a running appliance and through the replay: the same bytes and the same digest.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tollgate::appliance::{self, Appliance};
use tollgate::config::Config;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

struct Rig {
    disk: tempfile::TempDir,
    memory: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let mut text = "id,at,card,shop,amount,currency,channel,present,tries,fraud\n".to_owned();
        for row in 0..3000u32 {
            let (hour, minute, second) = (row / 3600, row / 60 % 60, row % 60);
            let amount = if row % 17 == 0 { 1500 } else { row % 90 };
            text += &format!(
                "r{row},2026-01-05T1{hour}:{minute:02}:{second:02}Z,c{},,{amount}.25,USD,pos,,{row},{}\n",
                row % 40,
                u32::from(row % 23 == 0)
            );
        }
        std::fs::write(disk.path().join("events.csv"), text).unwrap();
        Self { disk, memory }
    }

    fn start(&self) -> Appliance {
        let config = format!(
            "[engine]\nclock = \"event\"\ntouch_memory = false\nkeys_max = 4096\nspill_bytes_max = \"4MiB\"\nrows_per_key_max = 1024\n\
             dedup_entries_max = 65536\n\
             [journal]\ndir = {:?}\nruntime_dir = {:?}\nring_bytes = \"1MiB\"\nsegment_bytes = \"256KiB\"\n",
            self.disk.path().join("journal"),
            self.memory.path().join("run")
        );
        let config = Config::from_text("test.toml", &config).unwrap();
        appliance::start(&config, &appliance::read_policy(&golden().join("golden.policy")).unwrap()).unwrap()
    }

    fn tollctl(&self, command: &str, policy: &str, out: &Path, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tollctl"))
            .current_dir(golden())
            .args([command, "--policy", policy, "--map", "good.toml", "--events"])
            .arg(self.disk.path().join("events.csv"))
            .arg("--out")
            .arg(out)
            .arg("--acknowledged")
            .args(more)
            .output()
            .unwrap()
    }

    fn written(&self, command: &str, out: &str, more: &[&str]) -> (String, String) {
        let out = self.disk.path().join(out);
        let output = self.tollctl(command, "golden.policy", &out, more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (std::fs::read_to_string(out).unwrap(), String::from_utf8(output.stdout).unwrap())
    }
}

#[test]
fn the_appliance_answers_as_the_replay_does() {
    let rig = Rig::new();
    let appliance = rig.start();
    let socket = appliance.ready().socket.clone();
    let (replayed, summary) = rig.written("replay", "replayed.csv", &[]);
    let (answered, _) = rig.written("switch", "answered.csv", &["--socket", socket.to_str().unwrap()]);
    assert_eq!(answered, replayed);
    assert_eq!(replayed.lines().count(), 1 + 3000 + 3000usize.div_ceil(23));
    let counts = appliance.stop().unwrap();
    assert!(summary.trim_end().ends_with(&format!("digest {:016x}", counts.digest)), "{summary}");
}

/// The same verdicts, each after its decision is on disk.
#[test]
fn durable_answers_are_the_same_answers() {
    let rig = Rig::new();
    let appliance = rig.start();
    let socket = appliance.ready().socket.clone();
    let (replayed, _) = rig.written("replay", "replayed.csv", &[]);
    let more = ["--socket", socket.to_str().unwrap(), "--durable"];
    let (answered, _) = rig.written("switch", "answered.csv", &more);
    assert_eq!(answered, replayed);
    // All were answered, so all are on disk, and nothing waits; what is shown of that lags.
    let decided = 3000 + 3000u64.div_ceil(23);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let settled = || {
        let counts = appliance.stats();
        counts.durable_seq >= decided && counts.held == 0
    };
    while !settled() && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let counts = appliance.stats();
    assert_eq!((counts.durable_seq, counts.held), (decided, 0));
    appliance.stop().unwrap();
}

#[test]
fn a_rate_spreads_the_requests() {
    let rig = Rig::new();
    let appliance = rig.start();
    let socket = appliance.ready().socket.clone();
    let started = std::time::Instant::now();
    let more = ["--socket", socket.to_str().unwrap(), "--rate", "200", "--limit", "100"];
    let (answered, _) = rig.written("switch", "answered.ndjson", &more);
    assert!(started.elapsed().as_millis() >= 490);
    assert_eq!(answered.lines().count(), 100 + 100usize.div_ceil(23));
}

#[test]
fn no_answer_no_file() {
    let rig = Rig::new();
    let out = rig.disk.path().join("out.csv");
    let nobody = rig.memory.path().join("nobody.sock");
    let output = rig.tollctl("switch", "golden.policy", &out, &["--socket", nobody.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no server listens on"));

    let other = rig.disk.path().join("other.policy");
    let text = std::fs::read_to_string(golden().join("golden.policy")).unwrap();
    std::fs::write(&other, text.replace("tries: int?", "tries: decimal?")).unwrap();
    let appliance = rig.start();
    let socket = appliance.ready().socket.clone();
    let more = ["--socket", socket.to_str().unwrap()];
    let output = rig.tollctl("switch", other.to_str().unwrap(), &out, &more);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("refused"));
    assert!(!out.exists());
}
