//! `tollctl policy deploy | rollback | status`, `tollctl kill` and `tollctl list` against a running appliance.

use std::path::{Path, PathBuf};
use std::process::Command;
use tollgate::appliance::{self, Appliance};
use tollgate::config::Config;

struct Rig {
    disk: tempfile::TempDir,
    _memory: tempfile::TempDir,
    appliance: Appliance,
}

const POLICY: &str = "policy p revision 1\nuse \"rules.policy\"\nentity card\nevent payment { card: card, amount: money, land: country? }\n\
                      list far of country { CN owner \"the desk\" reason \"rehearsal\", RU }\n\
                      feature n = count(payment) by card last 1h\n\
                      decide payment { score = rule_scores, review when score >= 70, unassessed allow }\n";
const RULES: &str = "rule many on payment { when n > 2 then review, score 80 }\n\
                     rule off on payment { when land in far then score 10 }\n";

impl Rig {
    fn start() -> Self {
        let (disk, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        std::fs::write(disk.path().join("p.policy"), POLICY).unwrap();
        std::fs::write(disk.path().join("rules.policy"), RULES).unwrap();
        let text = format!(
            "[engine]\ntouch_memory = false\nkeys_max = 64\nspill_bytes_max = \"1MiB\"\nrows_per_key_max = 64\n\
             dedup_entries_max = 64\n[journal]\ndir = {:?}\nruntime_dir = {:?}\nring_bytes = \"1MiB\"\n\
             segment_bytes = \"256KiB\"\n",
            disk.path().join("journal"),
            memory.path().join("run")
        );
        let config_file = disk.path().join("appliance.toml");
        std::fs::write(&config_file, &text).unwrap();
        let config = Config::read(&config_file).unwrap();
        let policy = appliance::read_policy(&disk.path().join("p.policy")).unwrap();
        let appliance = appliance::start(&config, &policy).unwrap();
        Self { disk, _memory: memory, appliance }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    /// What the command says, and whether it went well.
    fn says(&self, words: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollctl"));
        command.args(words).arg("--config").arg(self.file("appliance.toml")).current_dir(self.disk.path());
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    fn said(&self, words: &[&str], expected: &str) {
        let (well, text) = self.says(words);
        assert!(well && text.contains(expected), "{words:?}: {text}");
    }

    fn refused(&self, words: &[&str], expected: &str) {
        let (well, text) = self.says(words);
        assert!(!well && text.contains(expected), "{words:?}: {text}");
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }
}

#[test]
fn a_policy_of_two_files_is_deployed_and_taken_back() {
    let rig = Rig::start();
    rig.said(&["policy", "status"], "policy p revision 1, 2 rules, 1 features\n");
    rig.said(&["policy", "status"], "as configured\n");
    rig.write("p.policy", &POLICY.replace("revision 1", "revision 2"));
    rig.write("rules.policy", &RULES.replace("n > 2", "n > 1"));
    rig.said(&["policy", "deploy", "p.policy", "--dry-run"], "policy p revision 2 could take over\n");
    rig.said(&["policy", "status"], "revision 1");
    rig.said(&["policy", "deploy", "p.policy"], "policy p revision 2 took over after decision 0\n");
    rig.said(&["policy", "status"], "deployed 20");
    rig.refused(
        &["policy", "deploy", "p.policy"],
        "error: this policy is running already\n  help: change its revision",
    );
    rig.write("rules.policy", &RULES.replace("n > 2", "m > 2"));
    rig.refused(&["policy", "deploy", "p.policy"], "rules.policy:1:29");
    rig.write("p.policy", &POLICY.replace("revision 1", "revision 3").replace("last 1h", "last 3h"));
    rig.write("rules.policy", RULES);
    rig.refused(&["policy", "deploy", "p.policy"], "n: payment is kept for 1 h, and this looks back 3 h");
    rig.said(&["policy", "deploy", "p.policy", "--cold"], "  n begins now: payment is kept for 1 h");
    rig.said(&["policy", "rollback", "--json"], "\"revision\":2");
    rig.said(&["policy", "rollback"], "policy p revision 1 took over");
    rig.refused(&["policy", "rollback"], "nothing was deployed to go back from");
    rig.appliance.stop().unwrap();
}

#[test]
fn kill_switches_have_an_owner_a_reason_and_an_end() {
    let rig = Rig::start();
    let by = ["--owner", "ann", "--reason", "it is wrong"];
    let with = |words: &[&'static str]| [words, &by].concat();
    rig.refused(&["kill", "rule", "many", "--for", "1h"], "--owner");
    rig.refused(&with(&["kill", "rule", "many", "--for", "1"]), "a time has a unit");
    rig.said(&with(&["kill", "rule", "many", "--for", "1h"]), "holds after decision 0 until 20");
    rig.said(&with(&["kill", "all", "allow", "--for", "5m"]), "holds after decision 0 until 20");
    rig.said(&["policy", "status"], "by ann: it is wrong\nall answered with allow until 20");
    rig.said(&with(&["kill", "lift", "many"]), "lifted after decision 0\n");
    rig.said(&with(&["kill", "lift"]), "lifted after decision 0\n");
    let (_, status) = rig.says(&["policy", "status"]);
    assert!(!status.contains("ann"), "{status}");
    rig.refused(&with(&["kill", "rule", "mini", "--for", "1h"]), "no rule `mini`");
    let journal = rig.file("journal");
    let ring = rig.appliance.ready().socket.parent().map(Path::to_owned).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tollctl"))
        .args(["journal", "cat"])
        .arg(&journal)
        .arg("--runtime")
        .arg(&ring)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("kill rule ") && text.contains("answer all with allow until "), "{text}");
    assert!(text.contains("\"owner\":\"ann\",\"reason\":\"it is wrong\""), "{text}");
    rig.appliance.stop().unwrap();
    rig_gone(&journal);
}

#[test]
fn lists_are_told_and_edited() {
    let rig = Rig::start();
    let by = ["--owner", "ann", "--reason", "it is known"];
    let with = |words: &[&'static str]| [words, &by].concat();
    let show = |words: &[&str]| rig.says(&[&["list", "show", "far"], words].concat()).1;
    assert_eq!(show(&[]), "entry,until,owner,reason,from\nCN,,the desk,rehearsal,policy\nRU,,,,policy\n");
    rig.said(&with(&["list", "add", "far", "US", "DE"]), "2 entries in far after decision 0\n");
    rig.said(
        &with(&["list", "remove", "far", "CN", "--for", "1h"]),
        "1 entry not in far after decision 0 until 20",
    );
    assert_eq!(
        show(&[]),
        "entry,until,owner,reason,from\nRU,,,,policy\nDE,,ann,it is known,added\nUS,,ann,it is known,added\n"
    );
    assert!(show(&["--edits"]).contains("it is known,removed\n"), "{}", show(&["--edits"]));
    assert!(show(&["--json"]).contains("\"of\":\"country\""), "{}", show(&["--json"]));
    rig.said(&["policy", "status"], "3 edits of lists");
    rig.said(
        &with(&["list", "forget", "far", "CN", "US"]),
        "2 entries: the policy's word holds after decision 0\n",
    );
    rig.write("more.csv", "entry,until,owner\nFR,2100-01-01,\nIT,,bob\n");
    rig.said(&with(&["list", "add", "far", "--csv", "more.csv"]), "2 entries in far after decision 0\n");
    assert_eq!(
        show(&[]),
        "entry,until,owner,reason,from\nCN,,the desk,rehearsal,policy\nRU,,,,policy\nDE,,ann,it is known,added\n\
         FR,2100-01-01T00:00:00Z,ann,it is known,added\nIT,,bob,it is known,added\n"
    );
    // What is told can be given again.
    rig.write("same.csv", &show(&[]));
    rig.said(&with(&["list", "add", "far", "--csv", "same.csv"]), "5 entries in far");
    rig.write("bad.csv", "entry\nES\nXX\n");
    rig.refused(
        &with(&["list", "add", "far", "--csv", "bad.csv"]),
        "bad.csv:3; those before it, 1 in all, were changed",
    );
    rig.refused(&with(&["list", "add", "far", "XX"]), "there is no country `XX`");
    rig.refused(&with(&["list", "add", "far", "--until", "2020-01-01", "ES"]), "this end is past");
    rig.refused(&with(&["list", "add", "fat", "ES"]), "did you mean `far`?");
    rig.refused(&with(&["list", "add", "far"]), "no entries are named");
    rig.refused(&["list", "add", "far", "ES"], "--owner");
    let far = ["list", "add", "far", "ES", "--owner", "4111111111111111", "--reason", "x"];
    rig.refused(&far, "could be a raw card number");
    rig.appliance.stop().unwrap();
}

/// Without an appliance, and why.
fn rig_gone(journal: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_tollctl"))
        .args(["policy", "status", "--socket"])
        .arg(journal.join("control.sock"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("nobody answers") && text.contains("is the appliance running?"), "{text}");
}
