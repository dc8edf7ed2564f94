//! Live processes scribble over their files, each in its own way, while honest neighbours are served.
//!
//! `TOLLGATE_HOSTILE_SECONDS` is how long each way is tried; four processes at a time.

mod hostile_rig;
mod support;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hostile_rig::*;
use support::*;
use tollgate_ring::*;

const SCRIBBLER_VARIABLE: &str = "TOLLGATE_RING_SCRIBBLER";
const SLOT_BYTES: u32 = 128;
const CAPACITY: u32 = 64;
/// Steps between two looks at the clock, and the most for which one connection is kept.
const STEPS: u32 = 64;

/// One step of a scribbler.
type Step = fn(&mut ByHand, &mut Random);

/// What must come of a strategy.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Some connections are quarantined for this.
    Sequence,
    Length,
    Cursor,
    /// None is ever quarantined, and it is served.
    Served,
}

const STRATEGIES: [(&str, Step, Outcome); 8] = [
    ("words", scribble_words, Outcome::Sequence),
    ("seq", scribble_seq, Outcome::Sequence),
    ("lengths", scribble_lengths, Outcome::Length),
    ("cursor", scribble_cursor, Outcome::Cursor),
    ("wakes", storm_of_wakes, Outcome::Served),
    ("header", scribble_header, Outcome::Served),
    ("torn", tear, Outcome::Served),
    ("flips", flip, Outcome::Sequence),
];

/// A value that is often nearly right.
fn plausible(random: &mut Random, right: u64) -> u64 {
    match random.below(8) {
        0 => right.wrapping_add(1),
        1 => right.wrapping_sub(1),
        2 => right.wrapping_add(CAPACITY.into()),
        3 => right.wrapping_sub(CAPACITY.into()),
        4 => u64::MAX,
        5 => 0,
        _ => random.next(),
    }
}

/// Any word of the file, header and lines between the words included.
fn scribble_words(by_hand: &mut ByHand, random: &mut Random) {
    by_hand.send();
    let offset = random.below(by_hand.rings.c.bytes as u64 / 8) as usize * 8;
    let value = plausible(random, by_hand.sent);
    by_hand.c(offset).store(value, Ordering::Relaxed);
    by_hand.receive();
}

/// Numbers of slots only: of the next one, or of any.
fn scribble_seq(by_hand: &mut ByHand, random: &mut Random) {
    (0..random.below(4)).for_each(|_| _ = by_hand.send());
    by_hand.receive_all();
    let index = by_hand.sent + if random.below(2) == 0 { 0 } else { random.below(CAPACITY.into()) };
    let value = plausible(random, index + 1);
    by_hand.c(by_hand.slot(index)).store(value, Ordering::Release);
}

/// Rightly numbered requests of any length.
fn scribble_lengths(by_hand: &mut ByHand, random: &mut Random) {
    (0..random.below(8)).for_each(|_| _ = by_hand.send());
    by_hand.receive_all();
    if by_hand.sent - by_hand.received < u64::from(CAPACITY) {
        let len = if random.below(4) == 0 { random.below(1 << 16) } else { random.below(20) };
        by_hand.rings.put(by_hand.sent, by_hand.sent + 1, len);
        by_hand.sent += 1;
        let end = Instant::now() + LONG;
        while by_hand.received < by_hand.sent && by_hand.is_served() {
            assert!(Instant::now() < end, "neither served nor quarantined");
            if by_hand.receive().is_none() {
                std::thread::yield_now();
            }
        }
    }
}

/// The verdict cursor ahead of all verdicts, and back again, while requests keep coming.
fn scribble_cursor(by_hand: &mut ByHand, random: &mut Random) {
    while by_hand.send() {}
    by_hand.receive_all();
    if random.below(16) != 0 {
        return;
    }
    let value = plausible(random, by_hand.received);
    by_hand.c(layout::C_VERDICT_CURSOR).store(value, Ordering::Release);
    // All the credit there can be, so that the server has to read the cursor.
    while by_hand.sent < by_hand.received + u64::from(CAPACITY) {
        by_hand.rings.put(by_hand.sent, by_hand.sent + 1, 2);
        by_hand.sent += 1;
    }
    // It may find the value possible, and then this is a client like any other.
    (0..1000).filter(|_| by_hand.is_served()).for_each(|_| std::thread::yield_now());
}

/// Always "asleep", never sleeping; the wake word at its limits and always another, with calls for everybody to wake.
fn storm_of_wakes(by_hand: &mut ByHand, random: &mut Random) {
    by_hand.c(layout::C_PARKED).store(random.next() | 1, Ordering::Relaxed);
    let value = [u32::MAX.into(), u64::MAX, 0, random.next()][random.below(4) as usize];
    (0..8_u64).for_each(|i| by_hand.kick(value.wrapping_add(i)));
    by_hand.send();
    by_hand.check_all();
}

/// The header, the heartbeat and every word before the slots that means nothing.
fn scribble_header(by_hand: &mut ByHand, random: &mut Random) {
    let offset = random.below(layout::SLOTS as u64 / 8) as usize * 8;
    if ![layout::C_VERDICT_CURSOR, layout::C_KICK].contains(&offset) {
        by_hand.c(offset).store(random.next(), Ordering::Relaxed);
    }
    by_hand.send();
    by_hand.check_all();
}

/// Well-formed requests whose every word but the number goes on changing after publication.
fn tear(by_hand: &mut ByHand, random: &mut Random) {
    by_hand.send();
    for back in 0..by_hand.sent.min(8) {
        let at = by_hand.slot(by_hand.sent - 1 - back);
        by_hand.c(at + 8).store(random.next() & !0xffff_0000 | random.below(13) << 16, Ordering::Relaxed);
        for offset in (16..SLOT_BYTES as usize).step_by(8) {
            by_hand.c(at + offset).store(random.next(), Ordering::Relaxed);
        }
    }
    by_hand.receive();
}

/// Right traffic, and once in a while one bit of the slots is another.
fn flip(by_hand: &mut ByHand, random: &mut Random) {
    by_hand.send();
    by_hand.receive();
    if random.below(16) == 0 {
        let offset = layout::SLOTS + random.below(u64::from(CAPACITY * SLOT_BYTES) / 8) as usize * 8;
        by_hand.c(offset).fetch_xor(1 << random.below(64), Ordering::Relaxed);
    }
}

/// Not a test by itself: a process that scribbles for as long as it is told.
#[test]
fn child_scribbler() {
    let Ok(told) = std::env::var(SCRIBBLER_VARIABLE) else { return };
    let (name, path) = told.split_once(' ').unwrap();
    let (_, step, outcome) = *STRATEGIES.iter().find(|(known, ..)| *known == name).unwrap();
    let mut random = Random(std::process::id().into());
    let end = Instant::now() + Duration::from_secs(volume("TOLLGATE_HOSTILE_SECONDS", 5));
    while Instant::now() < end {
        let Some(mut by_hand) = ByHand::connect(Path::new(path), SLOT_BYTES, name) else { continue };
        while by_hand.is_served() && Instant::now() < end {
            (0..STEPS).for_each(|_| step(&mut by_hand, &mut random));
            // Only one that the server can go on with is patient; the others have nothing to lose.
            if outcome == Outcome::Served {
                std::thread::yield_now();
            }
        }
        assert!(outcome != Outcome::Served || by_hand.is_served(), "quarantined without a cause");
    }
}

#[test]
fn scribblers_stop_nobody() {
    let geometry = geometry(SLOT_BYTES, CAPACITY);
    let (_directory, path) = socket_path();
    let service = Service::start(&path, ServerOptions { clients_max: 32, ..server_options(geometry) });
    let neighbours = [0, 1].map(|_| Neighbour::start(&path, geometry));
    for group in STRATEGIES.chunks(4) {
        let children: Vec<_> = group
            .iter()
            .map(|(name, ..)| {
                let told = format!("{name} {}", path.display());
                child("child_scribbler", SCRIBBLER_VARIABLE, told.as_ref())
            })
            .collect();
        for (mut child, (name, ..)) in children.into_iter().zip(group) {
            neighbours.iter().for_each(|neighbour| neighbour.goes_on(100));
            assert!(child.wait().unwrap().success(), "the scribbler {name} failed");
        }
    }
    service.settle(neighbours.len() as u64);
    for (name, _, outcome) in STRATEGIES {
        let tally = service.tally(name);
        println!("{name}: {tally:?}");
        match outcome {
            Outcome::Sequence => assert_ne!(tally.sequence, 0, "{name}: {tally:?}"),
            Outcome::Length => assert_ne!(tally.length, 0, "{name}: {tally:?}"),
            Outcome::Cursor => assert_ne!(tally.cursor, 0, "{name}: {tally:?}"),
            Outcome::Served => {
                assert_eq!((tally.quarantined(), tally.departed), (0, tally.hung_up), "{name}: {tally:?}");
                assert_ne!(tally.taken, 0, "{name}: {tally:?}");
            }
        }
    }
    // The server is alive: it goes on looking at everybody, and takes in one more.
    let rounds = service.rounds();
    until("another round", || service.rounds() > rounds);
    let mut late = Client::connect(&path, client_options(geometry)).unwrap();
    drive(&mut late, 1000);
    drop(late);
    neighbours.iter().for_each(|neighbour| neighbour.goes_on(100));
    for neighbour in neighbours {
        println!("an honest neighbour: {} verdicts, all checked", neighbour.finish());
    }
    service.settle(0);
    let (counts, total, honest) = (service.counts(), service.total(), service.tally("honest"));
    println!("{counts:?} parks {}", service.parks());
    assert_eq!((honest.quarantined(), honest.hung_up), (0, 2));
    assert_eq!((counts.accepted, counts.failed), (total.departed, 0));
    assert_eq!(total.quarantined() + total.hung_up, total.departed);
    // They come back faster than their last connections are dropped: then, and only then, are they refused.
    assert_eq!(counts.refused.iter().sum::<u64>(), service.refused("too_many_clients"));
    service.stop();
}
