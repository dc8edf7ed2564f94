//! Rows → events, in sequence order.
//!
//! Events that happen at their row's time keep the order of the file, whatever their times: that is the order
//! in which a switch would have sent them. Events with an offset (`after`) wait in a heap until the first
//! event of the file that is not earlier, and come before it, also at equal times. So do rates, and at equal times they
//! come first.

use crate::cell::{self, Cell};
use crate::events::{Reader, Rows, shown_column};
use crate::fault::{Fault, Problem};
use crate::map::{Alone, CurrencySource, EventMap, FieldMap, Map, Origin, Source, Target};
use crate::rates::Rate;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::iter::Peekable;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tollgate::encode::EventWords;
use tollgate::engine::Loaded;
use tollgate::engine::units::{Key, TIME_END, Time};
use tollgate::engine::wire;
use tollgate::token::Tokenizer;

/// The most events that may wait for their offset at a time.
pub(crate) const WAITING_MAX: usize = 4 << 20;

/// Events of a batch between two threads, and how many batches may be under way.
const BATCH_EVENTS: usize = 8192;
const BATCHES: usize = 4;

/// The most events that are read ahead of the first decision, when all are to be.
const PRELOADED_MAX: usize = 16 << 20;

/// The most tokens remembered, over all entity kinds.
const TOKENS_MAX: usize = 1 << 20;

/// Events ready for the engine or a ring, in order.
#[derive(Default)]
pub(crate) struct Batch {
    items: Vec<Item>,
    words: Vec<u64>,
    text: String,
    /// How much of the file has been read when the batch was full.
    pub(crate) read: u64,
}

struct Item {
    kind: u16,
    row: u64,
    rate: bool,
    words_end: usize,
    text_end: usize,
}

/// One event of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Event<'a> {
    /// Its number on the wire.
    pub(crate) kind: u16,
    /// The row that made it, from 1.
    pub(crate) row: u64,
    /// Whether it is a rate, and the row one of the file of rates.
    pub(crate) rate: bool,
    /// Its words.
    pub(crate) words: &'a [u64],
    /// The id of its row, as text.
    pub(crate) id: &'a str,
}

impl Batch {
    /// How many events.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// An event.
    pub(crate) fn event(&self, index: usize) -> Event<'_> {
        let item = &self.items[index];
        let (words, text) = match index.checked_sub(1) {
            Some(before) => (self.items[before].words_end, self.items[before].text_end),
            None => (0, 0),
        };
        Event {
            kind: item.kind,
            row: item.row,
            rate: item.rate,
            words: &self.words[words..item.words_end],
            id: &self.text[text..item.text_end],
        }
    }

    /// Forgets its events.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.words.clear();
        self.text.clear();
    }

    fn push(&mut self, kind: u16, row: u64, words: &[u64], id: &str) {
        self.words.extend_from_slice(words);
        self.text.push_str(id);
        let (words_end, text_end) = (self.words.len(), self.text.len());
        self.items.push(Item { kind, row, rate: false, words_end, text_end });
    }

    fn push_rate(&mut self, rate: &Rate) {
        self.push(rate.kind, rate.row, &rate.words, "");
        if let Some(item) = self.items.last_mut() {
            item.rate = true;
        }
    }
}

/// An event that waits for its time. Ordered by time, then row, then order within the row.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    time: Time,
    row: u64,
    order: usize,
    kind: u16,
    words: Box<[u64]>,
    id: Box<str>,
}

/// What comes at a time of its own, and not with its row.
struct Due {
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// In order of time.
    rates: Peekable<std::vec::IntoIter<Rate>>,
}

impl Due {
    /// Puts into the batch what comes next, if its time has come; false when there is nothing.
    fn next(&mut self, time: Time, batch: &mut Batch) -> bool {
        let waiting = self.waiting.peek().map(|Reverse(waiting)| waiting.time).filter(|due| *due <= time);
        let before = waiting.unwrap_or(time);
        if let Some(rate) = self.rates.next_if(|rate| rate.time <= before) {
            batch.push_rate(&rate);
            return true;
        }
        let Some(Reverse(next)) = waiting.and_then(|_| self.waiting.pop()) else { return false };
        batch.push(next.kind, next.row, &next.words, &next.id);
        true
    }
}

/// All events of a file, in sequence order.
pub(crate) struct Sequence {
    loaded: Loaded,
    map: Map,
    reader: Reader,
    rows: Rows,
    next_row: usize,
    rows_left: u64,
    due: Due,
    names: Names,
    /// Events of the current row, by position in the map.
    made: Vec<Option<EventWords>>,
    /// Nothing later is sent, nor anything that would come after it.
    last: Time,
    at_end: bool,
}

impl Sequence {
    /// The events that a map makes of a file's first `rows_max` rows.
    pub(crate) fn new(
        loaded: Loaded,
        map: Map,
        mut reader: Reader,
        tokenizer: Tokenizer,
        rows_max: u64,
    ) -> Result<Self, Fault> {
        if let Some(available) = reader.available() {
            map.check_columns(reader.file(), &available)?;
        }
        reader.select(&map.columns)?;
        let kinds = loaded.program().entities.len();
        Ok(Self {
            loaded,
            map,
            reader,
            rows: Rows::default(),
            next_row: 0,
            rows_left: rows_max,
            due: Due { waiting: BinaryHeap::new(), rates: Vec::new().into_iter().peekable() },
            names: Names::new(tokenizer, kinds),
            made: Vec::new(),
            last: TIME_END,
            at_end: false,
        })
    }

    /// The same with these rates, which are in order of time.
    pub(crate) fn with_rates(mut self, rates: Vec<Rate>) -> Self {
        self.due.rates = rates.into_iter().peekable();
        self
    }

    /// The same as though it ended before the first event that is later than this.
    pub(crate) fn until(mut self, last: Time) -> Self {
        self.last = last;
        self
    }

    /// The file's name, as errors say it.
    pub(crate) fn file(&self) -> &str {
        self.reader.file()
    }

    /// How much there is to read, in the unit of [`Batch::read`].
    pub(crate) fn total(&self) -> u64 {
        self.reader.progress().1
    }

    /// Fills a batch with about `events_max` events; false when there are none left.
    pub(crate) fn fill(&mut self, batch: &mut Batch, events_max: usize) -> Result<bool, Fault> {
        batch.clear();
        while batch.len() < events_max {
            if self.at_end {
                if !self.due.next(self.last, batch) {
                    break;
                }
            } else if self.rows_left == 0 {
                self.at_end = true;
            } else if self.next_row == self.rows.len() {
                self.next_row = 0;
                self.at_end = !self.reader.next(&mut self.rows)?;
            } else {
                self.row(self.next_row, batch)?;
                self.next_row += 1;
                self.rows_left -= 1;
            }
        }
        batch.read = self.reader.progress().0;
        Ok(batch.len() > 0)
    }

    /// Hands every batch to `take`, in order, while a thread of its own prepares the next ones.
    pub(crate) fn each_batch(self, mut take: impl FnMut(&Batch) -> anyhow::Result<()>) -> anyhow::Result<()> {
        std::thread::scope(|scope| {
            let (full_sender, full) = mpsc::sync_channel(BATCHES);
            let (empty_sender, empty) = mpsc::channel::<Batch>();
            scope.spawn(move || {
                let mut sequence = self;
                loop {
                    let mut batch = empty.try_recv().unwrap_or_default();
                    let filled = sequence.fill(&mut batch, BATCH_EVENTS);
                    let last = !matches!(filled, Ok(true));
                    // Nobody listens any more when `take` has failed.
                    if full_sender.send(filled.map(|_| batch)).is_err() || last {
                        return;
                    }
                }
            });
            for filled in full {
                let batch = filled?;
                take(&batch)?;
                // Refused once the thread has ended; the batch is dropped then.
                let _ = empty_sender.send(batch);
            }
            Ok(())
        })
    }

    /// Hands every batch to `take`, in order, once all of them are there; with how long one thread took to make them.
    pub(crate) fn each_preloaded(
        mut self,
        mut take: impl FnMut(&Batch) -> anyhow::Result<()>,
    ) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let (mut batches, mut events) = (Vec::new(), 0);
        loop {
            let mut batch = Batch::default();
            if !self.fill(&mut batch, BATCH_EVENTS)? {
                break;
            }
            events += batch.len();
            if events > PRELOADED_MAX {
                return Err(Problem::new(
                    format!("more than {PRELOADED_MAX} events are not read ahead"),
                    "leave out `--preload`, or read fewer rows with `--limit`",
                )
                .at(self.file())
                .into());
            }
            batches.push(batch);
        }
        let took = begun.elapsed();
        batches.iter().try_for_each(&mut take)?;
        Ok(took)
    }

    /// Makes the events of one row: those at its time go to the batch, the others wait.
    fn row(&mut self, row: usize, batch: &mut Batch) -> Result<(), Fault> {
        let number = self.rows.number(row);
        self.made.clear();
        for (order, event) in self.map.events.iter().enumerate() {
            let source = RowOf {
                loaded: &self.loaded,
                map: &self.map,
                rows: &self.rows,
                file: self.reader.file(),
                row,
            };
            let Some(made) = source.event(event, &self.made, &mut self.names)? else {
                self.made.push(None);
                continue;
            };
            self.made.push(Some(made));
            let (words, id) = (made.words(), &self.names.id);
            let time = wire::event_time(words);
            if event.after_us > 0 {
                if self.due.waiting.len() >= WAITING_MAX {
                    return Err(Problem::new(
                        format!("more than {WAITING_MAX} events wait for their offset"),
                        "shorten `after`, or make fewer with `when`",
                    )
                    .at(self.rows.place(self.reader.file(), row)));
                }
                let (words, id) = (words.into(), id.as_str().into());
                let waiting = Waiting { time, row: number, order, kind: event.kind, words, id };
                self.due.waiting.push(Reverse(waiting));
                continue;
            }
            while self.due.next(time.min(self.last), batch) {}
            if time > self.last {
                self.at_end = true;
                return Ok(());
            }
            batch.push(event.kind, number, words, id);
        }
        Ok(())
    }
}

/// An amendment that knows no more of its event than the id.
pub(crate) struct Asked {
    /// Its line in the file, or row where the format has no lines.
    pub(crate) line: u64,
    /// Which event of the map it is.
    pub(crate) event: usize,
    /// The id of the amended event, as text; empty when the row could not be read.
    pub(crate) id: Box<str>,
    /// Its words, with neither time nor keys of the amended event; or what is wrong with the row.
    pub(crate) words: Result<EventWords, Fault>,
}

/// All amendments of a file, in its order.
pub(crate) struct Amendments {
    loaded: Loaded,
    map: Arc<Map>,
    reader: Reader,
    names: Names,
}

impl Amendments {
    /// The amendments that a map makes of a file.
    pub(crate) fn new(
        loaded: Loaded,
        map: Arc<Map>,
        mut reader: Reader,
        tokenizer: Tokenizer,
    ) -> Result<Self, Fault> {
        if let Some(available) = reader.available() {
            map.check_columns(reader.file(), &available)?;
        }
        reader.select(&map.columns)?;
        let names = Names::new(tokenizer, loaded.program().entities.len());
        Ok(Self { loaded, map, reader, names })
    }

    /// Hands each to `take` until that returns false. A row that cannot be read as a row ends it; those before count.
    pub(crate) fn each(mut self, mut take: impl FnMut(Asked) -> bool) -> Result<(), Fault> {
        let mut rows = Rows::default();
        loop {
            let read = self.reader.next(&mut rows);
            for row in 0..rows.len() {
                let (loaded, map, file) = (&self.loaded, &*self.map, self.reader.file());
                let source = RowOf { loaded, map, rows: &rows, file, row };
                for (event, mapped) in map.events.iter().enumerate() {
                    self.names.id.clear();
                    let Some(words) = source.event(mapped, &[], &mut self.names).transpose() else {
                        continue;
                    };
                    let id = self.names.id.as_str().into();
                    if !take(Asked { line: rows.line(row), event, id, words }) {
                        return Ok(());
                    }
                }
            }
            if !read? {
                return Ok(());
            }
        }
    }
}

/// A row, about to become events.
struct RowOf<'a> {
    loaded: &'a Loaded,
    map: &'a Map,
    rows: &'a Rows,
    file: &'a str,
    row: usize,
}

impl RowOf<'_> {
    fn cell(&self, column: usize) -> Cell<'_> {
        self.rows.cell(column, self.row)
    }

    /// A problem of this row in this column.
    fn fault(&self, column: usize, problem: Problem) -> Fault {
        let place = self.rows.place(self.file, self.row);
        problem.at(format!("{place}, column {}", shown_column(&self.map.columns[column])))
    }

    /// A cell that must be there.
    fn required(&self, column: usize, what: &str) -> Result<Cell<'_>, Fault> {
        match self.cell(column) {
            Cell::Null => Err(self.fault(
                column,
                Problem::new(
                    format!("{what} is required and the value is missing"),
                    "fill it in, or leave such rows out with `when`",
                ),
            )),
            cell => Ok(cell),
        }
    }

    /// The event, unless the row makes none of this kind. Leaves the id's text in `names`.
    fn event(
        &self,
        event: &EventMap,
        made: &[Option<EventWords>],
        names: &mut Names,
    ) -> Result<Option<EventWords>, Fault> {
        if let Some((column, wanted)) = &event.when
            && !cell::equals(self.cell(*column), wanted.cell())
        {
            return Ok(None);
        }
        let plan = &self.loaded.program().events[usize::from(event.kind)];
        let mut words = match &event.origin {
            Origin::Row { id, time: (column, unit) } => {
                let time = cell::time(self.required(*column, "the time")?, *unit)
                    .map_err(|problem| self.fault(*column, problem))?;
                self.read_id(*id, names)?;
                let id = names.tokenizer.event_id(&event.name, &names.id);
                EventWords::new(plan, id, self.later(*column, time, event.after_us)?)
            }
            Origin::Amends { event: amended, keys } => {
                let Some(target) = made.get(*amended).and_then(Option::as_ref) else { return Ok(None) };
                let (column, time_column) = self.origin_columns(*amended);
                self.read_id(column, names)?;
                let id = names.tokenizer.event_id(&event.name, &names.id);
                let target = target.words();
                let time = self.later(time_column, wire::event_time(target), event.after_us)?;
                let mut words = EventWords::new(plan, id, time);
                words.set_target(wire::event_id(target), wire::event_time(target));
                for (from, to) in keys {
                    if target[wire::PRESENCE_WORD] >> from.bit & 1 == 1 {
                        let at = usize::from(from.word);
                        words.set_key(*to, Key([target[at], target[at + 1]]));
                    }
                }
                words
            }
            Origin::Alone(alone) => self.alone(event, alone, names)?,
        };
        for field in &event.fields {
            self.fill(field, &mut words, names)?;
        }
        Ok(Some(words))
    }

    /// An amendment without time and keys of what it amends.
    fn alone(&self, event: &EventMap, alone: &Alone, names: &mut Names) -> Result<EventWords, Fault> {
        let events = &self.loaded.program().events;
        let (column, unit) = alone.time;
        let time = cell::time(self.required(column, "the time")?, unit)
            .map_err(|problem| self.fault(column, problem))?;
        self.read_id(alone.id.unwrap_or(alone.of), names)?;
        let own = names.tokenizer.event_id(&event.name, &names.id);
        self.read_id(alone.of, names)?;
        let of = match alone.hex {
            true => cell::event_id(&names.id).map_err(|problem| self.fault(alone.of, problem))?,
            false => names.tokenizer.event_id(events[usize::from(alone.amends)].name.as_str(), &names.id),
        };
        let mut words = EventWords::new(&events[usize::from(event.kind)], own, time);
        words.set_target(of, Time(0));
        Ok(words)
    }

    /// The id and time columns of an event that is no amendment.
    fn origin_columns(&self, event: usize) -> (usize, usize) {
        match &self.map.events[event].origin {
            Origin::Row { id, time } => (*id, time.0),
            Origin::Amends { event, .. } => self.origin_columns(*event),
            Origin::Alone(alone) => (alone.of, alone.time.0),
        }
    }

    fn later(&self, column: usize, time: Time, after_us: i64) -> Result<Time, Fault> {
        let later = Time(time.0 + after_us);
        if later >= TIME_END {
            let problem =
                Problem::new("the time plus `after` is beyond 2199", "check the unit of the time column");
            return Err(self.fault(column, problem));
        }
        Ok(later)
    }

    fn read_id(&self, column: usize, names: &mut Names) -> Result<(), Fault> {
        cell::name(self.required(column, "the id")?, &mut names.id)
            .map_err(|problem| self.fault(column, problem))?;
        if cell::is_raw_card_number(&names.id) {
            names.id.clear();
            return Err(self.fault(column, cell::raw_card_number()));
        }
        Ok(())
    }

    fn fill(&self, field: &FieldMap, words: &mut EventWords, names: &mut Names) -> Result<(), Fault> {
        let (column, cell) = match &field.source {
            Source::Column(column) => (*column, self.cell(*column)),
            Source::Constant(constant) => (usize::MAX, constant.cell()),
        };
        if cell == Cell::Null {
            return if field.required { self.required(column, "the field").map(drop) } else { Ok(()) };
        }
        // A constant was checked when the map was read; only the currency of its row can be at fault.
        let at = |problem| match &field.target {
            _ if column != usize::MAX => self.fault(column, problem),
            Target::Money(CurrencySource::Column(column)) => self.fault(*column, problem),
            _ => problem.at(self.rows.place(self.file, self.row)),
        };
        match &field.target {
            Target::Bool => words.set_number(field.slot, i64::from(cell::truth(cell).map_err(at)?)),
            Target::Int => words.set_number(field.slot, cell::int(cell).map_err(at)?),
            Target::Decimal => words.set_number(field.slot, cell::decimal(cell).map_err(at)?),
            Target::Country => words.set_number(field.slot, cell::country(cell).map_err(at)?),
            Target::Currency => {
                words.set_number(field.slot, i64::from(cell::currency(cell).map_err(at)?.0));
            }
            Target::Mcc => words.set_number(field.slot, cell::mcc(cell).map_err(at)?),
            Target::Bin => words.set_number(field.slot, cell::bin(cell).map_err(at)?),
            Target::Text(bytes) => words.set_words(field.slot, &cell::text(cell, *bytes).map_err(at)?),
            Target::Ip => words.set_words(field.slot, &cell::address(cell).map_err(at)?),
            Target::Time(unit) => words.set_number(field.slot, cell::time(cell, *unit).map_err(at)?.0),
            Target::Duration(unit_us) => {
                words.set_number(field.slot, cell::duration(cell, *unit_us).map_err(at)?);
            }
            Target::Enum(labels) => words.set_number(field.slot, cell::ordinal(cell, labels).map_err(at)?),
            Target::Money(currency) => {
                let currency = match currency {
                    CurrencySource::Fixed(currency) => *currency,
                    CurrencySource::Column(column) => cell::currency(self.required(*column, "the currency")?)
                        .map_err(|problem| self.fault(*column, problem))?,
                };
                words.set_money(field.slot, cell::money(cell, currency).map_err(at)?, currency);
            }
            Target::Geo(longitude) => {
                let east = cell::degrees(self.required(*longitude, "the longitude")?, 180)
                    .map_err(|problem| self.fault(*longitude, problem))?;
                words.set_place(field.slot, cell::degrees(cell, 90).map_err(at)?, east);
            }
            Target::Entity(kind, name) => {
                words.set_key(field.slot, names.key(*kind, name, cell).map_err(at)?);
            }
        }
        Ok(())
    }
}

/// Names → tokens, remembering those made before: hashing a key costs more than looking it up.
struct Names {
    tokenizer: Tokenizer,
    /// Text of the current event's id.
    id: String,
    numbers: Vec<HashMap<i64, Key>>,
    texts: Vec<HashMap<Box<str>, Key>>,
    remembered: usize,
    text: String,
}

impl Names {
    fn new(tokenizer: Tokenizer, kinds: usize) -> Self {
        let (numbers, texts) = (vec![HashMap::new(); kinds], vec![HashMap::new(); kinds]);
        Self { tokenizer, id: String::new(), numbers, texts, remembered: 0, text: String::new() }
    }

    fn key(&mut self, kind: usize, name: &str, cell: Cell<'_>) -> Result<Key, Problem> {
        let known = match cell {
            Cell::Int(number) => self.numbers[kind].get(&number),
            Cell::Text(text) => self.texts[kind].get(text),
            _ => None,
        };
        if let Some(key) = known {
            return Ok(*key);
        }
        cell::name(cell, &mut self.text)?;
        let key = self.tokenizer.key(name, &self.text).map_err(|_| cell::raw_card_number())?;
        if self.remembered >= TOKENS_MAX {
            self.numbers.iter_mut().for_each(HashMap::clear);
            self.texts.iter_mut().for_each(HashMap::clear);
            self.remembered = 0;
        }
        match cell {
            Cell::Int(number) => drop(self.numbers[kind].insert(number, key)),
            Cell::Text(text) => drop(self.texts[kind].insert(text.into(), key)),
            _ => return Ok(key),
        }
        self.remembered += 1;
        Ok(key)
    }
}
