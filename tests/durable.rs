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

/// One thread of the appliance, stopped while the others run; it goes on when this is dropped.
struct Stopped(libc::pid_t);

impl Stopped {
    /// None: this process may not trace, and says so.
    fn thread_named(name: &str, running: &Running) -> Option<Stopped> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", running.child.id())).unwrap();
        let mut named = tasks.map(|task| task.unwrap()).filter(|task| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        });
        let task = named.next().expect("the thread is there");
        assert!(named.next().is_none(), "another thread called {name}");
        let id: libc::pid_t = task.file_name().to_str().unwrap().parse().unwrap();
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: calls on a thread of our own child that write to one integer of ours and not to the thread's memory.
        unsafe {
            if libc::ptrace(libc::PTRACE_SEIZE, id, none, none) != 0 {
                let error = std::io::Error::last_os_error();
                assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
                println!("SKIPPED: a disk that takes long: tracing a child is not permitted ({error})");
                return None;
            }
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, id, none, none), 0);
            let mut status = 0;
            assert_eq!(libc::waitpid(id, &mut status, libc::__WALL), id);
            assert!(libc::WIFSTOPPED(status));
        }
        Some(Stopped(id))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let none = std::ptr::null_mut::<libc::c_void>();
        // It may have ended. Not to let it go would keep a killed process from ending.
        // SAFETY: as above; the thread runs on as if nothing had been.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, none, none) };
    }
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

/// As long as the disk has not got a decision, a normal client has its verdict and a durable one has not.
#[test]
fn only_who_asked_for_it_waits_for_the_disk() {
    let rig = Rig::new(POLICY);
    let mut oracle = Oracle::new(&rig);
    let running = rig.start();
    let (mut held, mut normal) = (connect(&running, &oracle, true), connect(&running, &oracle, false));
    // All there is is on disk, so that nothing is half written when the thread that writes is stopped.
    let before = oracle.payment(1, 1, 100);
    let outcome = ask(&mut held, &before, 0);
    assert_eq!(outcome, oracle.decide(&before, Admission::Normal));
    let Some(disk) = Stopped::thread_named("journal", &running) else { return };
    let event = oracle.payment(2, 2, 100);
    held.send(event.kind, event.id()[0], 0, &event.words).unwrap();
    let mut seen: Vec<_> = (3..=102)
        .map(|n| {
            let event = oracle.payment(n, n % 7, 100);
            let outcome = ask(&mut normal, &event, 0);
            (event, outcome)
        })
        .collect();
    assert_eq!(held.recv(), Ok(None), "told before it is on disk");
    assert_eq!(on_disk(&rig.journal()).len(), 1, "the disk was to be stopped");
    drop(disk);
    assert!(held.wait(PATIENCE).unwrap(), "no verdict");
    let (outcome, _) = Outcome::from_words(held.recv().unwrap().unwrap().payload).unwrap();
    assert_on_disk(&rig, &event, &outcome);
    assert!(outcome.seq < seen.last().unwrap().1.seq, "it was decided while the disk was stopped");
    seen.push((event, outcome));
    seen.sort_by_key(|(_, outcome)| outcome.seq);
    for (event, outcome) in &seen {
        assert_eq!(oracle.decide(event, Admission::Normal), *outcome);
    }
    drop((held, normal));
    running.stop();
}

#[test]
fn a_normal_client_beside_it_is_served_as_well() {
    let rig = Rig::new(POLICY);
    let mut oracle = Oracle::new(&rig);
    let running = rig.start();
    let (mut held, mut normal) = (connect(&running, &oracle, true), connect(&running, &oracle, false));
    let events: Vec<_> = (1..=4_000).map(|n| oracle.payment(n, n % 7, 100)).collect();
    let (for_held, for_normal) = events.split_at(200);
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| for_held.iter().map(|event| ask(&mut held, event, 0)).collect::<Vec<_>>());
        seen.extend(for_normal.iter().map(|event| (event, ask(&mut normal, event, 0))));
        seen.extend(for_held.iter().zip(waiting.join().unwrap()));
    });
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
