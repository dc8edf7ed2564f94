//! Finding events by id against going through the whole journal: random journals, restarts, frames that only the ring
//! holds, indexes that are missing, damaged or another segment's, and segments that are damaged themselves.

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tollgate::engine::Limits;
use tollgate::engine::units::{EventId, Time};
use tollgate::engine::wire::{Admission, HEADER_WORDS, Input, Outcome, event_id};
use tollgate::journal::{
    Backend, Decision, Epoch, Journal, JournalOptions, Reader, Record, RecoverError, Searched, Writer,
};

/// Ids that events have, and ids that are asked for beyond them.
const IDS: u64 = 300;
const ABSENT: u64 = 20;

struct Place {
    dir: TempDir,
    runtime: TempDir,
    seq: u64,
}

impl Place {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), runtime: tempfile::tempdir_in("/dev/shm").unwrap(), seq: 0 }
    }

    fn options(&self) -> JournalOptions {
        let mut options = JournalOptions::new(self.dir.path(), self.runtime.path());
        options.ring_bytes = 64 << 10;
        options.segment_bytes = 64 << 10;
        options.batch_bytes_max = 16 << 10;
        options.backend = Backend::Pwrite;
        options
    }

    fn append(&mut self, writer: &mut Writer, event: &Event) {
        self.seq += 1;
        let mut words = vec![self.seq; event.words];
        for (word, value) in words.iter_mut().zip(id(event.id).0) {
            *word = value;
        }
        let input = Input {
            principal: event.principal,
            kind: 1,
            admission: Admission::Normal,
            received: Time(0),
            words: &words,
        };
        let outcome = Outcome { seq: self.seq, ..Outcome::default() };
        while writer.append(&Decision { input, outcome, digest: 0 }).is_err() {
            std::thread::yield_now();
        }
    }

    /// One start of an appliance. What comes after its flusher has ended is only in the ring.
    fn run(&mut self, run: &Run) -> Writer {
        let epoch = Epoch {
            semantics: 1,
            policy_hash: [1; 32],
            layout_hash: [2; 32],
            limits: Limits::default(),
            started: Time(0),
            took_over: false,
        };
        let (mut writer, flusher) = Journal::recover(&self.options()).unwrap().start(epoch).unwrap();
        for event in &run.flushed {
            self.append(&mut writer, event);
        }
        flusher.shutdown().unwrap();
        for event in &run.left {
            self.append(&mut writer, event);
        }
        writer
    }

    fn reader(&self) -> Reader {
        Reader::open_with_ring(self.dir.path(), self.runtime.path()).unwrap()
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
        files.sort();
        files
    }
}

fn id(number: u64) -> EventId {
    EventId([number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number])
}

#[derive(Clone, Debug)]
struct Event {
    id: u64,
    principal: u32,
    words: usize,
}

#[derive(Clone, Debug)]
struct Run {
    flushed: Vec<Event>,
    left: Vec<Event>,
}

fn event() -> impl Strategy<Value = Event> {
    // Frames with fewer words than any event's header hold no id.
    let words = prop_oneof![1 => 0..HEADER_WORDS, 20 => HEADER_WORDS..60_usize];
    (0..IDS, 1..3_u32, words).prop_map(|(id, principal, words)| Event { id, principal, words })
}

fn run() -> impl Strategy<Value = Run> {
    let flushed = prop::collection::vec(event(), 0..700);
    let left = prop::collection::vec(event(), 0..60);
    (flushed, left).prop_map(|(flushed, left)| Run { flushed, left })
}

/// (place in what was asked, decision, sender) of everything with one of these ids.
type Finds = BTreeSet<(usize, u64, u32)>;

fn naive(reader: &Reader, ids: &[EventId]) -> (Finds, u64) {
    let mut finds = Finds::new();
    let visit = |decision: &Decision<'_>| {
        if decision.input.words.len() >= HEADER_WORDS {
            for (at, _) in ids.iter().enumerate().filter(|asked| *asked.1 == event_id(decision.input.words)) {
                finds.insert((at, decision.outcome.seq, decision.input.principal));
            }
        }
    };
    let mut visit = visit;
    let summary = reader.for_each(|frame| {
        if let Record::Decision(decision) = &frame.record {
            visit(decision);
        }
        ControlFlow::Continue(())
    });
    (finds, summary.unwrap().last_seq)
}

fn find(reader: &Reader, ids: &[EventId]) -> Result<(Finds, Searched), RecoverError> {
    let mut finds = Finds::new();
    let searched = reader.find(ids, |at, frame| {
        let Record::Decision(decision) = &frame.record else { panic!("not a decision") };
        assert_eq!(event_id(decision.input.words), ids[at]);
        assert!(finds.insert((at, decision.outcome.seq, decision.input.principal)), "shown twice");
    })?;
    Ok((finds, searched))
}

#[derive(Clone, Debug)]
enum Harm {
    Remove,
    Cut(usize),
    Flip(usize, u8),
    TakeAnothers,
    Extend,
}

fn harm() -> impl Strategy<Value = Harm> {
    let at = 0..1_000_000_usize;
    prop_oneof![
        Just(Harm::Remove),
        at.clone().prop_map(Harm::Cut),
        (at, 0..8_u8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        Just(Harm::TakeAnothers),
        Just(Harm::Extend),
    ]
}

fn hurt(path: &Path, another: &[u8], harm: &Harm) {
    let mut bytes = fs::read(path).unwrap();
    match harm {
        Harm::Remove => return fs::remove_file(path).unwrap(),
        Harm::Cut(at) => bytes.truncate(at % bytes.len()),
        Harm::Flip(at, bit) => {
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
        }
        Harm::TakeAnothers => bytes = another.to_vec(),
        Harm::Extend => bytes.push(0),
    }
    fs::write(path, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_found_is_what_is_there(
        runs in prop::collection::vec(run(), 1..4),
        asked in prop::collection::vec(0..IDS + ABSENT, 0..200),
        harms in prop::collection::vec(harm(), 1..6),
    ) {
        let mut place = Place::new();
        let mut writer = None;
        for run in &runs {
            // Its ring outlives a writer, as it outlives a killed process; two cannot have it at a time.
            drop(writer.take());
            writer = Some(place.run(run));
        }
        let ids: Vec<EventId> = asked.into_iter().map(id).collect();
        let reader = place.reader();
        let (expected, last_seq) = naive(&reader, &ids);
        prop_assert_eq!(last_seq, place.seq);
        let segments = place.files("tgj").len();

        let (finds, searched) = find(&reader, &ids).unwrap();
        prop_assert_eq!(&finds, &expected);
        let made = (segments - 1) as u64;
        prop_assert_eq!(searched, Searched { last_seq, made, notes: Vec::new() });
        let indexes = place.files("tgx");
        prop_assert_eq!(indexes.len() as u64, made);
        let whole: Vec<Vec<u8>> = indexes.iter().map(|path| fs::read(path).unwrap()).collect();

        // With the indexes there, nothing is made.
        let (finds, searched) = find(&place.reader(), &ids).unwrap();
        prop_assert_eq!((&finds, searched.made), (&expected, 0));

        for (number, (path, harm)) in indexes.iter().zip(&harms).enumerate() {
            hurt(path, &whole[(number + 1) % whole.len()], harm);
        }
        let (finds, _) = find(&place.reader(), &ids).unwrap();
        prop_assert_eq!(&finds, &expected);
        // A block that nobody looked into may still be damaged; asking for everything finds that too.
        let all: Vec<EventId> = (0..IDS).map(id).collect();
        let (finds, _) = find(&place.reader(), &all).unwrap();
        prop_assert_eq!(finds, naive(&reader, &all).0);
        prop_assert_eq!(place.reader().make_indexes().unwrap().made, 0);
        for (path, whole) in indexes.iter().zip(&whole) {
            prop_assert!(&fs::read(path).unwrap() == whole, "{} is another than before", path.display());
        }
        drop(writer);
    }
}

/// Three runs of some segments each; nothing is left in the ring.
fn some_journal() -> Place {
    let mut place = Place::new();
    for start in 0..3 {
        let event = |n: u64| Event { id: (start * 100 + n) % IDS, principal: 1, words: 20 };
        drop(place.run(&Run { flushed: (0..400).map(event).collect(), left: Vec::new() }));
    }
    place
}

#[test]
fn a_damaged_segment_is_told_and_never_guessed_at() {
    let place = some_journal();
    let segments = place.files("tgj");
    assert!(segments.len() >= 4);
    let ids: Vec<EventId> = (0..IDS).map(id).collect();
    let (expected, _) = find(&place.reader(), &ids).unwrap();
    for indexed in [true, false] {
        for segment in &segments {
            let whole = fs::read(segment).unwrap();
            let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
            for at in (0..used).step_by(used / 23) {
                if !indexed {
                    place.files("tgx").iter().for_each(|path| fs::remove_file(path).unwrap());
                }
                let mut bytes = whole.clone();
                bytes[at] ^= 0x10;
                fs::write(segment, bytes).unwrap();
                // A flip that no frame notices (padding) is none of the look-up's business while there is an index.
                match find(&place.reader(), &ids) {
                    Ok((finds, _)) if indexed || segment == segments.last().unwrap() => {
                        assert!(finds.is_subset(&expected), "byte {at} of {}", segment.display());
                    }
                    Ok(_) => panic!("byte {at} of {} was not noticed", segment.display()),
                    Err(RecoverError::Rot { path, .. }) => assert!(segments.contains(&path)),
                    Err(error) => panic!("{error}"),
                }
            }
            fs::write(segment, whole).unwrap();
        }
    }
    assert_eq!(find(&place.reader(), &ids).unwrap().0, expected);
}

#[test]
fn an_index_that_cannot_be_kept_costs_only_time() {
    let place = some_journal();
    let ids: Vec<EventId> = (0..IDS).map(id).collect();
    // A directory of that name cannot be replaced by a file, whoever tries.
    for segment in place.files("tgj") {
        fs::create_dir(segment.with_extension("tgx")).unwrap();
    }
    let reader = place.reader();
    let (finds, searched) = find(&reader, &ids).unwrap();
    assert_eq!(finds, naive(&reader, &ids).0);
    assert_eq!(searched.made, 0);
    assert!(searched.notes.iter().any(|note| note.contains("could not be written")), "{:?}", searched.notes);
}

#[test]
fn nothing_is_found_where_nothing_is() {
    let empty = tempfile::tempdir().unwrap();
    let reader = Reader::open(empty.path()).unwrap();
    assert_eq!(find(&reader, &[id(1), id(1)]).unwrap(), (Finds::new(), Searched::default()));
    let place = some_journal();
    assert!(find(&place.reader(), &[]).unwrap().0.is_empty());
}

#[test]
fn an_appliance_starts_while_indexes_are_made() {
    let place = some_journal();
    let left = place.dir.path().join("index-left.tmp");
    fs::write(&left, "made by a tool that was killed").unwrap();
    assert_eq!(place.reader().make_indexes().unwrap().made as usize, place.files("tgj").len() - 1);
    drop(Journal::recover(&place.options()).unwrap());
    assert!(!left.exists());
    assert_eq!(place.files("tgx").len(), place.files("tgj").len() - 1);
}
