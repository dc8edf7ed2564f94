//! `tollctl resolve`: amendments of senders that know a payment's id and nothing else of it.
//!
//! An amendment finds the windows that counted its event by the event's time and keys. Here these are looked up in the
//! journal, and the full amendment is sent to the running appliance as one more client of its ring: the engine sees what
//! a sender that knew everything would have sent. Rows are taken in batches: each is one look-up over all segments
//! (`src/journal/find.rs`), then its amendments are sent in the order of the file.
//!
//! What became of each is written to standard output, as CSV:
//!
//! | outcome | |
//! |---|---|
//! | `amended` | sent, and taken in as decision `seq` |
//! | `repeated` | the appliance had this very amendment before, as decision `seq` |
//! | `unknown` | the journal has no event with this id |
//! | `wrong_kind` | it has, but of a kind that the amendment does not amend |
//! | `ambiguous` | two senders used the id, or one used it twice for different events |
//! | `refused` | the appliance refused the amendment |
//! | `bad` | the row cannot be read |
//!
//! The last five are unresolved. Sending a file again is safe: what was taken in is answered as repeated.

use crate::events::{Reader, STANDARD_INPUT};
use crate::fault::{Fault, Problem};
use crate::journal;
use crate::link::{Link, LinkOptions, too_long};
use crate::map::{Alone, Map, Origin};
use crate::policy;
use crate::sequence::{Amendments, Asked};
use anyhow::{Context as _, bail};
use clap::Args;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tollgate::encode::EventWords;
use tollgate::engine::Loaded;
use tollgate::engine::units::{EventId, Key};
use tollgate::engine::wire::{self, FLAG_DUPLICATE, FLAG_REFUSED, Outcome, Refusal};
use tollgate::journal::{Decision, Record};
use tollgate::os::signals::Signals;
use tollgate_ring::SendError;

/// Amendments looked up together. Bounds memory: some 80 MB, and what the look-up itself takes.
const BATCH_MAX: usize = 1 << 16;

/// Amendments read ahead of that.
const AHEAD_MAX: usize = 1 << 12;

/// How long to wait for a row before looking whether a signal came.
const TICK: Duration = Duration::from_millis(100);

/// Options of `resolve`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The amendments: .csv, .ndjson or .parquet; `-` is CSV from standard input.
    file: PathBuf,
    /// The policy that the appliance runs: it lays the events out.
    #[arg(long)]
    policy: PathBuf,
    /// Which columns are the amended event's id, the amendment's time, and its fields.
    #[arg(long)]
    map: PathBuf,
    /// The journal's directory.
    #[arg(long)]
    journal: PathBuf,
    /// The appliance's runtime directory: finds also what is not on disk yet.
    #[arg(long)]
    runtime: Option<PathBuf>,
    /// The appliance's socket.
    #[arg(long)]
    socket: PathBuf,
    /// Bytes of a request slot, as the appliance is configured.
    #[arg(long, default_value_t = 256)]
    slot_bytes: u32,
    /// Only events of this sender, by user id: for an id that two senders used.
    #[arg(long)]
    principal: Option<u32>,
    /// Take answers only when their decisions are on disk.
    #[arg(long)]
    durable: bool,
    /// Keep running: take rows as they come, from a FIFO or standard input, until its end or SIGTERM.
    #[arg(long)]
    follow: bool,
    /// The secret of the tokens; without it, the fixed one for replays.
    #[arg(long)]
    key_file: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let signals = options.follow.then(Signals::block);
    let tokenizer = policy::tokenizer(options.key_file.as_deref())?;
    let loaded = policy::load(&options.policy, &tokenizer)?;
    let map = Arc::new(Map::load_alone(&options.map, loaded.program())?);
    check_layout(&options.journal, options.runtime.as_deref(), &loaded)?;
    let link = Link::connect(
        &loaded,
        &LinkOptions {
            socket: &options.socket,
            slot_bytes: options.slot_bytes,
            durable: options.durable,
            name: "tollctl resolve",
            at_end: "may have been taken in; send them again",
        },
    )?;
    let mut resolver = Resolver {
        journal: options.journal.clone(),
        runtime: options.runtime.clone(),
        principal: options.principal,
        map: Arc::clone(&map),
        loaded: loaded.clone(),
        link,
        report: csv::Writer::from_writer(std::io::stdout()),
        noted: BTreeSet::new(),
        tally: [0; Fate::WORDS.len()],
    };
    resolver.report.write_record(["line", "id", "event", "outcome", "seq"])?;
    resolver.report.flush()?;

    let rows = read(options, loaded, map, tokenizer);
    let read = loop {
        let (batch, end) = next_batch(&rows, options.follow, signals.as_ref());
        resolver.resolve(&batch)?;
        if let Some(end) = end {
            break end;
        }
    };
    eprintln!("{}", resolver.summary());
    read?;
    match resolver.unresolved() {
        0 => Ok(()),
        count => bail!("{count} amendments were not resolved"),
    }
}

/// What comes from the thread that reads: an amendment, or the end and what brought it.
type Row = Result<Asked, Result<(), Fault>>;

/// Reads in a thread of its own, which an endless FIFO may hold for ever.
fn read(
    options: &Options,
    loaded: Loaded,
    map: Arc<Map>,
    tokenizer: tollgate::token::Tokenizer,
) -> mpsc::Receiver<Row> {
    let (sender, rows) = mpsc::sync_channel(AHEAD_MAX);
    let (file, follow) = (options.file.clone(), options.follow);
    std::thread::spawn(move || {
        let reader = match file.as_path() {
            path if follow => Reader::follow(path),
            path if path == Path::new(STANDARD_INPUT) => Reader::standard_input(),
            path => Reader::open(path),
        };
        let end = reader
            .and_then(|reader| Amendments::new(loaded, map, reader, tokenizer))
            .and_then(|amendments| amendments.each(|asked| sender.send(Ok(asked)).is_ok()));
        // Nobody listens any more when the other side has failed.
        let _ = sender.send(Err(end));
    });
    rows
}

/// The next amendments: a full batch, or with `follow` what there is once there is anything. Also the end, when it has come.
fn next_batch(
    rows: &mpsc::Receiver<Row>,
    follow: bool,
    signals: Option<&Signals>,
) -> (Vec<Asked>, Option<Result<(), Fault>>) {
    let mut batch = Vec::new();
    while batch.len() < BATCH_MAX {
        let row = match follow {
            true if batch.is_empty() => match rows.recv_timeout(TICK) {
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if signals.is_some_and(|signals| signals.wait(Duration::ZERO).is_some()) {
                        return (batch, Some(Ok(())));
                    }
                    continue;
                }
                row => row.ok(),
            },
            true => match rows.try_recv() {
                Err(mpsc::TryRecvError::Empty) => return (batch, None),
                row => row.ok(),
            },
            false => rows.recv().ok(),
        };
        match row {
            Some(Ok(asked)) => batch.push(asked),
            Some(Err(end)) => return (batch, Some(end)),
            None => panic!("the thread that reads panicked"),
        }
    }
    (batch, None)
}

/// Refuses a journal whose events are laid out otherwise; an appliance never goes on with another layout than its first.
fn check_layout(dir: &Path, runtime: Option<&Path>, loaded: &Loaded) -> anyhow::Result<()> {
    let mut layout = None;
    journal::open(dir, runtime)?.for_each(|frame| {
        if let Record::Epoch(epoch) = &frame.record {
            layout = Some(epoch.layout_hash);
        }
        ControlFlow::Break(())
    })?;
    if layout.is_some_and(|layout| layout != loaded.program().layout_hash) {
        bail!(
            "the journal in {} was written with other event layouts than this policy's: give the policy that the appliance runs",
            dir.display()
        );
    }
    Ok(())
}

/// What the journal knows of the event that an amendment asks for.
#[derive(Clone)]
enum Known {
    Nothing,
    /// Events under this id, of other kinds only.
    OtherKind,
    /// One event: its sender, and the amendment completed from it.
    One(u32, Box<EventWords>),
    Several,
}

impl Known {
    /// Takes in one more event under the id. `complete` is the amendment made of it, if it is of the right kind.
    fn add(&mut self, principal: u32, complete: Option<EventWords>) {
        let Some(complete) = complete else {
            if matches!(self, Self::Nothing) {
                *self = Self::OtherKind;
            }
            return;
        };
        match self {
            Self::Nothing | Self::OtherKind => *self = Self::One(principal, Box::new(complete)),
            // A sender that repeats itself after its first answer was forgotten means the same event.
            Self::One(by, known) if (*by, known.words()) == (principal, complete.words()) => {}
            Self::One(..) | Self::Several => *self = Self::Several,
        }
    }
}

/// What became of an amendment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Amended(u64),
    Repeated(u64),
    Unknown,
    WrongKind,
    Ambiguous,
    Refused,
    Bad,
}

impl Fate {
    /// In the order of their numbers; those from the third on are unresolved.
    const WORDS: [&'static str; 7] =
        ["amended", "repeated", "unknown", "wrong_kind", "ambiguous", "refused", "bad"];
    const RESOLVED: usize = 2;

    fn number(self) -> usize {
        match self {
            Self::Amended(_) => 0,
            Self::Repeated(_) => 1,
            Self::Unknown => 2,
            Self::WrongKind => 3,
            Self::Ambiguous => 4,
            Self::Refused => 5,
            Self::Bad => 6,
        }
    }

    fn seq(self) -> String {
        match self {
            Self::Amended(seq) | Self::Repeated(seq) => seq.to_string(),
            _ => String::new(),
        }
    }
}

struct Resolver {
    journal: PathBuf,
    runtime: Option<PathBuf>,
    principal: Option<u32>,
    map: Arc<Map>,
    loaded: Loaded,
    /// What is in flight: places in the batch.
    link: Link<usize>,
    report: csv::Writer<std::io::Stdout>,
    /// What an operator has been told already.
    noted: BTreeSet<String>,
    tally: [u64; Fate::WORDS.len()],
}

impl Resolver {
    /// Looks a batch up, sends what was found, and reports all of it.
    fn resolve(&mut self, batch: &[Asked]) -> anyhow::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let known = self.look_up(batch)?;
        let mut fates = vec![Fate::Bad; batch.len()];
        for (place, (asked, known)) in batch.iter().zip(known).enumerate() {
            fates[place] = match (&asked.words, known) {
                (Err(fault), _) => {
                    eprintln!("{fault}");
                    Fate::Bad
                }
                (_, Known::Nothing) => Fate::Unknown,
                (_, Known::OtherKind) => Fate::WrongKind,
                (_, Known::Several) => Fate::Ambiguous,
                (_, Known::One(_, complete)) => {
                    self.send(batch, place, complete.words(), &mut fates)?;
                    continue;
                }
            };
        }
        while self.link.in_flight() > 0 {
            self.receive(batch, true, &mut fates)?;
        }
        for (asked, fate) in batch.iter().zip(fates) {
            self.tally[fate.number()] += 1;
            let event = &self.map.events[asked.event].name;
            let line = asked.line.to_string();
            let record = [&*line, &*asked.id, event, Fate::WORDS[fate.number()], &fate.seq()];
            self.report.write_record(record).context("cannot write the report")?;
        }
        self.report.flush().context("cannot write the report")?;
        Ok(())
    }

    fn look_up(&mut self, batch: &[Asked]) -> anyhow::Result<Vec<Known>> {
        let mut known = vec![Known::Nothing; batch.len()];
        let readable = |(place, asked): (usize, &Asked)| {
            let words = asked.words.as_ref().ok()?;
            Some((wire::target_id(words.words()), place))
        };
        let (ids, places): (Vec<EventId>, Vec<usize>) = batch.iter().enumerate().filter_map(readable).unzip();
        let reader = journal::open(&self.journal, self.runtime.as_deref())?;
        let searched = reader.find(&ids, |at, frame| {
            let Record::Decision(decision) = &frame.record else { return };
            let principal = decision.input.principal;
            if self.principal.is_none_or(|only| only == principal) {
                let place = places[at];
                known[place].add(principal, self.complete(&batch[place], decision));
            }
        })?;
        for note in searched.notes {
            if self.noted.insert(note.clone()) {
                eprintln!("{note}");
            }
        }
        Ok(known)
    }

    /// The amendment with time and keys of the event it was decided on; none if that is of another kind.
    fn complete(&self, asked: &Asked, decision: &Decision<'_>) -> Option<EventWords> {
        let Origin::Alone(Alone { amends, keys, .. }) = &self.map.events[asked.event].origin else {
            return None;
        };
        let (words, plan) = (decision.input.words, &self.loaded.program().events[usize::from(*amends)]);
        if decision.input.kind != *amends || words.len() != usize::from(plan.words.to_native()) {
            return None;
        }
        let mut complete = *asked.words.as_ref().ok()?;
        complete.set_target(wire::event_id(words), wire::event_time(words));
        for (from, to) in keys {
            if words[wire::PRESENCE_WORD] >> from.bit & 1 == 1 {
                let at = usize::from(from.word);
                complete.set_key(*to, Key([words[at], words[at + 1]]));
            }
        }
        Some(complete)
    }

    fn send(
        &mut self,
        batch: &[Asked],
        place: usize,
        words: &[u64],
        fates: &mut [Fate],
    ) -> anyhow::Result<()> {
        let kind = self.map.events[batch[place].event].kind;
        loop {
            // Nothing is due: amendments are not judged, so no deadline applies to them.
            match self.link.send(kind, 0, words, || place) {
                Ok(()) => break,
                Err(SendError::Busy) => drop(self.receive(batch, true, fates)?),
                Err(SendError::TooLong { found, .. }) => {
                    return Err(too_long(found).at(self.map.events[batch[place].event].name.clone()).into());
                }
                Err(SendError::Closed(closed)) => return Err(self.link.closed(closed)),
            }
        }
        while self.receive(batch, false, fates)? {}
        Ok(())
    }

    /// Takes one answer, if there is one.
    fn receive(&mut self, batch: &[Asked], wait: bool, fates: &mut [Fate]) -> anyhow::Result<bool> {
        let Some((place, outcome)) = self.link.receive(wait)? else { return Ok(false) };
        fates[place] = match outcome.flags {
            flags if flags & FLAG_REFUSED != 0 => {
                eprintln!("{}", refused(&batch[place], &outcome));
                Fate::Refused
            }
            flags if flags & FLAG_DUPLICATE != 0 => Fate::Repeated(outcome.seq),
            _ => Fate::Amended(outcome.seq),
        };
        Ok(true)
    }

    fn unresolved(&self) -> u64 {
        self.tally[Fate::RESOLVED..].iter().sum()
    }

    /// One line for a person.
    fn summary(&self) -> String {
        let mut line = format!("amendments {}", self.tally.iter().sum::<u64>());
        for (word, count) in Fate::WORDS.iter().zip(self.tally) {
            line.push_str(&format!(", {} {count}", word.replace('_', " ")));
        }
        line
    }
}

fn refused(asked: &Asked, outcome: &Outcome) -> Fault {
    let (message, help) = match Refusal::from_code(outcome.reasons[0]) {
        Some(Refusal::IdReused) => (
            format!("the amendment was refused: {}", Refusal::IdReused),
            "give amendments of one event ids of their own: `id` in the map",
        ),
        Some(refusal) => (format!("the amendment was refused: {refusal}"), "correct the row"),
        None => {
            (format!("the amendment was refused (code {})", outcome.reasons[0]), "see the appliance's log")
        }
    };
    Problem::new(message, help).at(format!("line {}", asked.line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate::engine::units::Time;
    use tollgate::token::Tokenizer;

    #[test]
    fn an_id_is_ambiguous_when_it_could_mean_two_events() {
        let text = "policy p revision 1\nentity card\nevent payment { card: card }\n\
                    event label amends payment { is_fraud: bool }\ndecide payment {\nscore = rule_scores\nunassessed allow\n}\n";
        let program = tollgate::policy::compile(text, &Tokenizer::default()).unwrap();
        let loaded = tollgate::policy::archive::open(tollgate::policy::archive::seal(&program)).unwrap();
        let plan = &loaded.program().events[1];
        let amendment = |time: i64| {
            let mut words = EventWords::new(plan, EventId([1, 2]), Time(5));
            words.set_target(EventId([3, 4]), Time(time));
            Some(words)
        };
        let word = |events: &[(u32, Option<EventWords>)]| {
            let mut known = Known::Nothing;
            events.iter().for_each(|(principal, complete)| known.add(*principal, *complete));
            match known {
                Known::Nothing => "nothing",
                Known::OtherKind => "other kind",
                Known::One(..) => "one",
                Known::Several => "several",
            }
        };
        assert_eq!(word(&[]), "nothing");
        assert_eq!(word(&[(1, None)]), "other kind");
        assert_eq!(word(&[(1, amendment(7))]), "one");
        assert_eq!(word(&[(1, None), (1, amendment(7)), (2, None)]), "one");
        assert_eq!(word(&[(1, amendment(7)), (1, amendment(7))]), "one");
        assert_eq!(word(&[(1, amendment(7)), (1, amendment(8))]), "several");
        assert_eq!(word(&[(1, amendment(7)), (2, amendment(7))]), "several");
        assert_eq!(word(&[(1, amendment(7)), (2, amendment(7)), (1, amendment(7))]), "several");
    }
}
