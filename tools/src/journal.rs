//! `tollctl journal`: what a journal holds, whether it is whole, whether it replays to the same verdicts; its indexes.
//!
//! All read without a lock, so they work beside a running appliance: they end where it was when they began.
//! Keys are printed as the tokens they are, in hexadecimal; a journal never holds anything else.

use anyhow::{Context, bail};
use clap::Subcommand;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tollgate::engine::lists::Edit;
use tollgate::engine::orders::Order;
use tollgate::engine::program::SEMANTICS_VERSION;
use tollgate::engine::units::Time;
use tollgate::engine::wire::{self, Admission};
use tollgate::engine::{Clock, Engine, Limits, Loaded, Step, first_word};
use tollgate::journal::{Decision, Epoch, Frame, Ordered, Reader, Record, SegmentInfo, SegmentState};
use tollgate::policy::archive;
use tollgate::token::Tokenizer;

/// What to do with a journal.
#[derive(Debug, Subcommand)]
pub(crate) enum Args {
    /// List the segments: sequence numbers, times, bytes, state.
    Ls {
        /// The journal's directory.
        dir: PathBuf,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Check that the journal is whole and, with a policy, that its decisions come out the same again.
    Verify {
        /// The journal's directory.
        dir: PathBuf,
        /// A policy, as source or as the archive stored beside the journal (`policy-….tgp`): every decision that
        /// it made is decided again and compared.
        #[arg(long)]
        policy: Option<PathBuf>,
        /// The appliance's runtime directory: includes what only the ring holds.
        #[arg(long)]
        runtime: Option<PathBuf>,
    },
    /// Make the indexes of sealed segments that are missing or damaged, so that `resolve` finds them there.
    Index {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// Print records.
    Cat {
        /// The journal's directory.
        dir: PathBuf,
        /// The first sequence number.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// The last sequence number.
        #[arg(long, default_value_t = u64::MAX)]
        to: u64,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        /// The appliance's runtime directory: includes what only the ring holds.
        #[arg(long)]
        runtime: Option<PathBuf>,
    },
}

/// Does it, to standard output.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match args {
        Args::Ls { dir, json } => ls(dir, *json, &mut out),
        Args::Verify { dir, policy, runtime } => verify(dir, policy.as_deref(), runtime.as_deref(), &mut out),
        Args::Index { dir } => index(dir, &mut out),
        Args::Cat { dir, from, to, json, runtime } => {
            cat(&open(dir, runtime.as_deref())?, *from, *to, *json, &mut out)
        }
    };
    let done = done.and_then(|()| Ok(out.flush()?));
    match done {
        // Whoever reads, `head` for one, has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        done => done,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The journal in this directory; an error when there is none.
pub(crate) fn open(dir: &Path, runtime: Option<&Path>) -> anyhow::Result<Reader> {
    let reader = match runtime {
        Some(runtime) if !runtime.join("journal.ring").exists() => bail!(
            "{} holds no journal.ring: check [journal] runtime_dir, or leave --runtime out after a restart of the machine",
            runtime.display()
        ),
        Some(runtime) => Reader::open_with_ring(dir, runtime)?,
        None => Reader::open(dir)?,
    };
    if reader.is_empty() {
        bail!("{} holds no segments of a journal: check [journal] dir", dir.display());
    }
    Ok(reader)
}

fn ls(dir: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let infos = open(dir, None)?.segments()?;
    if !json {
        writeln!(
            out,
            "{:>8} {:>5} {:>12} {:>12}  {:<27} {:<27} {:>8} {:>12} {:>12}  state",
            "segment", "term", "first seq", "last seq", "first", "last", "batches", "used", "bytes"
        )?;
    }
    for info in &infos {
        if json {
            writeln!(out, "{}", segment_json(info))?;
            continue;
        }
        let seq = |seq: Option<u64>| seq.map_or("-".to_owned(), |seq| seq.to_string());
        let when = |time: Option<Time>| time.map_or("-".to_owned(), utc);
        writeln!(
            out,
            "{:>8} {:>5} {:>12} {:>12}  {:<27} {:<27} {:>8} {:>12} {:>12}  {}",
            info.number,
            info.term,
            seq(info.first_seq),
            seq(info.last_seq),
            when(info.first_received),
            when(info.last_received),
            info.batches,
            info.bytes_used,
            info.bytes,
            state(info)
        )?;
    }
    Ok(())
}

fn state(info: &SegmentInfo) -> String {
    let mut told = match &info.state {
        SegmentState::Sealed => "sealed".to_owned(),
        SegmentState::Open => "open".to_owned(),
        SegmentState::Torn { offset, what } => format!("unfinished write at byte {offset}: {what}"),
    };
    if info.recovered {
        told.push_str(", recovered from a ring");
    }
    told
}

fn segment_json(info: &SegmentInfo) -> serde_json::Value {
    serde_json::json!({
        "segment": info.number,
        "path": info.path.display().to_string(),
        "term": info.term,
        "recovered": info.recovered,
        "first_seq": info.first_seq,
        "last_seq": info.last_seq,
        "first_received": info.first_received.map(utc),
        "last_received": info.last_received.map(utc),
        "epochs": info.epochs,
        "batches": info.batches,
        "bytes_used": info.bytes_used,
        "bytes": info.bytes,
        "state": state(info),
    })
}

fn verify(
    dir: &Path,
    policy: Option<&Path>,
    runtime: Option<&Path>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let reader = open(dir, runtime)?;
    let mut digest = 0;
    let mut epochs = Vec::new();
    let summary = reader.for_each(|frame| {
        match frame.record {
            Record::Epoch(epoch) => epochs.push((frame.head.seq, epoch)),
            Record::Order(_) => {}
            Record::Decision(decision) => digest = decision.digest,
        }
        ControlFlow::Continue(())
    })?;
    writeln!(out, "structure   whole: chain, checksums and sequence numbers, {} epochs", epochs.len())?;
    if let Some((offset, what)) = &summary.torn {
        writeln!(out, "end         an unfinished write at byte {offset} of the last segment: {what}")?;
    }
    if runtime.is_some() {
        writeln!(out, "ring        {} frames that are only there", summary.ring_frames)?;
    }
    if let Some(policy) = policy {
        let loaded = load_policy(policy)?;
        replay_all(&reader, &loaded, &epochs, out)?;
    }
    writeln!(out, "last seq    {} (durable {})", summary.last_seq, summary.durable_seq)?;
    writeln!(out, "digest      {digest:016x}")?;
    if let Some((offset, what)) = summary.ring_damage {
        bail!(
            "the ring is damaged at byte {offset}: {what}; decisions committed after {} and not yet durable cannot be read",
            summary.last_seq
        );
    }
    Ok(())
}

fn index(dir: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let searched = open(dir, None)?.make_indexes()?;
    for note in &searched.notes {
        writeln!(out, "{note}")?;
    }
    writeln!(out, "{} indexes made", searched.made)?;
    Ok(())
}

/// A policy from its archive (`.tgp`) or its source.
fn load_policy(path: &Path) -> anyhow::Result<Loaded> {
    if path.extension().is_none_or(|extension| extension != "tgp") {
        return crate::policy::load(path, &Tokenizer::default());
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    archive::open(bytes).with_context(|| format!("{} is no policy", path.display()))
}

/// Decides again what this policy decided, once for each set of limits it ran with; everything else is taken in as
/// recorded, as a restart would.
fn replay_all(
    reader: &Reader,
    loaded: &Loaded,
    epochs: &[(u64, Epoch)],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let hash = loaded.hash();
    let mut limits: Vec<Limits> = Vec::new();
    for (seq, epoch) in epochs {
        if epoch.semantics != SEMANTICS_VERSION {
            bail!(
                "after decision {seq} the journal was written by engine semantics version {}; this build has version \
                 {SEMANTICS_VERSION}: verify it with the build that wrote it",
                epoch.semantics
            );
        }
        if epoch.layout_hash != loaded.program().layout_hash {
            bail!(
                "after decision {seq} the journal was written with other event layouts than this policy's: verify it \
                 with a policy that declares its events as they were (the archive is policy-{}.tgp)",
                hex(&epoch.policy_hash[..8])
            );
        }
        if epoch.policy_hash == hash && !limits.contains(&epoch.limits) {
            limits.push(epoch.limits);
        }
    }
    if limits.is_empty() {
        bail!(
            "this policy (hash {}) decided nothing in this journal; the archives beside it are policy-HASH.tgp",
            hex(&hash[..8])
        );
    }
    let (mut proved, mut taken) = (0, 0);
    for limits in limits {
        let mut engine =
            Engine::new(loaded.clone(), &limits).map_err(|error| anyhow::anyhow!("{}", error.message))?;
        let (mut same, mut failed) = (false, None);
        let mut before = [0; 32];
        taken = 0;
        reader.for_each(|frame| {
            match &frame.record {
                Record::Epoch(epoch) => {
                    same = epoch.policy_hash == hash && epoch.limits == limits;
                    if epoch.took_over {
                        engine.wake(Some(first_word(&before)));
                    } else if epoch.policy_hash == hash {
                        engine.wake(None);
                    }
                    before = epoch.policy_hash;
                }
                Record::Order(ordered) => _ = engine.order(&ordered.order, ordered.given),
                Record::Decision(decision) if same => match compare(&mut engine, decision) {
                    Ok(()) => proved += 1,
                    Err(difference) => {
                        failed = Some(difference);
                        return ControlFlow::Break(());
                    }
                },
                Record::Decision(decision) => {
                    engine.adopt(&decision.input, decision.outcome, decision.digest);
                    taken += 1;
                }
            }
            ControlFlow::Continue(())
        })?;
        if let Some(difference) = failed {
            bail!("{difference}");
        }
    }
    writeln!(out, "replay      {proved} decisions decided again, all equal; {taken} taken in as recorded")?;
    Ok(())
}

fn compare(engine: &mut Engine, decision: &Decision<'_>) -> Result<(), String> {
    let step = engine.step(&decision.input);
    let digest = engine.digest();
    if step == Step::Decided(decision.outcome) && digest == decision.digest {
        return Ok(());
    }
    let replayed = match step {
        Step::Decided(outcome) => format!("{outcome:?} with digest {digest:016x}"),
        Step::Repeated(outcome) => format!("a duplicate of decision {}", outcome.seq),
        Step::Refused(refusal) => format!("a refusal: {refusal}"),
    };
    Err(format!(
        "decision {} differs: the journal has {:?} with digest {:016x}; deciding it again gives {replayed}",
        decision.outcome.seq, decision.outcome, decision.digest
    ))
}

fn cat(reader: &Reader, from: u64, to: u64, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let mut line = String::new();
    let mut failed = None;
    // A decision's frame names its epoch, and that the policy.
    let mut policy = String::new();
    reader.for_each(|frame| {
        let seq = frame.head.seq;
        if let Record::Epoch(epoch) = &frame.record {
            policy = hex(&epoch.policy_hash);
        }
        let (is_before, is_after) = match frame.record {
            // An epoch carries the number before it; it is shown with the decisions that it governs.
            Record::Epoch(_) | Record::Order(_) => (seq + 1 < from, seq >= to),
            Record::Decision(_) => (seq < from, seq > to),
        };
        if is_after {
            return ControlFlow::Break(());
        }
        if is_before {
            return ControlFlow::Continue(());
        }
        line.clear();
        let told = if json {
            write!(line, "{}", record_json(frame, &policy))
        } else {
            tell(&mut line, frame, &policy)
        };
        match told.map_err(anyhow::Error::from).and_then(|()| Ok(writeln!(out, "{line}")?)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// One record as a line of text.
fn tell(line: &mut String, frame: &Frame<'_>, policy: &str) -> std::fmt::Result {
    match &frame.record {
        Record::Epoch(epoch) => {
            let Epoch { semantics, policy_hash, layout_hash, limits, started, took_over } = epoch;
            write!(
                line,
                "epoch {} after {} term {} {} {} semantics {semantics} policy {} layout {} clock {} keys_max {} \
                 rows_per_key_max {} spill_bytes_max {} dedup_entries_max {} lateness_us {} skew_us {} jump_us {} hash_seed {:016x}",
                frame.head.epoch,
                frame.head.seq,
                frame.head.term,
                if *took_over { "took_over" } else { "started" },
                utc(*started),
                hex(&policy_hash[..8]),
                hex(&layout_hash[..8]),
                clock(limits.clock),
                limits.keys_max,
                limits.rows_per_key_max,
                limits.spill_bytes_max,
                limits.dedup_entries_max,
                limits.lateness_us,
                limits.skew_us,
                limits.jump_us,
                limits.hash_seed
            )
        }
        Record::Order(Ordered { order, given, note }) => {
            let head = &frame.head;
            write!(
                line,
                "order {} after {} given {} {} {note}",
                head.epoch,
                head.seq,
                utc(*given),
                order_text(order)
            )
        }
        Record::Decision(Decision { input, outcome, digest }) => {
            write!(
                line,
                "{} {} kind {} principal {} {} {} score {} flags {} reasons {} revision {} policy {} digest {digest:016x}",
                outcome.seq,
                utc(input.received),
                input.kind,
                input.principal,
                admission(input.admission),
                outcome.action.word(),
                outcome.score,
                or_dash(flags(outcome.flags).join("+")),
                or_dash(reasons(&outcome.reasons).iter().map(u16::to_string).collect::<Vec<_>>().join(",")),
                outcome.policy_revision,
                policy.get(..16).unwrap_or(policy)
            )?;
            if input.words.len() >= wire::HEADER_WORDS {
                let id = wire::event_id(input.words).0;
                let time = utc(wire::event_time(input.words));
                write!(line, " id {:016x}{:016x} time {time}", id[1], id[0])?;
            }
            line.push_str(" words");
            input.words.iter().try_for_each(|word| write!(line, " {word:016x}"))
        }
    }
}

/// One record as a JSON object; 64-bit words are hexadecimal text, as JSON's numbers would round them.
fn record_json(frame: &Frame<'_>, policy: &str) -> serde_json::Value {
    let head = &frame.head;
    match &frame.record {
        Record::Epoch(epoch) => serde_json::json!({
            "epoch": head.epoch,
            "after_seq": head.seq,
            "term": head.term,
            "started": utc(epoch.started),
            "took_over": epoch.took_over,
            "semantics": epoch.semantics,
            "policy_hash": hex(&epoch.policy_hash),
            "layout_hash": hex(&epoch.layout_hash),
            "limits": {
                "keys_max": epoch.limits.keys_max,
                "rows_per_key_max": epoch.limits.rows_per_key_max,
                "spill_bytes_max": epoch.limits.spill_bytes_max,
                "dedup_entries_max": epoch.limits.dedup_entries_max,
                "lateness_us": epoch.limits.lateness_us,
                "skew_us": epoch.limits.skew_us,
                "jump_us": epoch.limits.jump_us,
                "clock": clock(epoch.limits.clock),
                "hash_seed": format!("{:016x}", epoch.limits.hash_seed),
            },
        }),
        Record::Order(Ordered { order, given, note }) => serde_json::json!({
            "order": head.epoch,
            "after_seq": head.seq,
            "given": utc(*given),
            "what": order_text(order),
            "note": serde_json::from_str::<serde_json::Value>(note).unwrap_or_else(|_| (*note).into()),
        }),
        Record::Decision(Decision { input, outcome, digest }) => {
            let header = input.words.len() >= wire::HEADER_WORDS;
            let id = header.then(|| wire::event_id(input.words).0);
            serde_json::json!({
                "seq": outcome.seq,
                "epoch": head.epoch,
                "durable_seq": head.durable_seq,
                "received": utc(input.received),
                "kind": input.kind,
                "principal": input.principal,
                "admission": admission(input.admission),
                "action": outcome.action.word(),
                "score": outcome.score,
                "flags": flags(outcome.flags),
                "reasons": reasons(&outcome.reasons),
                "policy_revision": outcome.policy_revision,
                "policy_hash": policy,
                "digest": format!("{digest:016x}"),
                "id": id.map(|id| format!("{:016x}{:016x}", id[1], id[0])),
                "time": header.then(|| utc(wire::event_time(input.words))),
                "words": input.words.iter().map(|word| format!("{word:016x}")).collect::<Vec<_>>(),
            })
        }
    }
}

fn order_text(order: &Order) -> String {
    match order {
        Order::KillRule { rule, until } => {
            format!("kill rule {:016x}{:016x} until {}", rule[1], rule[0], utc(*until))
        }
        Order::KillAll { action, until } => {
            format!("answer all with {} until {}", action.word(), utc(*until))
        }
        Order::List { list, edit, until, .. } => {
            let what = match edit {
                Edit::Add => "add to",
                Edit::Remove => "remove from",
                Edit::Forget => "forget what was edited in",
            };
            let until = if until.0 == i64::MAX { String::new() } else { format!(" until {}", utc(*until)) };
            format!("{what} list {:016x}{:016x}{until}", list[1], list[0])
        }
    }
}

fn clock(clock: Clock) -> &'static str {
    match clock {
        Clock::Wall => "wall",
        Clock::Event => "event",
    }
}

fn admission(admission: Admission) -> &'static str {
    match admission {
        Admission::Normal => "normal",
        Admission::Late => "late",
        Admission::Shed => "shed",
    }
}

/// `-` for nothing, so that a line always has the same words.
fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Names of the bits of a verdict's flags.
fn flags(flags: u8) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = flags;
    for (bit, name) in [
        (wire::FLAG_DUPLICATE, "duplicate"),
        (wire::FLAG_REFUSED, "refused"),
        (wire::FLAG_FALLBACK, "fallback"),
        (wire::FLAG_INEXACT, "inexact"),
        (wire::FLAG_PUBLISHED_LATE, "published_late"),
        (wire::FLAG_ACK, "ack"),
        (wire::FLAG_ALERT, "alert"),
    ] {
        if rest & bit != 0 {
            names.push(name.to_owned());
            rest &= !bit;
        }
    }
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names
}

fn reasons(reasons: &[u16; 4]) -> Vec<u16> {
    reasons.iter().copied().filter(|reason| *reason != 0).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// UTC with microseconds, `2026-11-21T22:15:00.000001Z`, by the civil calendar of whole days since 1970.
fn utc(time: Time) -> String {
    const DAY: i64 = 86_400_000_000;
    let (days, micros) = (time.0.div_euclid(DAY), time.0.rem_euclid(DAY));
    // Years begin in March, so that the leap day is the last: 400 years are 146 097 days.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let seconds = micros / 1_000_000;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        micros % 1_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate::engine::units::Action;
    use tollgate::engine::wire::{Input, Outcome};
    use tollgate::journal::{Backend, Journal, JournalOptions};

    #[test]
    fn times_are_civil() {
        for (micros, told) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_795_300_199_999_999, "2026-11-21T22:29:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(utc(Time(micros)), told);
        }
    }

    #[test]
    fn a_directory_without_a_journal_is_not_a_whole_journal() {
        let empty = tempfile::tempdir().unwrap();
        let said =
            |runtime| open(empty.path(), runtime).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said(None).contains("holds no segments of a journal"));
        assert!(said(Some(empty.path())).contains("holds no journal.ring"));
    }

    /// Three decisions, the last of them only in the ring.
    fn journal(dir: &Path, runtime: &Path) {
        let mut options = JournalOptions::new(dir, runtime);
        (options.ring_bytes, options.segment_bytes, options.batch_bytes_max) = (1 << 16, 1 << 16, 1 << 14);
        options.backend = Backend::Pwrite;
        let epoch = Epoch {
            semantics: SEMANTICS_VERSION,
            policy_hash: [0xab; 32],
            layout_hash: [0xcd; 32],
            limits: Limits::default(),
            started: Time(0),
            took_over: false,
        };
        let append = |writer: &mut tollgate::journal::Writer, seq: u64| {
            let words = [0xfeed, 0xbeef, seq * 1_000_000, 0, 0x1234];
            let input = Input {
                principal: 7,
                kind: 2,
                admission: Admission::Late,
                received: Time(seq as i64 * 2_000_000),
                words: &words,
            };
            let outcome = Outcome {
                seq,
                score: 90,
                action: Action::Block,
                flags: wire::FLAG_FALLBACK | wire::FLAG_INEXACT,
                policy_revision: 13,
                reasons: [17, 18, 0, 0],
            };
            writer.append(&Decision { input, outcome, digest: seq + 0xd000 }).unwrap();
        };
        let (mut writer, flusher) = Journal::recover(&options).unwrap().start(epoch).unwrap();
        append(&mut writer, 1);
        append(&mut writer, 2);
        flusher.shutdown().unwrap();
        append(&mut writer, 3);
    }

    #[test]
    fn a_journal_is_listed_printed_and_verified() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        journal(dir.path(), runtime.path());
        let told = |run: &dyn Fn(&mut Vec<u8>) -> anyhow::Result<()>| {
            let mut out = Vec::new();
            run(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let reader = open(dir.path(), None).unwrap();
        let with_ring = open(dir.path(), Some(runtime.path())).unwrap();

        let list = told(&|out| ls(dir.path(), false, out));
        assert_eq!(list.lines().count(), 2);
        assert!(list.contains("1970-01-01T00:00:04.000000Z") && list.trim_end().ends_with("open"), "{list}");
        let list = told(&|out| ls(dir.path(), true, out));
        let object: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!((&object["first_seq"], &object["last_seq"]), (&1.into(), &2.into()));

        let all = told(&|out| cat(&with_ring, 0, u64::MAX, false, out));
        assert_eq!(all.lines().count(), 4);
        assert!(all.starts_with("epoch 1 after 0 term 1 started 1970-01-01T00:00:00.000000Z"), "{all}");
        assert!(all.ends_with(
            "3 1970-01-01T00:00:06.000000Z kind 2 principal 7 late block score 90 flags fallback+inexact reasons 17,18 \
             revision 13 policy abababababababab digest 000000000000d003 id 000000000000beef000000000000feed time 1970-01-01T00:00:03.000000Z \
             words 000000000000feed 000000000000beef 00000000002dc6c0 0000000000000000 0000000000001234\n"
        ), "{all}");
        let second = told(&|out| cat(&reader, 2, 2, true, out));
        let object: serde_json::Value = serde_json::from_str(&second).unwrap();
        assert_eq!((&object["seq"], &object["action"]), (&2.into(), &"block".into()));
        assert_eq!(object["flags"], serde_json::json!(["fallback", "inexact"]));

        let whole = told(&|out| verify(dir.path(), None, None, out));
        assert!(whole.contains("last seq    2 (durable 2)\ndigest      000000000000d002"), "{whole}");
        let whole = told(&|out| verify(dir.path(), None, Some(runtime.path()), out));
        assert!(whole.contains("ring        1 frames that are only there"), "{whole}");
        assert!(whole.contains("last seq    3 (durable 2)\ndigest      000000000000d003"), "{whole}");
    }

    #[test]
    fn a_damaged_journal_fails_to_verify_and_says_where() {
        let (dir, runtime) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        journal(dir.path(), runtime.path());
        let path = dir.path().join("00000001.tgj");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = verify(dir.path(), None, None, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("00000001.tgj is damaged at byte 0"), "{error}");
    }
}
