//! A file of exchange rates: through the replay, through a running appliance, across a restart, and with mistakes in it.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tollgate::appliance::{self, Appliance, StartError};
use tollgate::config::Config;

const POLICY: &str = r#"
policy fx revision 1
rates "daily" max_age 3d
entity card
reason LARGE 1 { analyst "much money in a day", withhold }
event payment { card: card, amount: money }
event label amends payment { is_fraud: bool }
feature spent_1d = sum(payment.amount in USD) by card last 1d
feature value on payment = amount in USD
rule large on payment { when spent_1d > 30 USD then review, score 80, reason LARGE }
decide payment { score = rule_scores, review when score >= 75, unassessed allow }
"#;

const MAP: &str = r#"
[event.payment]
id = "id"
time = { column = "at", unit = "rfc3339" }
fields = { card = "card", amount = { column = "amount", currency_column = "currency" } }
[event.label]
when = { column = "fraud", equals = 1 }
after = "1h"
fields = { is_fraud = "fraud" }
"#;

/// Before any rate, at a rate, over the base, without a rate, in the currency itself, at the last moment, and after it.
const EVENTS: &str = "\
id,at,card,amount,currency,fraud
early,2026-01-05T11:59:59Z,c1,10.00,EUR,0
euro,2026-01-05T12:00:00Z,c1,10.00,EUR,1
yen,2026-01-05T12:00:01Z,c1,1600,JPY,0
pound,2026-01-05T12:00:02Z,c1,10.00,GBP,0
dollar,2026-01-05T12:00:03Z,c1,10.00,USD,0
later,2026-01-05T13:00:00Z,c1,10.00,EUR,0
last,2026-01-08T13:00:00Z,c2,10.00,EUR,0
stale,2026-01-08T13:00:01Z,c2,10.00,EUR,0
";

/// Not in order of time; the second time is 13:00 in UTC.
const RATES: &str = "\
time,from,to,rate
2026-01-05T14:00:00+01:00,EUR,USD,1.20
2026-01-05 12:00:00,EUR,USD,1.10
2026-01-05 12:00:00,EUR,JPY,160
";

struct Rig {
    disk: tempfile::TempDir,
    memory: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let rig =
            Self { disk: tempfile::tempdir().unwrap(), memory: tempfile::tempdir_in("/dev/shm").unwrap() };
        for (name, text) in
            [("fx.policy", POLICY), ("map.toml", MAP), ("events.csv", EVENTS), ("rates.csv", RATES)]
        {
            std::fs::write(rig.file(name), text).unwrap();
        }
        rig
    }

    fn file(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    fn start(&self) -> Appliance {
        let config = format!(
            "[engine]\nclock = \"event\"\ntouch_memory = false\nkeys_max = 4096\nspill_bytes_max = \"4MiB\"\nrows_per_key_max = 1024\n\
             dedup_entries_max = 65536\n\
             [journal]\ndir = {:?}\nruntime_dir = {:?}\nring_bytes = \"1MiB\"\nsegment_bytes = \"256KiB\"\n",
            self.file("journal"),
            self.memory.path().join("run")
        );
        let config = Config::from_text("test.toml", &config).unwrap();
        let policy = appliance::read_policy(&self.file("fx.policy")).unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match appliance::start(&config, &policy) {
                // A child that another test has just forked holds a copy of the lock until it runs its program.
                Err(StartError::Lock(_)) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                started => return started.unwrap(),
            }
        }
    }

    fn tollctl(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tollctl")).current_dir(self.disk.path()).args(args).output().unwrap()
    }

    /// What a command that works writes to its output file, and says.
    fn written(&self, command: &str, more: &[&str]) -> (String, String) {
        let files =
            ["--policy", "fx.policy", "--map", "map.toml", "--events", "events.csv", "--out", "out.csv"];
        let output = self.tollctl(&[&[command][..], &files, more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (std::fs::read_to_string(self.file("out.csv")).unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    fn load(&self, appliance: &Appliance, file: &str) -> Result<String, String> {
        let socket = appliance.ready().socket.clone();
        let socket = socket.to_str().unwrap();
        let base = ["--base", "EUR"];
        let args = ["rates", "load", file, "--policy", "fx.policy", "--socket", socket];
        let output = self.tollctl(&[&args[..], &base].concat());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}

#[test]
fn the_replay_converts_as_the_rates_say() {
    let rig = Rig::new();
    let (written, summary) =
        rig.written("replay", &["--features", "--rates", "rates.csv", "--rates-base", "EUR"]);
    // Three rows, USD to EUR is not asked for, JPY to USD is: at 12:00.
    assert!(summary.contains(", rates 4, "), "{summary}");
    assert_eq!(
        written,
        "seq,id,event,score,action,reasons,spent_1d,value\n\
         1,early,payment,-1,allow,,0,\n\
         5,euro,payment,0,allow,,11,11\n\
         6,yen,payment,0,allow,,22,11\n\
         7,pound,payment,0,allow,,22,\n\
         8,dollar,payment,80,review,LARGE,32,10\n\
         11,later,payment,80,review,LARGE,44,12\n\
         12,last,payment,-1,allow,,12,12\n\
         13,stale,payment,0,allow,,12,\n"
    );
}

/// The same file through a ring gives the same bytes, and a restart replays the rates with everything else.
#[test]
fn the_appliance_converts_as_the_replay_does_and_remembers() {
    let rig = Rig::new();
    let rates = ["--rates", "rates.csv", "--rates-base", "EUR"];
    let (replayed, summary) = rig.written("replay", &rates);
    let appliance = rig.start();
    let socket = appliance.ready().socket.clone();
    let (answered, _) =
        rig.written("switch", &[&rates[..], &["--socket", socket.to_str().unwrap()]].concat());
    assert_eq!(answered, replayed);
    let counts = appliance.stop().unwrap();
    assert!(summary.trim_end().ends_with(&format!("digest {:016x}", counts.digest)), "{summary}");
    assert_eq!((counts.rates, counts.rates_unused), (4, 1));
    assert_eq!((counts.rate_missing, counts.rate_stale, counts.rate_overflow), (2, 1, 0));

    let appliance = rig.start();
    assert_eq!(appliance.ready().recovered_seq, 13);
    let socket = appliance.ready().socket.clone();
    let one = "id,at,card,amount,currency,fraud\nmore,2026-01-08T12:30:00Z,c3,100.00,EUR,0\n";
    std::fs::write(rig.file("events.csv"), one).unwrap();
    let (answered, _) = rig.written("switch", &["--socket", socket.to_str().unwrap()]);
    assert!(answered.contains("\n14,more,payment,80,review,LARGE\n"), "{answered}");
    let counts = appliance.stop().unwrap();
    assert_eq!((counts.rates, counts.rate_missing, counts.rate_stale), (0, 0, 0));
}

#[test]
fn a_file_may_be_loaded_again_but_not_with_other_rates() {
    let rig = Rig::new();
    let appliance = rig.start();
    assert_eq!(rig.load(&appliance, "rates.csv").unwrap(), "rates 4, new 4, known 0\n");
    assert_eq!(rig.load(&appliance, "rates.csv").unwrap(), "rates 4, new 0, known 4\n");
    std::fs::write(rig.file("other.csv"), RATES.replace("1.20", "1.21")).unwrap();
    assert_eq!(
        rig.load(&appliance, "other.csv").unwrap_err(),
        "error: other.csv: row 1: another rate of this pair and time was sent before\n  \
         help: a rate that was sent stays as it is; give the correction a later time\n"
    );
    let socket = appliance.ready().socket.clone();
    let (answered, _) = rig.written("switch", &["--socket", socket.to_str().unwrap()]);
    let (replayed, _) = rig.written("replay", &["--rates", "rates.csv", "--rates-base", "EUR"]);
    let without_seq = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_once(',').unwrap().1.to_owned()).collect()
    };
    assert_eq!(without_seq(&answered), without_seq(&replayed));
    assert_eq!(appliance.stop().unwrap().rates, 4);
}

#[test]
fn mistakes_in_a_file_are_told_with_their_place() {
    let rig = Rig::new();
    let row = |row: &str| format!("time,from,to,rate\n2026-01-05,EUR,USD,1.1\n{row}\n");
    let rate_help = "write what one unit of `from` is worth in `to`: a decimal above 0 with at most 15 digits, such as 1.0987";
    let cases = [
        (
            "when,from,to,rate\n".to_owned(),
            "bad.csv: there is no column `time`",
            "rates have the columns time, from, to, rate",
        ),
        (row("2026-01-05,EUR,USD,"), "bad.csv:3, column rate: the value is missing", "fill it in"),
        (row("2026-01-05,EUR,USD,-1"), "bad.csv:3, column rate: `-1` is not a rate", rate_help),
        (row("2026-01-05,EUR,USD,0"), "bad.csv:3, column rate: `0` is not a rate", rate_help),
        (row("2026-01-05,EUR,USD,1/2"), "bad.csv:3, column rate: `1/2` is not a rate", rate_help),
        (
            row("2026-01-05,EUR,USD,0.0000000000000001"),
            "bad.csv:3, column rate: a value with 17 digits (not shown) is not a rate",
            rate_help,
        ),
        (
            row("yesterday,EUR,USD,1"),
            "bad.csv:3, column time: `yesterday` is not a time between 1970 and 2199",
            "write it as 2026-01-05T16:00:00+01:00, or without an offset for UTC",
        ),
        (
            row("2026-01-05,EUR,Usd,1"),
            "bad.csv:3, column to: `Usd` is not a currency known here",
            "write its ISO 4217 code in capitals, such as USD",
        ),
        (
            row("2026-01-06,EUR,USD,999999999999999\n2026-01-06,EUR,JPY,0.000000000000001"),
            "bad.csv: row 3: JPY to USD over EUR is too large or too small",
            "give the rate itself, or correct the row",
        ),
    ];
    let common = ["--policy", "fx.policy", "--map", "map.toml", "--events", "events.csv", "--out", "out.csv"];
    for (text, message, help) in cases {
        std::fs::write(rig.file("bad.csv"), text).unwrap();
        let output =
            rig.tollctl(&[&["replay"], &common[..], &["--rates", "bad.csv", "--rates-base", "EUR"]].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(told, format!("error: {message}\n  help: {help}\n"));
        assert!(!rig.file("out.csv").exists());
    }
    std::fs::write(rig.file("fx.policy"), POLICY.replace("rates \"daily\" max_age 3d\n", "")).unwrap();
    let output = rig.tollctl(&[&["replay"], &common[..], &["--rates", "rates.csv"]].concat());
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "error: fx: the policy declares no rates\n  help: add a line such as rates \"daily\" max_age 3d to the policy\n"
    );
}
