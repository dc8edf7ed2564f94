//! Drives the real binary over the real ring: verdicts, refusals, restarts, kills, configuration errors.

mod rig;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use rig::{Event, Oracle, POLICY, Random, Rig, Running, ask, principal};
use tollgate::engine::wire::{
    Admission, FLAG_DUPLICATE, FLAG_FALLBACK, FLAG_INEXACT, FLAG_PUBLISHED_LATE, FLAG_REFUSED, Outcome,
};
use tollgate::journal::{Reader, Record};
use tollgate_ring::Client;

/// Every decision in the journal of a stopped appliance, by sequence number.
fn journaled(rig: &Rig) -> HashMap<u64, (Event, u32, Admission, Outcome, u64)> {
    let mut decisions = HashMap::new();
    let reader = Reader::open(&rig.journal()).unwrap();
    let summary = reader
        .for_each(|frame| {
            if let Record::Decision(decision) = &frame.record {
                let input = decision.input;
                let event = Event { kind: input.kind, words: input.words.to_vec() };
                let row = (event, input.principal, input.admission, decision.outcome, decision.digest);
                assert!(decisions.insert(decision.outcome.seq, row).is_none(), "a sequence number twice");
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(summary.durable_seq, decisions.len() as u64);
    decisions
}

/// Decides a whole journal in a fresh engine; every outcome and digest must be those recorded.
fn replay(rig: &Rig, decisions: &HashMap<u64, (Event, u32, Admission, Outcome, u64)>) -> u64 {
    let mut oracle = Oracle::new(rig);
    for seq in 1..=decisions.len() as u64 {
        let (event, by, admission, outcome, digest) = &decisions[&seq];
        assert_eq!(*by, principal());
        assert_eq!(oracle.decide(event, *admission), *outcome);
        assert_eq!(oracle.engine.digest(), *digest, "decision {seq}");
    }
    oracle.engine.digest()
}

#[test]
fn verdicts_are_the_engines_and_outlive_a_restart() {
    let rig = Rig::new(POLICY);
    let mut oracle = Oracle::new(&rig);
    let events = oracle.stream(2_000, 1);
    let running = rig.start();
    assert_eq!(running.recovered(), (0, oracle.engine.digest()));
    let mut client = running.connect(&oracle);
    let mut seen = Vec::new();
    for event in &events {
        let outcome = ask(&mut client, event, 0);
        assert_eq!(outcome, oracle.decide(event, Admission::Normal), "{event:?}");
        seen.push(outcome);
    }
    for flag in [FLAG_DUPLICATE, FLAG_REFUSED] {
        assert!(seen.iter().any(|outcome| outcome.flags & flag != 0), "the stream has one of each");
    }
    assert!(seen.iter().any(|outcome| outcome.score == 80) && seen.iter().any(|outcome| outcome.score == 95));
    let log = running.stop();
    assert!(log.contains("SIGTERM: stopping"), "{log}");

    let last_seq = oracle.engine.next_seq() - 1;
    let decisions = journaled(&rig);
    assert_eq!(decisions.len() as u64, last_seq);
    assert_eq!(replay(&rig, &decisions), oracle.engine.digest());

    let running = rig.start();
    assert_eq!(running.recovered(), (last_seq, oracle.engine.digest()));
    let mut client = running.connect(&oracle);
    for (event, before) in events.iter().zip(&seen) {
        let flags = if before.flags & FLAG_REFUSED == 0 { FLAG_DUPLICATE } else { 0 };
        assert_eq!(ask(&mut client, event, 0), Outcome { flags: before.flags | flags, ..*before });
    }
    assert_eq!(journaled_after(running, &rig), decisions.len(), "duplicates are not journaled");
}

fn journaled_after(running: Running, rig: &Rig) -> usize {
    running.stop();
    journaled(rig).len()
}

#[test]
fn a_jump_of_time_is_warned_of_and_in_the_metrics() {
    let rig = Rig::with(POLICY, "\n[log]\nmetrics_interval = \"100ms\"\n");
    let oracle = Oracle::new(&rig);
    let running = rig.start();
    let mut client = running.connect(&oracle);
    ask(&mut client, &oracle.payment(1, 1, 10_000), 0);
    let mut a_day_later = oracle.payment(2, 1, 10_000);
    a_day_later.words[2] += tollgate::engine::units::DAY as u64;
    ask(&mut client, &a_day_later, 0);
    ask(&mut client, &oracle.payment(3, 1, 10_000), 0);
    running
        .wait_for_log(" too_late=1 skewed=0 skewed_ahead=0 skewed_behind=0 clock_jumps=1 expiry_frozen=0 ");
    running.wait_for_log("warn  time jumped by more than `clock_jump_max`, 1 times since start\n");
}

#[test]
fn a_full_table_and_what_it_costs_are_warned_of_and_in_the_metrics() {
    let rig = Rig::with(POLICY, "\n[log]\nmetrics_interval = \"100ms\"\n");
    let ten = rig.config_text().replace("keys_max = 4096", "keys_max = 10");
    std::fs::write(rig.config(), ten).unwrap();
    let oracle = Oracle::new(&rig);
    let running = rig.start();
    let mut client = running.connect(&oracle);
    for card in 1..=13 {
        ask(&mut client, &oracle.payment(card, card, 10_000), 0);
    }
    running.wait_for_log(
        " keys_lost=3 doorkept=0 shared_told=0 table_percent=100 table_fullest=0 spill_percent=0 ",
    );
    running.wait_for_log(
        "warn  the table of card is 100 % full: raise [engine] keys_max, or new keys will not be kept\n",
    );
    running.wait_for_log(
        "warn  3 keys could not be kept, 3 since start: the verdicts they touch are flagged inexact;",
    );
    running.stop();
}

#[test]
fn a_flood_of_new_keys_is_warned_of_and_known_keys_stay_exact() {
    let bounded = format!("{POLICY}feature most_1h = count(payment) by card last 1h assume high\n");
    let rig = Rig::with(&bounded, "\n[log]\nmetrics_interval = \"100ms\"\n");
    let small = rig.config_text().replace("keys_max = 4096", "keys_max = 32");
    std::fs::write(rig.config(), small).unwrap();
    let oracle = Oracle::new(&rig);
    let running = rig.start();
    let mut client = running.connect(&oracle);
    // Two records of the cards' table are for cards that come again, which these do not. The first of those turned away has
    // paid nothing that was not kept.
    for card in 1..=100 {
        let outcome = ask(&mut client, &oracle.payment(card, card, 10_000), 0);
        assert_eq!(outcome.flags & FLAG_INEXACT != 0, card > 30, "card {card}");
    }
    let outcome = ask(&mut client, &oracle.payment(101, 1, 10_000), 0);
    assert_eq!(outcome.flags & FLAG_INEXACT, 0);
    running
        .wait_for_log(" keys_expired=0 rows_lost=0 keys_lost=0 doorkept=70 shared_told=69 table_percent=94 ");
    running.wait_for_log(" events of new keys were not kept as a table is nearly full, ");
    running.wait_for_log(" verdicts were told upper bounds that keys share (assume high), ");
    running.stop();
}

/// Bytes of a running appliance that are in memory.
fn resident(running: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the system tells");
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn memory_is_there_at_start_where_it_is_to_be_touched() {
    let rig = Rig::new(POLICY);
    let roomy = rig.config_text().replace("\"4MiB\"", "\"256MiB\"");
    let core = tollgate::os::affinity::cores()[0];
    let touching = roomy
        .replace("touch_memory = false", &format!("touch_memory = true\ncore = {core}\nidle = \"park\""));
    for (text, touched) in [(roomy, false), (touching, true)] {
        std::fs::write(rig.config(), text).unwrap();
        let oracle = Oracle::new(&rig);
        let running = rig.start();
        assert_eq!(resident(&running) > 256 << 20, touched, "{} bytes", resident(&running));
        let mut client = running.connect(&oracle);
        ask(&mut client, &oracle.payment(1, 1, 10_000), 0);
        if touched {
            running.wait_for_log(" MiB of the engine, ");
            running.wait_for_log("NUMA node");
        }
        running.stop();
    }
}

#[test]
fn an_engine_that_there_is_not_memory_enough_for_is_refused_before_it_is_touched() {
    const ROOM: &str = "200GiB";
    if tollgate::os::memory::of_machine().is_none_or(|bytes| bytes >= 200 << 30) {
        println!("SKIPPED: an engine too large for the machine is refused (it has {ROOM})");
        return;
    }
    let rig = Rig::new(POLICY);
    let roomy =
        rig.config_text().replace("4MiB", ROOM).replace("touch_memory = false", "touch_memory = true");
    std::fs::write(rig.config(), roomy).unwrap();
    let (code, said) = rig.refused();
    assert_eq!(code, 1);
    assert!(said.contains("the engine takes 200.4 GiB, and "), "{said}");
    assert!(
        said.contains(" are free: lower its limits (`tollctl policy plan` tells what takes how much), or "),
        "{said}"
    );
}

#[test]
fn a_policy_over_the_memory_that_may_be_used_is_refused_word_for_word() {
    let rig = Rig::new(POLICY);
    let bounded = |max: &str| {
        let bound = format!("keys_max = 4096\nmemory_bytes_max = \"{max}\"");
        std::fs::write(rig.config(), rig.config_text().replace("keys_max = 4096", &bound)).unwrap();
    };
    bounded("10MiB");
    let (code, said) = rig.refused();
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/over_budget.expected");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &said).unwrap();
    }
    assert_eq!((code, said), (2, std::fs::read_to_string(golden).unwrap()));
    assert!(!rig.journal().exists(), "nothing was begun");
    // As much as is asked for there is enough.
    bounded("14MiB");
    rig.start().stop();
}

#[test]
fn an_event_past_its_deadline_falls_back() {
    let rig = Rig::new(POLICY);
    let mut oracle = Oracle::new(&rig);
    let running = rig.start();
    let mut client = running.connect(&oracle);
    let event = oracle.payment(1, 1, 10_000);
    let expected = oracle.decide(&event, Admission::Late);
    assert_eq!(expected.flags & FLAG_FALLBACK, FLAG_FALLBACK);
    let outcome = ask(&mut client, &event, 1);
    assert_eq!(outcome, Outcome { flags: expected.flags | FLAG_PUBLISHED_LATE, ..expected });
    let in_time = oracle.payment(2, 1, 10_000);
    let expected = oracle.decide(&in_time, Admission::Normal);
    assert_eq!(ask(&mut client, &in_time, u64::MAX), expected);
    running.stop();
    let decisions = journaled(&rig);
    assert_eq!(decisions[&1].2, Admission::Late);
    assert_eq!(decisions[&1].3.flags & FLAG_PUBLISHED_LATE, 0, "what happened at publish time is no input");
    replay(&rig, &decisions);
}

#[test]
fn a_client_over_its_rate_is_shed_and_its_amendments_are_not() {
    let rig = Rig::with(POLICY, "[admission]\nrate_max = 1\nburst = 5\n");
    let mut oracle = Oracle::new(&rig);
    let running = rig.start();
    let mut client = running.connect(&oracle);
    let payments: Vec<Event> = (1..=8).map(|n| oracle.payment(n, n, 10_000)).collect();
    let mut shed = 0;
    for event in &payments {
        let fell_back = ask(&mut client, event, 0).flags & FLAG_FALLBACK != 0;
        shed += usize::from(fell_back);
        oracle.decide(event, if fell_back { Admission::Shed } else { Admission::Normal });
    }
    assert!((1..=3).contains(&shed), "{shed}");
    let label = oracle.label(100, &payments[0], true);
    assert_eq!(ask(&mut client, &label, 0), oracle.decide(&label, Admission::Normal));
    running.stop();
    let decisions = journaled(&rig);
    assert_eq!(decisions.values().filter(|row| row.2 == Admission::Shed).count(), shed);
    assert_eq!(replay(&rig, &decisions), oracle.engine.digest());
}

#[test]
fn a_stop_answers_what_is_in_the_rings() {
    let rig = Rig::new(POLICY);
    // With a journal ring so small that it is full now and then.
    let tight = rig.config_text().replace("[engine]", "[engine]\nburst = 64").replace("1MiB", "64KiB");
    std::fs::write(rig.config(), tight).unwrap();
    let oracle = Oracle::new(&rig);
    let mut running = rig.start();
    let mut client = running.connect(&oracle);
    for n in 1..=900 {
        let event = oracle.payment(n, n % 50, 1_000);
        client.send(event.kind, n, 0, &event.words).unwrap();
    }
    running.signal(libc::SIGTERM);
    let status = running.wait();
    assert!(status.success());
    let verdicts = rest_of(&mut client);
    assert_eq!(verdicts.len(), 900);
    assert!(verdicts.iter().zip(1..).all(|((id, _), n)| *id == n), "in the order of the requests");
    let decisions = journaled(&rig);
    assert!(verdicts.iter().all(|(_, outcome)| decisions[&outcome.seq].3 == *outcome));
    assert!(!rig.runtime().join("switch.sock").exists());
}

/// All verdicts that a server left behind when it ended.
fn rest_of(client: &mut Client) -> Vec<(u64, Outcome)> {
    let mut verdicts = Vec::new();
    client.is_alive();
    while let Ok(Some(verdict)) = client.recv() {
        verdicts.push((verdict.req_id, Outcome::from_words(verdict.payload).unwrap().0));
    }
    verdicts
}

#[test]
fn two_clients_are_served_side_by_side() {
    let rig = Rig::new(POLICY);
    let oracle = Oracle::new(&rig);
    let running = rig.start();
    let streams = [oracle.stream(1_500, 2), oracle.stream(1_500, 3)];
    std::thread::scope(|scope| {
        for events in &streams {
            let mut client = running.connect(&oracle);
            scope.spawn(move || {
                let (mut sent, mut received) = (0, 0);
                while received < events.len() {
                    while sent < events.len()
                        && client.send(events[sent].kind, sent as u64, 0, &events[sent].words).is_ok()
                    {
                        sent += 1;
                    }
                    assert!(client.wait(rig::PATIENCE).unwrap());
                    while let Some(verdict) = client.recv().unwrap() {
                        assert_eq!(verdict.req_id, received as u64, "verdicts come in order");
                        received += 1;
                    }
                }
            });
        }
    });
    let log = running.stop();
    assert_eq!(log.matches("connected").count(), 2, "{log}");
    let decisions = journaled(&rig);
    for events in &streams {
        for event in
            events.iter().filter(|event| event.kind == 0 && event.words.len() == streams[0][0].words.len())
        {
            assert!(decisions.values().any(|row| row.0.id() == event.id()), "{event:?}");
        }
    }
    replay(&rig, &decisions);
}

#[test]
fn a_client_with_another_layout_is_refused_and_a_dead_one_forgotten() {
    let rig = Rig::with(POLICY, "[listen]\nclients_max = 1\n");
    let mut oracle = Oracle::new(&rig);
    let running = rig.start();
    let refusal = running.try_connect([7; 32]).err().unwrap().to_string();
    assert!(refusal.contains("another schema"), "{refusal}");
    // With one place, each next client gets in only when the one before it is forgotten.
    for n in 1..=3 {
        let end = std::time::Instant::now() + rig::PATIENCE;
        let mut client = loop {
            match running.try_connect(oracle.layout_hash) {
                Ok(client) => break client,
                Err(error) if std::time::Instant::now() > end => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let event = oracle.payment(n, 1, 1_000);
        assert_eq!(ask(&mut client, &event, 0), oracle.decide(&event, Admission::Normal));
    }
    let log = running.stop();
    assert!(log.contains("it went away"), "{log}");
}

#[test]
fn every_verdict_seen_before_a_kill_is_in_the_journal() {
    const JOURNALS: u64 = 10;
    const KILLS: u64 = 20;
    let mut random = Random(42);
    for journal in 0..JOURNALS {
        let rig = Rig::new(POLICY);
        let oracle = Oracle::new(&rig);
        let mut seen: Vec<([u64; 2], Outcome)> = Vec::new();
        for kill in 0..KILLS {
            let running = rig.start();
            let last_seen = seen.iter().map(|(_, outcome)| outcome.seq).max().unwrap_or(0);
            let (recovered, _) = running.recovered();
            assert!(recovered >= last_seen, "recovered {recovered}, seen {last_seen}");
            let mut client = running.connect(&oracle);
            let events = oracle.stream(2_000, 1 + journal * KILLS + kill);
            let (mut sent, mut received) = (0, 0);
            let enough = random.below(400);
            while received < enough {
                while sent < events.len()
                    && sent as u64 - received < 64
                    && client.send(events[sent].kind, sent as u64, 0, &events[sent].words).is_ok()
                {
                    sent += 1;
                }
                while let Some(verdict) = client.recv().unwrap() {
                    let outcome = Outcome::from_words(verdict.payload).unwrap().0;
                    seen.push((events[verdict.req_id as usize].words[..2].try_into().unwrap(), outcome));
                    received += 1;
                }
            }
            running.kill();
            for (id, outcome) in rest_of(&mut client) {
                seen.push((events[id as usize].words[..2].try_into().unwrap(), outcome));
            }
        }
        let running = rig.start();
        let (recovered, digest) = running.recovered();
        running.stop();
        let decisions = journaled(&rig);
        assert_eq!(decisions.len() as u64, recovered);
        assert_eq!(replay(&rig, &decisions), digest);
        for (id, outcome) in seen.iter().filter(|(_, outcome)| outcome.flags & FLAG_REFUSED == 0) {
            let (event, .., stored, _) = &decisions[&outcome.seq];
            assert_eq!((event.id(), outcome.flags & !FLAG_DUPLICATE), (*id, stored.flags));
            assert_eq!(Outcome { flags: 0, ..*outcome }, Outcome { flags: 0, ..*stored });
        }
    }
}

#[test]
fn a_kill_while_it_starts_loses_nothing() {
    let rig = Rig::new(POLICY);
    let oracle = Oracle::new(&rig);
    let running = rig.start();
    let mut client = running.connect(&oracle);
    let events = oracle.stream(300, 1);
    let seen: Vec<Outcome> = events.iter().map(|event| ask(&mut client, event, 0)).collect();
    running.kill();
    for round in 0..40 {
        let mut command = rig.command();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(500 + 1_300 * round));
        if round % 2 == 0 {
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            // SAFETY: a plain system call about a child of ours that has not been waited for.
            unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
            let status = child.wait().unwrap();
            // Before it listens for signals, SIGTERM ends it as it ends any process.
            assert!(status.success() || status.signal() == Some(libc::SIGTERM), "{status}");
        }
    }
    let running = rig.start();
    let (recovered, digest) = running.recovered();
    running.stop();
    let decisions = journaled(&rig);
    assert_eq!(decisions.len() as u64, recovered);
    assert_eq!(replay(&rig, &decisions), digest);
    for outcome in seen.iter().filter(|outcome| outcome.flags & (FLAG_REFUSED | FLAG_DUPLICATE) == 0) {
        assert_eq!(decisions[&outcome.seq].3, *outcome);
    }
}

#[test]
fn what_was_replayed_is_not_counted_as_traffic() {
    use tollgate::appliance;
    use tollgate::config::Config;
    let rig = Rig::new(POLICY);
    let oracle = Oracle::new(&rig);
    let running = rig.start();
    let mut client = running.connect(&oracle);
    for n in 1..=3 {
        ask(&mut client, &oracle.payment(n, n, 1_000), 0);
    }
    running.stop();
    let mut config = Config::read(&rig.config()).unwrap();
    config.log.level = tollgate::log::Level::Error;
    let appliance = appliance::start(&config, &appliance::read_policy(&rig.policy()).unwrap()).unwrap();
    let counts = appliance.stop().unwrap();
    assert_eq!((counts.seq, counts.decided, counts.frames), (3, 0, 0));
}

#[test]
fn two_appliances_cannot_share_a_journal() {
    let rig = Rig::new(POLICY);
    let running = rig.start();
    let (code, said) = rig.refused();
    assert_eq!(code, 1);
    assert!(said.contains("another appliance uses the runtime directory"), "{said}");
    // The same journal, through another runtime directory.
    let elsewhere = rig.config_text().replace("/run\"", "/run2\"");
    std::fs::write(rig.config(), elsewhere).unwrap();
    let (code, said) = rig.refused();
    assert_eq!(code, 1);
    assert!(said.contains("is locked by a running appliance"), "{said}");
    running.stop();
}

#[test]
fn a_changed_policy_goes_on_from_the_journal_if_its_layout_is_the_same() {
    let rig = Rig::new(POLICY);
    let mut oracle = Oracle::new(&rig);
    let running = rig.start();
    let mut client = running.connect(&oracle);
    let first = oracle.payment(1, 1, 30_000);
    let stored = ask(&mut client, &first, 0);
    assert_eq!(stored, oracle.decide(&first, Admission::Normal));
    let digest = oracle.engine.digest();
    running.stop();

    // Stricter rules over the same events: what was counted still counts.
    rig.set_policy(&POLICY.replace("revision 1", "revision 2").replace("1000 USD", "500 USD"));
    let running = rig.start();
    assert_eq!(running.recovered(), (1, digest));
    let mut client = running.connect(&oracle);
    let again = ask(&mut client, &first, 0);
    assert_eq!(again, Outcome { flags: stored.flags | FLAG_DUPLICATE, ..stored }, "a verdict given stands");
    let second = oracle.payment(2, 1, 30_000);
    let outcome = ask(&mut client, &second, 0);
    assert_eq!((outcome.seq, outcome.score, outcome.policy_revision, outcome.reasons[0]), (2, 50, 2, 8));
    running.stop();
    assert_eq!(rig.start().recovered().0, 2);

    // A field more is another layout.
    rig.set_policy(&POLICY.replace("amount: money", "amount: money, channel: enum { pos, ecom }"));
    let (code, said) = rig.refused();
    assert_eq!(code, 1);
    assert!(said.contains("the journal was written with other event layouts"), "{said}");
    // And the first policy can come back.
    rig.set_policy(POLICY);
    assert_eq!(rig.start().recovered().0, 2);
}

#[test]
fn a_policy_that_is_not_there_or_wrong_or_too_large_is_refused() {
    let rig = Rig::new(POLICY);
    rig.set_policy(&POLICY.replace("payments_1h > 3", "payments_1d > 3"));
    let (code, said) = rig.refused();
    assert_eq!(code, 2);
    assert!(said.contains("the policy is refused") && said.contains("payments_1d"), "{said}");
    assert!(said.contains("test.policy"), "{said}");
    assert!(!rig.journal().exists(), "nothing was begun");

    std::fs::remove_file(rig.policy()).unwrap();
    let (code, said) = rig.refused();
    assert_eq!(code, 2);
    assert!(said.contains("cannot read the policy") && said.contains("No such file"), "{said}");

    let rig = Rig::with(POLICY, "[listen]\nslot_bytes = 128\n");
    let wide: String = (0..12).map(|n| format!(", extra{n}: int")).collect();
    rig.set_policy(&POLICY.replace("amount: money", &format!("amount: money{wide}")));
    let (code, said) = rig.refused();
    assert_eq!(code, 2);
    assert!(said.contains("slot_bytes = 256"), "{said}");
}

#[test]
fn configuration_errors_are_word_for_word() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config");
    let mut cases = 0;
    for entry in std::fs::read_dir(&golden).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        cases += 1;
        let name = path.file_name().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["run", "--config"])
            .arg(name)
            .current_dir(&golden)
            .output()
            .unwrap();
        let code = output.status.code().unwrap();
        let said = format!("{}exit {code}\n", String::from_utf8(output.stderr).unwrap());
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(expected, said).unwrap();
        } else {
            assert_eq!(said, std::fs::read_to_string(expected).unwrap(), "{}", path.display());
        }
    }
    assert!(cases >= 20, "{cases}");
    let missing = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["run", "--config", "no-such-file.toml"])
        .output()
        .unwrap();
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(said.contains("no-such-file.toml: cannot be read: No such file"), "{said}");
}

#[test]
fn the_default_configuration_is_printed() {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("config").output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), tollgate::config::DEFAULT_TEXT);
}

#[test]
fn the_library_starts_and_stops_in_process() {
    use tollgate::appliance;
    use tollgate::config::Config;
    let rig = Rig::new(POLICY);
    let mut config = Config::read(&rig.config()).unwrap();
    config.log.level = tollgate::log::Level::Error;
    let appliance = appliance::start(&config, &appliance::demo_policy()).unwrap();
    assert_eq!(appliance.ready().policy, "demo");
    assert!(appliance.is_running());
    let counts = appliance.stop().unwrap();
    assert_eq!((counts.seq, counts.clients), (0, 0));
    // Nothing is left behind that would keep a second one from starting.
    let appliance = appliance::start(&config, &appliance::demo_policy()).unwrap();
    assert_eq!(appliance.ready().recovered_seq, 0);
}
