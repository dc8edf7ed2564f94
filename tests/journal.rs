//! The journal from outside: what goes in comes out, whatever happens in between.

use std::fs::{File, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tollgate::engine::Limits;
use tollgate::engine::units::{Action, Time};
use tollgate::engine::wire::{Admission, Input, Outcome};
use tollgate::journal::{
    Backend, Decision, Epoch, Flusher, Full, Journal, JournalOptions, Reader, Record, RecoverError,
    Recovered, SegmentState, Writer, policy_path, store_policy,
};

const CHILD: &str = "TOLLGATE_JOURNAL_CHILD";

/// A disk directory and a ring directory of one journal.
struct Place {
    dir: TempDir,
    runtime: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), runtime: tempfile::tempdir_in("/dev/shm").unwrap() }
    }

    fn options(&self) -> JournalOptions {
        small(self.dir.path(), self.runtime.path())
    }

    fn recover(&self) -> Recovered {
        recover(&self.options()).unwrap()
    }

    fn start(&self, epoch: u64) -> (Writer, Flusher) {
        self.recover().start(self::epoch(epoch)).unwrap()
    }

    /// A run of which only the epoch is durable: what is appended stays in the ring, as before a crash.
    fn start_unflushed(&self, epoch: u64) -> (Writer, Flusher) {
        let options = JournalOptions { flush_interval: Duration::from_secs(3600), ..self.options() };
        let (writer, flusher) = recover(&options).unwrap().start(self::epoch(epoch)).unwrap();
        // The flusher writes once as it starts; how much would depend on when that is.
        while writer.status().batches() == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
        (writer, flusher)
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut paths: Vec<_> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "tgj"))
            .collect();
        paths.sort();
        paths
    }

    /// What a loss of power leaves: the segments, no ring.
    fn lose_power(&self) {
        let _ = std::fs::remove_file(self.runtime.path().join("journal.ring"));
    }
}

fn small(dir: &Path, runtime: &Path) -> JournalOptions {
    let mut options = JournalOptions::new(dir, runtime);
    options.ring_bytes = 64 << 10;
    options.segment_bytes = 64 << 10;
    options.batch_bytes_max = 16 << 10;
    options.flush_interval = Duration::from_micros(200);
    options.backend = Backend::Pwrite;
    options
}

fn epoch(number: u64) -> Epoch {
    let limits = Limits { hash_seed: number, ..Limits::default() };
    let hash = [number as u8; 32];
    Epoch {
        semantics: 1,
        policy_hash: hash,
        layout_hash: [9; 32],
        limits,
        started: Time(number as i64),
        took_over: false,
    }
}

fn words(seq: u64) -> Vec<u64> {
    (0..4 + seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 57).map(|i| i ^ seq << 32).collect()
}

fn append(writer: &mut Writer, seq: u64) -> Result<(), Full> {
    let words = words(seq);
    let input = Input {
        principal: 7,
        kind: (seq % 5) as u16,
        admission: Admission::Late,
        received: Time(seq as i64 * 10),
        words: &words,
    };
    let outcome = Outcome {
        seq,
        score: (seq % 101) as i16 - 1,
        action: Action::ALL[(seq % 5) as usize],
        flags: 8,
        policy_revision: 3,
        reasons: [17, 0, 0, 0],
    };
    writer.append(&Decision { input, outcome, digest: !seq })
}

fn append_all(writer: &mut Writer, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        while append(writer, seq).is_err() {
            std::thread::yield_now();
        }
    }
}

/// Checks that the decisions are 1..=last as `append` made them; returns the epochs' numbers.
fn check_records(recovered: &Recovered, last: u64) -> Vec<u64> {
    let (mut next, mut epochs) = (1, Vec::new());
    recovered
        .for_each(|record| {
            match record {
                Record::Epoch(found) => {
                    assert_eq!(found, epoch(found.limits.hash_seed));
                    epochs.push(found.limits.hash_seed);
                }
                Record::Order(_) => panic!("nothing was ordered"),
                Record::Decision(decision) => {
                    assert_eq!((decision.outcome.seq, decision.digest), (next, !next));
                    assert_eq!(decision.input.words, words(next));
                    assert_eq!(
                        (decision.input.principal, decision.input.received),
                        (7, Time(next as i64 * 10))
                    );
                    assert_eq!(decision.outcome.score, (next % 101) as i16 - 1);
                    next += 1;
                }
            }
            Ok::<_, RecoverError>(())
        })
        .unwrap();
    assert_eq!((next - 1, recovered.last_seq()), (last, last));
    epochs
}

/// Recovers, giving a lock that was just let go some time: while another test of this process starts a child, the child has
/// a copy of it until it runs its program.
fn recover(options: &JournalOptions) -> Result<Recovered, RecoverError> {
    let end = Instant::now() + Duration::from_millis(500);
    loop {
        match Journal::recover(options) {
            Err(RecoverError::InUse { .. }) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

fn refused(options: &JournalOptions) -> RecoverError {
    match recover(options) {
        Ok(_) => panic!("this journal should have been refused"),
        Err(error) => error,
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

#[test]
fn what_goes_in_comes_out_by_either_backend() {
    for backend in [Backend::Auto, Backend::Pwrite] {
        let place = Place::new();
        let options = JournalOptions { backend, ..place.options() };
        let (mut writer, flusher) = recover(&options).unwrap().start(epoch(1)).unwrap();
        if let Some(why) = flusher.status().fallback() {
            eprintln!("no io_uring here: {why}");
        }
        append_all(&mut writer, 1..=5_000);
        assert_eq!(flusher.shutdown().unwrap(), 5_000);
        assert_eq!((writer.durable_seq(), writer.last_seq()), (5_000, 5_000));
        assert!(writer.status().segments() > 5 && writer.status().degraded().is_none());
        drop(writer);
        let recovered = recover(&options).unwrap();
        assert_eq!((recovered.drained(), recovered.notes()), (0, &[][..]));
        assert_eq!(check_records(&recovered, 5_000), [1]);
    }
}

#[test]
fn an_empty_journal_has_nothing_in_it() {
    let place = Place::new();
    let recovered = place.recover();
    assert_eq!((recovered.last_seq(), recovered.term()), (0, 0));
    assert!(check_records(&recovered, 0).is_empty());
}

#[test]
fn decisions_become_durable_by_themselves() {
    let place = Place::new();
    let (mut writer, _flusher) = place.start(1);
    append_all(&mut writer, 1..=10);
    let deadline = Instant::now() + Duration::from_secs(20);
    while writer.durable_seq() < 10 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(writer.durable_seq(), 10);
}

#[test]
fn a_full_ring_says_so_loses_nothing_and_room_warns_before() {
    let place = Place::new();
    let (mut writer, flusher) = place.start_unflushed(1);
    let mut seq = 0;
    loop {
        let room = writer.room(1);
        match append(&mut writer, seq + 1) {
            Ok(()) => seq += 1,
            Err(Full) => {
                assert!(!room);
                break;
            }
        }
    }
    assert!(seq > 100, "{seq}");
    assert_eq!(append(&mut writer, seq + 1), Err(Full));
    drop((writer, flusher));
    check_records(&place.recover(), seq);
}

#[test]
fn terms_follow_each_other_through_shutdowns_and_crashes() {
    let place = Place::new();
    let mut last = 0;
    for run in 1..=6 {
        let recovered = place.recover();
        assert_eq!(u64::from(recovered.term()), run - 1);
        assert_eq!(check_records(&recovered, last), (1..run).collect::<Vec<_>>());
        let crash = run % 2 == 0;
        drop(recovered);
        let (mut writer, flusher) = if crash { place.start_unflushed(run) } else { place.start(run) };
        append_all(&mut writer, last + 1..=last + 40);
        last += 40;
        match crash {
            // As if killed: the frames are only in the ring.
            true => drop(flusher),
            false => assert_eq!(flusher.shutdown().unwrap(), last),
        }
    }
    let recovered = place.recover();
    assert_eq!(recovered.drained(), 40, "{:?}", recovered.notes());
    assert_eq!(check_records(&recovered, last), [1, 2, 3, 4, 5, 6]);
    let infos = Reader::open(place.dir.path()).unwrap().segments().unwrap();
    assert!(infos.iter().any(|info| info.recovered) && infos.is_sorted_by_key(|info| info.term));
}

#[test]
fn a_start_gives_back_what_the_last_run_did_not_use() {
    let place = Place::new();
    for run in 0..5 {
        let (mut writer, flusher) = place.start(run);
        append_all(&mut writer, run * 3 + 1..=run * 3 + 3);
        drop(writer);
        flusher.shutdown().unwrap();
    }
    let lengths: Vec<u64> = place.segments().iter().map(|path| path.metadata().unwrap().len()).collect();
    assert_eq!(lengths.len(), 5);
    assert!(lengths[..4].iter().all(|length| *length < 16 << 10), "{lengths:?}");
    assert_eq!(check_records(&place.recover(), 15), [0, 1, 2, 3, 4]);
}

#[test]
fn a_recovery_that_is_interrupted_takes_the_ring_again() {
    let place = Place::new();
    let (mut writer, flusher) = place.start_unflushed(1);
    append_all(&mut writer, 1..=60);
    drop((writer, flusher));
    let recovered = place.recover();
    assert_eq!(recovered.drained(), 60);
    drop(recovered);
    // The ring is still there, and so is the recovery segment: nothing may be taken twice.
    let recovered = place.recover();
    assert_eq!((recovered.drained(), recovered.term()), (0, 1));
    assert_eq!(check_records(&recovered, 60), [1]);
    drop(recovered);
    // Without the recovery segment, as if the crash had come before it was in place: taken again.
    std::fs::remove_file(place.segments().pop().unwrap()).unwrap();
    assert_eq!(check_records(&place.recover(), 60), [1]);
}

/// A journal whose last batch holds decisions 31..=40, alone; returns the last segment and where the batch starts.
fn two_batches(place: &Place) -> (PathBuf, u64) {
    let (mut writer, flusher) = place.start(1);
    append_all(&mut writer, 1..=30);
    assert_eq!(flusher.shutdown().unwrap(), 30);
    drop(writer);
    // A second run, so that the last batch is exactly the last ten decisions.
    let (mut writer, flusher) = place.start_unflushed(2);
    append_all(&mut writer, 31..=40);
    assert_eq!(flusher.shutdown().unwrap(), 40);
    assert_eq!(writer.status().batches(), 2);
    (place.segments().pop().unwrap(), 2 * 4096)
}

#[test]
fn an_end_torn_at_any_byte_is_left_behind_and_nothing_before_it() {
    let place = Place::new();
    let (segment, start) = two_batches(&place);
    let whole = std::fs::read(&segment).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    assert!(end > start + 3_000);
    place.lose_power();
    check_records(&place.recover(), 40);
    let restore = || std::fs::write(&segment, &whole).unwrap();
    for offset in start..end.next_multiple_of(4096) {
        flip(&segment, offset);
        let recovered = place.recover();
        check_records(&recovered, 30);
        let [torn, no_ring] = recovered.notes() else { panic!("{offset}: {:?}", recovered.notes()) };
        assert!(torn.contains("did not finish") && no_ring.contains("there is no ring"), "{torn} {no_ring}");
        drop(recovered);
        restore();
    }
    for length in start..end {
        OpenOptions::new().write(true).open(&segment).unwrap().set_len(length).unwrap();
        check_records(&place.recover(), 30);
        restore();
        if length % 13 != 0 {
            continue;
        }
        let mut torn = whole.clone();
        torn[length as usize..].fill(0);
        std::fs::write(&segment, &torn).unwrap();
        check_records(&place.recover(), 30);
        restore();
    }
    // The run after a torn end goes on from there, and the journal stays readable.
    flip(&segment, start + 500);
    let (mut writer, flusher) = place.start(3);
    append_all(&mut writer, 31..=35);
    assert_eq!(flusher.shutdown().unwrap(), 35);
    drop(writer);
    assert_eq!(check_records(&place.recover(), 35), [1, 2, 3]);
    // Even if what was torn becomes whole again behind the end that was recorded.
    flip(&segment, start + 500);
    assert_eq!(check_records(&place.recover(), 35), [1, 2, 3]);
}

#[test]
fn an_end_that_the_ring_knows_was_durable_is_rot() {
    let place = Place::new();
    let (segment, start) = two_batches(&place);
    for offset in (start..start + 4096).step_by(97) {
        flip(&segment, offset);
        let error = refused(&place.options());
        assert!(
            matches!(&error, RecoverError::Rot { path, seq: Some(30), .. } if *path == segment),
            "{error}"
        );
        flip(&segment, offset);
    }
    std::fs::remove_file(&segment).unwrap();
    assert!(matches!(refused(&place.options()), RecoverError::MissingSegment { path } if path == segment));
}

#[test]
fn rot_before_the_end_is_found_and_told() {
    let place = Place::new();
    let (mut writer, flusher) = place.start(1);
    append_all(&mut writer, 1..=2_000);
    flusher.shutdown().unwrap();
    drop(writer);
    place.lose_power();
    let segments = place.segments();
    assert!(segments.len() > 5);
    for (index, segment) in segments.iter().enumerate() {
        let used = Reader::open(place.dir.path()).unwrap().segments().unwrap()[index].bytes_used;
        let last = index + 1 == segments.len();
        // The last segment's last batch might be torn as well as rotten: only its header block is sure here.
        let until = if last { 4096 } else { used };
        for offset in (0..until).step_by(509) {
            flip(segment, offset);
            let error = refused(&place.options());
            let RecoverError::Rot { path, .. } = &error else { panic!("{error}") };
            assert_eq!(path, segment, "{error}");
            assert!(error.to_string().contains("Restore this file from a copy"), "{error}");
            assert!(Reader::open(place.dir.path()).unwrap().segments().is_err());
            flip(segment, offset);
        }
    }
    check_records(&place.recover(), 2_000);
    let (third, aside) = (&segments[2], place.dir.path().join("aside"));
    std::fs::rename(third, &aside).unwrap();
    assert!(matches!(refused(&place.options()), RecoverError::MissingSegment { path } if path == *third));
    std::fs::rename(&aside, third).unwrap();
    std::fs::copy(third, &segments[3]).unwrap();
    assert!(matches!(refused(&place.options()), RecoverError::Rot { .. }));
}

#[test]
fn a_batch_missing_inside_the_last_segment_is_rot_even_without_a_ring() {
    let place = Place::new();
    let (segment, start) = two_batches(&place);
    place.lose_power();
    let zeros = [0; 4096];
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    // The epoch's batch is gone, the decisions behind it are there.
    file.write_all_at(&zeros, start - 4096).unwrap();
    let error = refused(&place.options());
    assert!(matches!(error, RecoverError::Rot { offset: 4096, seq: Some(30), .. }), "{error}");
}

#[test]
fn two_appliances_cannot_share_a_journal_or_a_ring() {
    let place = Place::new();
    let (writer, flusher) = place.start(1);
    assert!(matches!(refused(&place.options()), RecoverError::InUse { .. }));
    let other = TempDir::new().unwrap();
    let options = small(other.path(), place.runtime.path());
    assert!(matches!(refused(&options), RecoverError::InUse { .. }));
    drop((writer, flusher));
    drop(place.recover());
}

#[test]
fn a_ring_with_decisions_of_another_journal_is_not_taken_and_not_lost() {
    let place = Place::new();
    let (mut writer, flusher) = place.start_unflushed(1);
    append_all(&mut writer, 1..=3);
    drop((writer, flusher));
    let other = TempDir::new().unwrap();
    let error = refused(&small(other.path(), place.runtime.path()));
    assert!(matches!(error, RecoverError::ForeignRing { .. }), "{error}");
    check_records(&place.recover(), 3);
}

#[test]
fn another_format_version_is_refused_at_the_header_and_nothing_is_touched() {
    let place = Place::new();
    let (mut writer, flusher) = place.start_unflushed(1);
    append_all(&mut writer, 1..=3);
    drop((writer, flusher));
    const VERSION: u64 = 8;
    for path in [place.segments().remove(0), place.runtime.path().join("journal.ring")] {
        flip(&path, VERSION);
        let error = refused(&small(place.dir.path(), place.runtime.path())).to_string();
        assert!(error.contains("version"), "{error}");
        flip(&path, VERSION);
    }
    check_records(&place.recover(), 3);
}

#[test]
fn a_damaged_ring_loses_only_what_lies_behind_the_damage() {
    let place = Place::new();
    let (mut writer, flusher) = place.start_unflushed(1);
    append_all(&mut writer, 1..=50);
    drop((writer, flusher));
    let ring = place.runtime.path().join("journal.ring");
    let whole = std::fs::read(&ring).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // Behind the entry of the epoch, which was flushed.
    for offset in (4096 + 240..end).step_by(331) {
        // Never in the directory itself: a recovery completes the journal.
        let (dir, runtime) = (TempDir::new().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        copy(place.dir.path(), dir.path());
        std::fs::write(runtime.path().join("journal.ring"), &whole).unwrap();
        flip(&runtime.path().join("journal.ring"), offset as u64);
        let recovered = recover(&small(dir.path(), runtime.path())).unwrap();
        let last = recovered.last_seq();
        assert!(last < 50 && recovered.notes().iter().any(|note| note.contains("damaged")), "{offset}");
        check_records(&recovered, last);
    }
    for offset in (0..64).chain([4096]) {
        let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::write(runtime.path().join("journal.ring"), &whole).unwrap();
        flip(&runtime.path().join("journal.ring"), offset);
        let result = recover(&small(place.dir.path(), runtime.path()));
        assert!(offset == 4096 || matches!(result, Err(RecoverError::BadRing { .. })), "{offset}");
        if offset == 4096 {
            // The epoch's entry was flushed: nobody looks at it again.
            check_records(&result.unwrap(), 50);
        }
    }
}

#[test]
fn a_reader_sees_a_live_journal_to_its_end_without_touching_it() {
    let place = Place::new();
    let (mut writer, flusher) = place.start(1);
    for round in 1..=30_u64 {
        append_all(&mut writer, round * 50 - 49..=round * 50);
        let reader = Reader::open_with_ring(place.dir.path(), place.runtime.path()).unwrap();
        let mut next = 1;
        let summary = reader
            .for_each(|frame| {
                if let Record::Decision(decision) = frame.record {
                    assert_eq!((decision.outcome.seq, frame.head.epoch), (next, 1));
                    assert_eq!(decision.input.words, words(next));
                    next += 1;
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!((summary.last_seq, summary.ring_damage), (round * 50, None));
    }
    flusher.shutdown().unwrap();
    let reader = Reader::open(place.dir.path()).unwrap();
    let infos = reader.segments().unwrap();
    let last = infos.last().unwrap();
    assert_eq!((last.last_seq, &last.state), (Some(1_500), &SegmentState::Open));
    assert!(infos.iter().rev().skip(1).all(|info| info.state == SegmentState::Sealed));
    assert_eq!(reader.epochs().unwrap(), [(0, epoch(1))]);
}

#[test]
fn a_reader_takes_no_journal_in_full_flight_for_a_damaged_one() {
    const LAST: u64 = 60_000;
    let place = Place::new();
    // Large enough that the ring moves on while it is copied; then the copy ends in what an earlier lap left.
    let options = JournalOptions { ring_bytes: 1 << 20, segment_bytes: 1 << 20, ..place.options() };
    let (mut writer, flusher) = recover(&options).unwrap().start(epoch(1)).unwrap();
    let mut read = 0;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| append_all(&mut writer, 1..=LAST));
        while !writer.is_finished() {
            let reader = Reader::open_with_ring(place.dir.path(), place.runtime.path()).unwrap();
            let mut next = 1;
            let summary = reader.for_each(|frame| {
                if let Record::Decision(decision) = frame.record {
                    assert_eq!(decision.outcome.seq, next);
                    next += 1;
                }
                ControlFlow::Continue(())
            });
            assert_eq!(summary.unwrap().ring_damage, None);
            read += 1;
        }
    });
    assert!(read > 3, "{read}");
    flusher.shutdown().unwrap();
}

/// Not a test of its own: what the killed child runs.
#[test]
fn child_appends_until_killed() {
    let Some(place) = std::env::var_os(CHILD) else { return };
    let place = PathBuf::from(place);
    let runtime = PathBuf::from(std::fs::read_to_string(place.join("runtime")).unwrap());
    let mut options = small(&place.join("journal"), &runtime);
    options.backend = Backend::Auto;
    let recovered = recover(&options).unwrap();
    let mut seq = recovered.last_seq();
    let (mut writer, _flusher) = recovered.start(epoch(1)).unwrap();
    let told = File::options().write(true).open(place.join("told")).unwrap();
    loop {
        match append(&mut writer, seq + 1) {
            Ok(()) => {
                seq += 1;
                told.write_all_at(&seq.to_le_bytes(), 0).unwrap();
            }
            Err(Full) => std::thread::yield_now(),
        }
    }
}

#[test]
fn whatever_was_committed_survives_sigkill() {
    let place = TempDir::new().unwrap();
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    std::fs::write(place.path().join("runtime"), runtime.path().to_str().unwrap()).unwrap();
    std::fs::write(place.path().join("told"), [0; 8]).unwrap();
    let told = || {
        let bytes = std::fs::read(place.path().join("told")).unwrap();
        u64::from_le_bytes(bytes.try_into().unwrap())
    };
    let mut last = 0;
    for round in 0..8_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_appends_until_killed", "--nocapture"])
            .env(CHILD, place.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while told() < last + 500 && Instant::now() < deadline && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(300 + 170 * round));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let recovered = recover(&small(&place.path().join("journal"), runtime.path())).unwrap();
        let told = told();
        last = recovered.last_seq();
        assert!(told >= 500 && (told..=told + 1).contains(&last), "told {told}, recovered {last}");
        assert_eq!(check_records(&recovered, last).len() as u64, round + 1);
    }
}

#[test]
fn policies_are_kept_beside_the_journal() {
    let dir = TempDir::new().unwrap();
    let hash: [u8; 32] = std::array::from_fn(|i| i as u8 + 0xa0);
    let path = store_policy(dir.path(), &hash, b"archive").unwrap();
    assert_eq!(path, dir.path().join("policy-a0a1a2a3a4a5a6a7.tgp"));
    assert_eq!(path, policy_path(dir.path(), &hash));
    assert_eq!(store_policy(dir.path(), &hash, b"archive").unwrap(), path);
    assert_eq!(std::fs::read(path).unwrap(), b"archive");
}

#[test]
fn sizes_that_do_not_fit_are_refused_with_the_bound() {
    let place = Place::new();
    let check = |edit: &dyn Fn(&mut JournalOptions), told: &str| {
        let mut options = place.options();
        edit(&mut options);
        let error = refused(&options).to_string();
        assert!(error.contains(told), "{error}");
    };
    check(&|options| options.ring_bytes = 1, "ring_bytes is 1; it must be 65536 to 4294967296");
    check(&|options| options.segment_bytes = 1, "segment_bytes is 1; it must be 8192 to 4294967296");
    check(&|options| options.batch_bytes_max = 1, "batch_bytes_max is 1; it must be 4096 to 67108864");
    check(&|options| options.batch_bytes_max = 64 << 10, "does not fit a segment of 65536 bytes");
}
