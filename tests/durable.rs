//! Release when durable: a verdict that its client has seen is on disk, whatever becomes of the appliance and its memory.

mod rig;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use rig::{Event, Oracle, PATIENCE, POLICY, Rig, Running, ask};
use tollgate::engine::wire::{Admission, FLAG_REFUSED, Outcome};
use tollgate::journal::{Reader, Record};
use tollgate_ring::{Client, ClientOptions};

/// Decisions with their events, as the segments of a journal hold them; the ring in memory is not looked at.
fn on_disk(journal: &Path) -> HashMap<u64, ([u64; 2], Outcome)> {
    let mut decisions = HashMap::new();
    let keep = |decisions: &mut HashMap<_, _>, record: &Record<'_>| {
        if let Record::Decision(decision) = record {
            let words = decision.input.words;
            decisions.insert(decision.outcome.seq, ([words[0], words[1]], decision.outcome));
        }
    };
    Reader::open(journal)
        .unwrap()
        .for_each(|frame| {
            keep(&mut decisions, &frame.record);
            ControlFlow::Continue(())
        })
        .unwrap();
    decisions
}

fn connect(running: &Running, oracle: &Oracle, durable: bool) -> Client {
    let options = ClientOptions {
        schema_hash: oracle.layout_hash,
        slot_bytes: 256,
        name: if durable { "durable" } else { "normal" }.into(),
        timeout: PATIENCE,
        durable,
    };
    Client::connect(running.socket(), options).unwrap()
}

/// A verdict that answers a decision of its own, and not a refusal.
fn assert_on_disk(rig: &Rig, event: &Event, outcome: &Outcome) {
    assert_eq!(outcome.flags & FLAG_REFUSED, 0);
    let found = on_disk(&rig.journal()).get(&outcome.seq).copied();
    assert_eq!(
        found,
        Some((event.id(), *outcome)),
        "decision {} was told before it was on disk",
        outcome.seq
    );
}

#[test]
fn a_verdict_seen_is_on_disk() {
    let rig = Rig::new(POLICY);
    let mut oracle = Oracle::new(&rig);
    let running = rig.start();
    let mut client = connect(&running, &oracle, true);
    // One at a time: the engine has gone idle, or parked, when the disk is done, and still lets the verdict go.
    for n in 1..=100 {
        let event = oracle.payment(n, n % 7, 100);
        let outcome = ask(&mut client, &event, 0);
        assert_eq!(outcome, oracle.decide(&event, Admission::Normal));
        assert_on_disk(&rig, &event, &outcome);
        if n % 20 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(120));
        }
    }
    // Many in flight: each is looked for as soon as it is seen. A look takes in those before it too.
    let events: Vec<_> = (101..=132).map(|n| oracle.payment(n, n % 7, 100)).collect();
    for event in &events {
        client.send(event.kind, event.id()[0], 0, &event.words).unwrap();
    }
    for event in &events {
        assert!(client.wait(PATIENCE).unwrap(), "no verdict");
        let verdict = client.recv().unwrap().unwrap();
        assert_eq!(verdict.req_id, event.id()[0], "held verdicts keep their order");
        let (outcome, _) = Outcome::from_words(verdict.payload).unwrap();
        assert_eq!(outcome, oracle.decide(event, Admission::Normal));
        assert_on_disk(&rig, event, &outcome);
    }
    drop(client);
    running.stop();
}

#[test]
fn a_verdict_seen_outlives_the_appliance_and_its_memory() {
    for round in 0..5 {
        let rig = Rig::new(POLICY);
        let oracle = Oracle::new(&rig);
        let running = rig.start();
        let mut client = connect(&running, &oracle, true);
        let mut last = None;
        for n in 1..=10 + round {
            let event = oracle.payment(n, n % 7, 100);
            let outcome = ask(&mut client, &event, 0);
            last = Some((event, outcome));
        }
        running.kill();
        let (event, outcome) = last.unwrap();
        // The state as it would be after a loss of power: the disk's files without those of the tmpfs.
        let copy = Rig::new(POLICY);
        std::fs::create_dir_all(copy.journal()).unwrap();
        for entry in std::fs::read_dir(rig.journal()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.journal().join(entry.file_name())).unwrap();
        }
        assert!(!copy.runtime().exists());
        assert_on_disk(&copy, &event, &outcome);
        // And the appliance comes back from there, and knows it.
        let running = copy.start();
        assert!(running.recovered().0 >= outcome.seq);
        let again = ask(&mut connect(&running, &oracle, true), &event, 0);
        assert_eq!((again.seq, again.score, again.action), (outcome.seq, outcome.score, outcome.action));
        running.stop();
    }
}

#[test]
fn a_normal_client_beside_it_is_not_held_up() {
    let rig = Rig::new(POLICY);
    let mut oracle = Oracle::new(&rig);
    let running = rig.start();
    let (mut held, mut normal) = (connect(&running, &oracle, true), connect(&running, &oracle, false));
    let events: Vec<_> = (1..=4_000).map(|n| oracle.payment(n, n % 7, 100)).collect();
    let (for_held, for_normal) = events.split_at(200);
    let (mut seen, mut before_disk) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let rig = &rig;
        let waiting =
            scope.spawn(|| for_held.iter().map(|event| ask(&mut held, event, 0)).collect::<Vec<_>>());
        for event in for_normal {
            let outcome = ask(&mut normal, event, 0);
            // Most of these are told before they are on disk; that is what makes the other mode a choice.
            if seen.len() < 50 || before_disk == 0 {
                before_disk += usize::from(!on_disk(&rig.journal()).contains_key(&outcome.seq));
            }
            seen.push((event, outcome));
        }
        for (event, outcome) in for_held.iter().zip(waiting.join().unwrap()) {
            seen.push((event, outcome));
        }
    });
    println!("{before_disk} of the first 50 normal verdicts were seen before they were on disk");
    assert_ne!(before_disk, 0, "normal verdicts wait for the disk too");
    drop((held, normal));
    running.stop();
    // Each was decided once, and as the engine does in the order of the journal.
    let disk = on_disk(&rig.journal());
    assert_eq!(disk.len(), events.len());
    seen.sort_by_key(|(_, outcome)| outcome.seq);
    for (event, outcome) in seen {
        assert_eq!(oracle.decide(event, Admission::Normal), outcome);
        assert_eq!(disk[&outcome.seq], (event.id(), outcome));
    }
}
