//! The semantic pass over an archived program: after it, the engine trusts every index in it.
//!
//! Bytecheck has proved the archive's structure (pointers, lengths, enum codes, UTF-8). What is left is meaning:
//! that numbers which point into tables stay inside them, that the words of an event, the columns of a row and
//! the blocks of a record do not overlap, that code only reads what is there, and that a plan is what its user
//! takes it for. Runs once per load; it is written to be read, not to be fast, and its work is linear in the
//! size of the archive. Models are looked at by the crate that scores them.

/// Refuses with a message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

mod models;
mod row;
mod runs;

use super::plan::is_scanned;
use super::program::{
    ArchivedAgg, ArchivedClausePlan, ArchivedColumnPlan, ArchivedCutPlan, ArchivedDecidePlan,
    ArchivedEventPlan, ArchivedFeaturePlan, ArchivedFieldKind, ArchivedFrame, ArchivedGroupPlan,
    ArchivedKeyAt, ArchivedLaneOf, ArchivedLanePlan, ArchivedListOf, ArchivedListPlan, ArchivedOrigin,
    ArchivedProgram, ArchivedRatesPlan, ArchivedTerm, CLAUSES_MAX, DISTINCT_EXACT_MAX, FRAME_EVENTS_MAX,
    GROUP_HEADER_WORDS, KEYS_MAX, NONE, OPERANDS_MAX, REGISTERS_MAX, SEMANTICS_VERSION, TEXT_FIELD_BYTES_MAX,
    TEXT_WORDS_MAX,
};
use super::units::codes::BIN_DIGITS_MAX;
use super::units::{Action, Currency, DAY, DECIMAL_DEN, Value};
use super::wire::{
    AMEND_HEADER_WORDS, EVENT_WORDS_MAX, FIELDS_MAX, HEADER_WORDS, RATE_FROM_WORD, RATE_PARTS_WORD,
    RATE_TO_WORD, RATE_WORDS,
};
use row::Row;
use runs::{Checker, Features, Reads};

/// The most of anything that is numbered with 16 bits.
pub const COUNT_MAX: usize = 16_384;
/// The most instructions.
pub const CODE_MAX: usize = 1 << 20;
/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest text for people, in bytes.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// The most changes of offset of one time zone.
pub const ZONE_STARTS_MAX: usize = 4_096;
/// How deep an expression may be nested, definitions included.
pub const DEPTH_MAX: usize = 512;
/// Words before the first group of a record: the key and the greatest event time.
pub const RECORD_HEADER_WORDS: usize = 3;
/// The same in the record of a pair: the second key comes on top.
pub const PAIR_HEADER_WORDS: usize = RECORD_HEADER_WORDS + 2;
/// The most words of one record.
pub const RECORD_WORDS_MAX: usize = 1_024;
/// The most rows of a group kept in the record.
pub const INLINE_ROWS_MAX: usize = 64;
/// The longest window, delay included.
const RETENTION_MAX_US: i64 = 400 * DAY;
/// No clock is further from UTC than this, in seconds.
const OFFSET_MAX_S: u32 = 26 * 3_600;

/// What is wrong, as far as it is known yet.
type Checked = Result<(), String>;

/// Checks everything on which the engine relies. The error says what is wrong and where.
pub fn validate(program: &ArchivedProgram) -> Result<(), String> {
    let semantics = program.semantics.to_native();
    ensure!(
        semantics == SEMANTICS_VERSION,
        "it has semantics version {semantics}, this build {SEMANTICS_VERSION}; compile the policy again"
    );
    tables(program)?;
    let mut checker = Checker::new(program);
    for (index, event) in program.events.iter().enumerate() {
        layout(program, event).map_err(|error| format!("event {index}: {error}"))?;
    }
    if let Some(plan) = program.rates.as_ref() {
        rates(program, plan).map_err(|error| format!("rates: {error}"))?;
    }
    // Groups before what uses them, and events' layouts before groups.
    for (index, group) in program.groups.iter().enumerate() {
        checker.group(group).map_err(|error| format!("group {index}: {error}"))?;
    }
    records(program)?;
    for (index, feature) in program.features.iter().enumerate() {
        self::feature(program, feature).map_err(|error| format!("feature {index}: {error}"))?;
    }
    checker.rules()?;
    checker.models()?;
    for (index, event) in program.events.iter().enumerate() {
        checker.event(index, event).map_err(|error| format!("event {index}: {error}"))?;
    }
    Ok(())
}

/// That what is looked up by halving is in order, and of the size and widths of its type.
fn list(program: &ArchivedProgram, list: &ArchivedListPlan) -> Checked {
    text("its name", &list.name, NAME_BYTES_MAX)?;
    let (words, widths) = match list.of {
        ArchivedListOf::Entity(kind) => {
            let kind = usize::from(kind.to_native());
            ensure!(kind < program.entities.len(), "there is no entity {kind}");
            (2..=2, 0..=0)
        }
        ArchivedListOf::Text => (1..=TEXT_WORDS_MAX, 0..=0),
        ArchivedListOf::Ip => (2..=2, 1..=128),
        ArchivedListOf::Bin => (1..=1, 1..=BIN_DIGITS_MAX as u8),
        ArchivedListOf::Int | ArchivedListOf::Country | ArchivedListOf::Currency | ArchivedListOf::Mcc => {
            (1..=1, 0..=0)
        }
    };
    ensure!(list.parts.is_sorted_by(|a, b| a.width < b.width), "its widths do not ascend");
    for part in list.parts.iter() {
        let size = usize::from(part.words);
        ensure!(widths.contains(&part.width), "it has entries of width {}", part.width);
        ensure!(words.contains(&size), "it has entries of {size} words");
        let count = part.keys.len() / size;
        ensure!(part.keys.len() == count * size, "its last entry is not whole");
        let key = |entry: usize| part.keys[entry * size..][..size].iter().map(|word| word.to_native());
        let ascends = (1..count).all(|entry| key(entry - 1).lt(key(entry)));
        ensure!(ascends, "its entries do not ascend");
        ensure!(part.until.is_empty() || part.until.len() == count, "not all of its entries have an end");
        ensure!(part.said.is_empty() || part.said.len() == count, "not all of its entries are described");
    }
    Ok(())
}

fn text(what: &str, text: &str, bytes_max: usize) -> Checked {
    ensure!(text.len() <= bytes_max, "{what} has {} bytes, more than {bytes_max}", text.len());
    Ok(())
}

/// Sizes, names, and the tables that stand alone: literals, lists, zones, reasons.
fn tables(program: &ArchivedProgram) -> Checked {
    let counts = [
        ("entities", program.entities.len()),
        ("tables", program.tables.len()),
        ("events", program.events.len()),
        ("groups", program.groups.len()),
        ("features", program.features.len()),
        ("rules", program.rules.len()),
        ("reasons", program.reasons.len()),
        ("queues", program.queues.len()),
        ("lists", program.lists.len()),
        ("zones", program.zones.len()),
        ("literals", program.consts.len()),
        ("texts", program.texts.len()),
        ("prefixes", program.prefixes.len()),
    ];
    for (what, count) in counts {
        ensure!(count <= COUNT_MAX, "{count} {what} are more than {COUNT_MAX}");
    }
    ensure!(program.code.len() <= CODE_MAX, "{} instructions are more than {CODE_MAX}", program.code.len());
    let registers = usize::from(program.registers.to_native());
    ensure!(registers <= REGISTERS_MAX, "{registers} registers are more than {REGISTERS_MAX}");
    ensure!(
        registers >= program.features.len() + program.models.len(),
        "there are fewer registers than features and models"
    );

    text("the policy's name", &program.name, NAME_BYTES_MAX)?;
    text("the time zone database's name", &program.zone_database, NAME_BYTES_MAX)?;
    for (index, constant) in program.consts.iter().enumerate() {
        ensure!(constant.den.to_native() > 0, "literal {index} has no positive denominator");
    }
    let record_words = |what: &str, index: usize, words: u16| -> Checked {
        let words = usize::from(words);
        ensure!(
            words.is_multiple_of(8) && words <= RECORD_WORDS_MAX,
            "{what} {index}: a record of {words} words is not a multiple of 8 up to {RECORD_WORDS_MAX}"
        );
        Ok(())
    };
    for (index, entity) in program.entities.iter().enumerate() {
        text("the name of an entity", &entity.name, NAME_BYTES_MAX)?;
        record_words("entity", index, entity.record_words.to_native())?;
    }
    let all = program.entities.len() + program.tables.len();
    ensure!(all <= COUNT_MAX, "{all} tables are more than {COUNT_MAX}");
    for (index, table) in program.tables.iter().enumerate() {
        let kinds = (table.first.to_native(), table.second.to_native());
        for kind in [Some(kinds.0), Some(kinds.1).filter(|second| *second != NONE)].into_iter().flatten() {
            let known = usize::from(kind) < program.entities.len();
            ensure!(known, "table {index}: there is no entity {kind}");
        }
        let words = table.record_words.to_native();
        record_words("table", index, words)?;
        ensure!(words != 0, "table {index}: nothing is kept in it");
    }
    let mut ids = Vec::with_capacity(program.reasons.len());
    for (index, reason) in program.reasons.iter().enumerate() {
        text("the name of a reason", &reason.name, NAME_BYTES_MAX)?;
        for part in [&reason.analyst, &reason.customer, &reason.iso] {
            text("the text of a reason", part, TEXT_BYTES_MAX)?;
        }
        ensure!(reason.id.to_native() != 0, "reason {index} has id 0, which means none");
        ids.push(reason.id.to_native());
    }
    ids.sort_unstable();
    ensure!(ids.is_sorted_by(|a, b| a < b), "two reasons have the same id");
    let mut ids = Vec::with_capacity(program.queues.len());
    for (index, queue) in program.queues.iter().enumerate() {
        text("the name of a queue", &queue.name, NAME_BYTES_MAX)?;
        ensure!(queue.id.to_native() != 0, "queue {index} has id 0, which means none");
        ids.push(queue.id.to_native());
    }
    ids.sort_unstable();
    ensure!(ids.is_sorted_by(|a, b| a < b), "two queues have the same id");
    for (index, plan) in program.lists.iter().enumerate() {
        list(program, plan).map_err(|error| format!("list {index}: {error}"))?;
    }
    for literal in program.texts.iter() {
        text("a literal", literal, TEXT_FIELD_BYTES_MAX)?;
    }
    for (index, prefix) in program.prefixes.iter().enumerate() {
        ensure!(prefix.bits <= 128, "prefix {index} has {} bits", prefix.bits);
    }
    for (index, zone) in program.zones.iter().enumerate() {
        text("the name of a time zone", &zone.name, NAME_BYTES_MAX)?;
        ensure!(
            zone.starts.len() == zone.offsets.len(),
            "time zone {index}: starts and offsets differ in number"
        );
        ensure!(
            zone.starts.len() <= ZONE_STARTS_MAX,
            "time zone {index}: more than {ZONE_STARTS_MAX} starts"
        );
        ensure!(
            zone.starts.first().is_some_and(|first| first.to_native() == i64::MIN),
            "time zone {index}: it does not begin at the beginning of time"
        );
        let ascending = zone.starts.is_sorted_by(|a, b| a.to_native() < b.to_native());
        ensure!(ascending, "time zone {index}: its starts do not ascend");
        let possible = zone.offsets.iter().all(|offset| offset.to_native().unsigned_abs() <= OFFSET_MAX_S);
        ensure!(possible, "time zone {index}: an offset is more than 26 hours");
    }
    Ok(())
}

/// The words and presence bits of one event, and what it amends.
fn layout(program: &ArchivedProgram, event: &ArchivedEventPlan) -> Checked {
    text("its name", &event.name, NAME_BYTES_MAX)?;
    let amends = event.amends.to_native();
    if amends != NONE {
        let amended = program.events.get(usize::from(amends));
        let amended = amended.ok_or_else(|| format!("it amends event {amends}, which does not exist"))?;
        ensure!(amended.amends.to_native() == NONE, "it amends another amendment");
    }
    let words = usize::from(event.words.to_native());
    let header = if amends == NONE { HEADER_WORDS } else { AMEND_HEADER_WORDS };
    ensure!(
        words >= header && words <= EVENT_WORDS_MAX,
        "{words} words are not {header} to {EVENT_WORDS_MAX}"
    );
    ensure!(event.fields.len() <= FIELDS_MAX, "{} fields are more than {FIELDS_MAX}", event.fields.len());
    let mut taken = [false; EVENT_WORDS_MAX];
    taken[..header].fill(true);
    let mut known = 0_u64;
    for (index, field) in event.fields.iter().enumerate() {
        text("the name of a field", &field.name, NAME_BYTES_MAX)?;
        ensure!(usize::from(field.bit) < FIELDS_MAX, "field {index} has presence bit {}", field.bit);
        ensure!(known & 1 << field.bit == 0, "field {index} shares its presence bit");
        known |= 1 << field.bit;
        let (arg, first) = (usize::from(field.arg.to_native()), usize::from(field.word.to_native()));
        let size = field.kind.native().words(field.arg.to_native());
        ensure!(first + size <= words, "field {index} ends after word {words}");
        for word in &mut taken[first..first + size] {
            ensure!(!std::mem::replace(word, true), "field {index} overlaps another");
        }
        let labels = if field.kind == ArchivedFieldKind::Enum { arg } else { 0 };
        ensure!(field.labels.len() == labels, "field {index} has {} labels for {labels}", field.labels.len());
        for label in field.labels.iter() {
            text("a label", label, NAME_BYTES_MAX)?;
        }
        match field.kind {
            ArchivedFieldKind::Entity => {
                ensure!(
                    arg < program.entities.len(),
                    "field {index} is a key of entity {arg}, which does not exist"
                );
            }
            ArchivedFieldKind::Enum => ensure!(arg > 0, "field {index} is an enum without values"),
            ArchivedFieldKind::Text => {
                ensure!((1..=TEXT_FIELD_BYTES_MAX).contains(&arg), "field {index} is a text of {arg} bytes");
            }
            _ => ensure!(arg == 0, "field {index} has an argument its type does not take"),
        }
    }
    ensure!(taken[..words].iter().all(|word| *word), "a word belongs to no field");
    ensure!(event.known.to_native() == known, "its known presence bits are not those of its fields");
    ensure!(event.required.to_native() & !known == 0, "it requires a field it does not have");
    Ok(())
}

/// The event that brings rates is the last, and what the engine reads from it is where it reads it.
fn rates(program: &ArchivedProgram, plan: &ArchivedRatesPlan) -> Checked {
    text("their name", &plan.name, NAME_BYTES_MAX)?;
    let max_age = plan.max_age_us.to_native();
    ensure!((1..=RETENTION_MAX_US).contains(&max_age), "they cannot convert for {max_age} µs");
    let number = plan.event.to_native();
    ensure!(
        usize::from(number) + 1 == program.events.len(),
        "event {number}, which brings them, is not the last"
    );
    let event = &program.events[usize::from(number)];
    let fields =
        event.fields.iter().map(|field| (field.kind, usize::from(field.word.to_native()), field.bit));
    let wanted = [
        (ArchivedFieldKind::Currency, RATE_FROM_WORD, 0),
        (ArchivedFieldKind::Currency, RATE_TO_WORD, 1),
        (ArchivedFieldKind::Rate, RATE_PARTS_WORD, 2),
    ];
    ensure!(
        fields.eq(wanted)
            && usize::from(event.words.to_native()) == RATE_WORDS
            && event.required == event.known
            && event.amends.to_native() == NONE,
        "event {number}, which brings them, is not laid out as a rate"
    );
    let does_nothing = event.keys.is_empty()
        && event.inserts.is_empty()
        && event.targets.is_empty()
        && event.windows.is_empty()
        && event.rules.is_empty()
        && event.decide.is_none();
    ensure!(does_nothing, "event {number}, which brings them, is kept or judged");
    let ascending = plan.into.is_sorted_by(|a, b| a.to_native() < b.to_native());
    ensure!(ascending, "the currencies converted to do not ascend");
    let known = plan.into.iter().all(|code| Currency::from_numeric(u64::from(code.to_native())).is_some());
    ensure!(known, "a currency converted to is not known");
    Ok(())
}

/// The kinds of keys of a table, and the words of its records; `None` when there is no such table.
fn table(program: &ArchivedProgram, number: u16) -> Option<(u16, Option<u16>, u16)> {
    let kinds = program.entities.len();
    if let Some(entity) = program.entities.get(usize::from(number)) {
        return Some((number, None, entity.record_words.to_native()));
    }
    let table = program.tables.get(usize::from(number) - kinds)?;
    let second = Some(table.second.to_native()).filter(|second| *second != NONE);
    Some((table.first.to_native(), second, table.record_words.to_native()))
}

/// Blocks of groups lie inside their table's record and do not overlap.
fn records(program: &ArchivedProgram) -> Checked {
    let mut blocks = Vec::with_capacity(program.groups.len());
    for (index, group) in program.groups.iter().enumerate() {
        let number = group.table.to_native();
        let (_, second, record) =
            table(program, number).ok_or_else(|| format!("group {index}: there is no table {number}"))?;
        let header = if second.is_some() { PAIR_HEADER_WORDS } else { RECORD_HEADER_WORDS };
        let rows = usize::from(group.inline_rows.to_native());
        let first = usize::from(group.record_word.to_native());
        let end = first + GROUP_HEADER_WORDS + rows * usize::from(group.row_words.to_native());
        ensure!(
            first >= header && end <= usize::from(record),
            "group {index}: its block {first}..{end} is outside its record of {record} words"
        );
        blocks.push((number, first, end));
    }
    blocks.sort_unstable();
    for pair in blocks.windows(2) {
        let apart = pair[0].0 != pair[1].0 || pair[0].2 <= pair[1].1;
        ensure!(apart, "two groups of table {} overlap at word {} of the record", pair[0].0, pair[1].1);
    }
    Ok(())
}

fn feature(program: &ArchivedProgram, feature: &ArchivedFeaturePlan) -> Checked {
    text("its name", &feature.name, NAME_BYTES_MAX)?;
    let terms = match feature.agg {
        ArchivedAgg::Scalar => 0,
        ArchivedAgg::Ratio => 2,
        _ => 1,
    };
    ensure!(feature.terms.len() == terms, "it has {} terms, not {terms}", feature.terms.len());
    if terms == 0 {
        return Ok(());
    }
    let mut reach = frame(program, &feature.frame, feature.delay_us.to_native())?;
    if let Some(against) = feature.against.as_ref() {
        reach = reach.max(frame(program, &against.frame, against.delay_us.to_native())?);
        ensure!(feature.agg.is_comparable(), "{:?} cannot be compared with itself", feature.agg);
    }
    argument(program, feature)?;
    let mut table = None;
    for term in feature.terms.iter() {
        let group = program.groups.get(usize::from(term.group.to_native()));
        let group = group.ok_or_else(|| format!("there is no group {}", term.group))?;
        ensure!(*table.get_or_insert(group.table) == group.table, "its terms are kept in different tables");
        ensure!(reach <= group.reach_us.to_native(), "its window is longer than its rows are kept");
        let ordered = feature.agg.is_ordered()
            || feature.is_sketched()
            || std::iter::once(&feature.frame)
                .chain(feature.against.as_ref().map(|against| &against.frame))
                .any(|frame| matches!(frame, ArchivedFrame::Events(..)));
        ensure!(
            !ordered || group.id_column.to_native() != NONE,
            "its rows have no order: there is no id column"
        );
        let filter = term.filter.to_native();
        ensure!(filter == NONE || usize::from(filter) < group.bits.len(), "there is no bit {filter}");
        let value = term.value.to_native();
        let values = match feature.agg {
            ArchivedAgg::Scalar
            | ArchivedAgg::Count
            | ArchivedAgg::Ratio
            | ArchivedAgg::DecayedCount
            | ArchivedAgg::SinceLast
            | ArchivedAgg::SinceFirst
            | ArchivedAgg::Days => {
                ensure!(value == NONE, "a count has no value");
                continue;
            }
            ArchivedAgg::DistinctKeys | ArchivedAgg::ShareKeys | ArchivedAgg::SeenKey => group.keys.len(),
            _ => group.columns.len(),
        };
        ensure!(usize::from(value) < values, "there is no column {value}");
        if let Some(of) = summed(feature, term) {
            let lane = |lane: &ArchivedLanePlan| lane.filter == term.filter && lane.of == of;
            ensure!(group.lanes.iter().any(lane), "no sums are kept of its rows");
        }
    }
    let one_group = feature.terms.iter().all(|term| term.group == feature.terms[0].group);
    ensure!(
        one_group || !feature.frame.is_by_event(),
        "its terms are of different groups, and its frame of one"
    );
    Ok(())
}

/// What a feature adds up of the rows of a term, where the tree of a hot key has to keep that.
fn summed(feature: &ArchivedFeaturePlan, term: &ArchivedTerm) -> Option<ArchivedLaneOf> {
    let value = term.value;
    match feature.agg {
        ArchivedAgg::DistinctKeys if feature.is_sketched() => Some(ArchivedLaneOf::Keys(value)),
        ArchivedAgg::DistinctValues if feature.is_sketched() => Some(ArchivedLaneOf::Values(value)),
        _ if !is_scanned(feature) => None,
        ArchivedAgg::DistinctKeys | ArchivedAgg::DistinctValues => None,
        ArchivedAgg::Count | ArchivedAgg::Ratio => {
            (term.filter.to_native() != NONE).then_some(ArchivedLaneOf::Rows)
        }
        _ => Some(ArchivedLaneOf::Sums(value)),
    }
}

/// A frame and its delay; returns how far back they reach together.
fn frame(program: &ArchivedProgram, frame: &ArchivedFrame, delay: i64) -> Result<i64, String> {
    let span = frame.reach_us();
    ensure!(
        span > 0 && delay >= 0 && span <= RETENTION_MAX_US && delay <= RETENTION_MAX_US,
        "a window of {span} µs delayed by {delay} µs is not possible"
    );
    match frame {
        ArchivedFrame::Last(_) | ArchivedFrame::Every(_) => {}
        ArchivedFrame::Events(count, _) => {
            ensure!(
                (1..=FRAME_EVENTS_MAX).contains(&count.to_native()),
                "{count} events are not 1 to {FRAME_EVENTS_MAX}"
            );
        }
        ArchivedFrame::This(_, zone) => {
            ensure!(usize::from(zone.to_native()) < program.zones.len(), "there is no time zone {zone}");
        }
        ArchivedFrame::Session(gap, _) => {
            let gap = gap.to_native();
            ensure!(0 < gap && gap < span, "a gap of {gap} µs within {span} µs is not possible");
        }
    }
    Ok(span + delay)
}

/// The argument and the time zone of a feature, where its aggregate takes one.
fn argument(program: &ArchivedProgram, feature: &ArchivedFeaturePlan) -> Checked {
    let (argument, zone) = (feature.argument.to_native(), feature.zone.to_native());
    let possible = match feature.agg {
        ArchivedAgg::Percentile => 0..=100,
        ArchivedAgg::DecayedCount | ArchivedAgg::DecayedSum => 1..=RETENTION_MAX_US,
        _ if feature.is_sketched() => 1..=i64::from(DISTINCT_EXACT_MAX),
        _ => 0..=0,
    };
    ensure!(possible.contains(&argument), "{:?} does not take the argument {argument}", feature.agg);
    if feature.agg == ArchivedAgg::Days {
        ensure!(usize::from(zone) < program.zones.len(), "there is no time zone {zone}");
    } else {
        ensure!(zone == NONE, "{:?} has no time zone", feature.agg);
    }
    Ok(())
}

/// The rows of which a group keeps sums and bounds.
fn lanes(group: &ArchivedGroupPlan) -> Checked {
    ensure!(group.lanes.len() <= COUNT_MAX, "{} lanes are more than {COUNT_MAX}", group.lanes.len());
    for (index, lane) in group.lanes.iter().enumerate() {
        let filter = lane.filter.to_native();
        ensure!(
            filter == NONE || usize::from(filter) < group.bits.len(),
            "lane {index}: there is no bit {filter}"
        );
        let (value, values) = match lane.of {
            ArchivedLaneOf::Rows => continue,
            ArchivedLaneOf::Sums(value) | ArchivedLaneOf::Values(value) => (value, group.columns.len()),
            ArchivedLaneOf::Keys(value) => (value, group.keys.len()),
        };
        ensure!(usize::from(value.to_native()) < values, "lane {index}: there is no column {value}");
    }
    for bounded in group.bounded.iter().map(|lane| lane.to_native()).filter(|lane| *lane != NONE) {
        ensure!(usize::from(bounded) < group.lanes.len(), "bounds are kept of lane {bounded}, which is none");
    }
    ensure!(
        group.bounded.is_empty() == group.bounded_reaches.is_empty(),
        "bounds are kept of lanes without reaches, or the reverse"
    );
    let possible =
        group.bounded_reaches.iter().all(|reach| (1..=2 * RETENTION_MAX_US).contains(&reach.to_native()));
    ensure!(possible, "bounds are kept for a reach that is not possible");
    Ok(())
}

impl Checker<'_> {
    fn group(&mut self, group: &ArchivedGroupPlan) -> Checked {
        let program = self.program;
        let table_number = group.table.to_native();
        let (first, second, _) =
            table(program, table_number).ok_or_else(|| format!("there is no table {table_number}"))?;
        let number = group.event.to_native();
        let event =
            program.events.get(usize::from(number)).ok_or_else(|| format!("there is no event {number}"))?;
        let (role, second_role) = (group.role.to_native(), group.second_role.to_native());
        ensure!(
            second.is_none() || second_role != NONE,
            "it has one key field, and table {table_number} takes two"
        );
        ensure!(
            second.is_some() || second_role == NONE,
            "it has two key fields, and table {table_number} takes one"
        );
        let roles = [Some((role, first)), second.map(|second| (second_role, second))];
        for (role, entity) in roles.into_iter().flatten() {
            let key =
                event.fields.get(usize::from(role)).ok_or_else(|| format!("there is no field {role}"))?;
            ensure!(
                key.kind == ArchivedFieldKind::Entity && key.arg.to_native() == entity,
                "field {role} is not a key of entity {entity}"
            );
        }
        let rows = usize::from(group.inline_rows.to_native());
        ensure!(
            (1..=INLINE_ROWS_MAX).contains(&rows),
            "{rows} rows in the record are not 1 to {INLINE_ROWS_MAX}"
        );
        let retention = group.retention_us.to_native();
        ensure!((1..=RETENTION_MAX_US).contains(&retention), "rows cannot be kept for {retention} µs");
        let reach = group.reach_us.to_native();
        ensure!((0..=retention).contains(&reach), "features look back {reach} µs of {retention}");

        let mut row = Row::new(group)?;
        if group.id_column.to_native() != NONE {
            row.column(group.id_column.to_native(), 1)?;
        }
        ensure!(
            group.amends.is_empty() || group.id_column.to_native() != NONE,
            "amendments cannot find its rows: there is no id column"
        );
        for bits in group.bits_columns.iter() {
            row.column(bits.to_native(), 1)?;
            row.bits.push((bits.to_native(), 0));
        }
        for bit in group.bits.iter() {
            self.register("a bit", bit.register.to_native())?;
            row.bit(&bit.at)?;
        }
        for column in group.columns.iter() {
            self.register("a column", column.register.to_native())?;
            row.column(column.column.to_native(), 1)?;
            row.bit(&column.present)?;
            let den = column.den.to_native();
            ensure!(den == 1 || den == DECIMAL_DEN, "a column has denominator {den}");
            if let ArchivedOrigin::Amend(amend) = column.origin {
                ensure!(usize::from(amend.to_native()) < group.amends.len(), "there is no amendment {amend}");
            }
        }
        for key in group.keys.iter() {
            ensure!(is_key(event, key.word.to_native(), key.bit, None), "a key column reads no key field");
            row.column(key.column.to_native(), 2)?;
            row.bit(&key.present)?;
        }
        let number_of = |column: &ArchivedColumnPlan| column.register.to_native();
        self.run("ingest", &group.ingest, Reads::Event(event), Features::Unused, &[])?;
        for column in group.columns.iter().filter(|column| column.origin == ArchivedOrigin::Own) {
            self.computed("a column", number_of(column))?;
        }
        for bit in group.bits.iter().filter(|bit| !bit.derived) {
            self.computed("a bit", bit.register.to_native())?;
        }

        let stored = group.columns.iter().filter(|column| column.origin != ArchivedOrigin::Derived);
        let applied = group.amends.iter().map(|amend| amend.applied_register.to_native());
        let given: Vec<u16> = stored.map(number_of).chain(applied).collect();
        self.run("derive", &group.derive, Reads::Nothing, Features::Unused, &given)?;
        for column in group.columns.iter() {
            self.computed("a column", number_of(column))?;
        }
        for bit in group.bits.iter().filter(|bit| bit.derived) {
            self.computed("a bit", bit.register.to_native())?;
        }

        let mut kinds = Vec::with_capacity(group.amends.len());
        for (index, amend) in group.amends.iter().enumerate() {
            let kind = amend.event.to_native();
            let by =
                program.events.get(usize::from(kind)).ok_or_else(|| format!("there is no event {kind}"))?;
            ensure!(by.amends.to_native() == number, "event {kind} does not amend its event");
            ensure!(!kinds.contains(&kind), "event {kind} amends it twice");
            kinds.push(kind);
            row.column(amend.version_column.to_native(), 2)?;
            row.bit(&amend.applied)?;
            self.run("amendment code", &amend.code, Reads::Event(by), Features::Unused, &[])?;
            let set = ArchivedOrigin::Amend((index as u16).into());
            for column in group.columns.iter().filter(|column| column.origin == set) {
                self.computed("a column of an amendment", number_of(column))?;
            }
        }
        lanes(group)
    }

    fn rules(&self) -> Checked {
        let rules = &self.program.rules;
        for (index, rule) in rules.iter().enumerate() {
            let check = || -> Checked {
                text("its name", &rule.name, NAME_BYTES_MAX)?;
                let event = rule.event.to_native();
                ensure!(usize::from(event) < self.program.events.len(), "there is no event {event}");
                action(rule.action)?;
                let score = rule.score.to_native();
                ensure!((-1..=100).contains(&score), "score {score} is not -1 to 100");
                let reason = rule.reason.to_native();
                let known = self.program.reasons.iter().any(|declared| declared.id.to_native() == reason);
                ensure!(reason == 0 || known, "there is no reason {reason}");
                for queue in rule.alerts.iter() {
                    let known = self.program.queues.iter().any(|declared| declared.id == *queue);
                    ensure!(known, "there is no queue {queue}");
                }
                for over in rule.allow_over.iter() {
                    let other = rules.get(usize::from(over.to_native()));
                    let other =
                        other.ok_or_else(|| format!("it allows over rule {over}, which does not exist"))?;
                    ensure!(!other.mandatory, "it allows over rule {over}, which is mandatory");
                    ensure!(other.event == rule.event, "it allows over rule {over} of another event");
                }
                Ok(())
            };
            check().map_err(|error| format!("rule {index}: {error}"))?;
        }
        Ok(())
    }

    fn event(&mut self, index: usize, event: &ArchivedEventPlan) -> Checked {
        let program = self.program;
        ensure!(event.keys.len() <= KEYS_MAX, "{} keys are more than {KEYS_MAX}", event.keys.len());
        for (at, key) in event.keys.iter().enumerate() {
            let number = key.table.to_native();
            let (first, second, record_words) =
                table(program, number).ok_or_else(|| format!("key {at}: there is no table {number}"))?;
            let held = |at: &ArchivedKeyAt, entity| is_key(event, at.word.to_native(), at.bit, Some(entity));
            ensure!(held(&key.first, first), "key {at} is no key field of entity {first}");
            match (key.second.as_ref(), second) {
                (None, None) => {}
                (Some(key), Some(second)) => {
                    ensure!(held(key, second), "the second of key {at} is no key field of entity {second}");
                }
                _ => return Err(format!("key {at} has not as many fields as table {number} has keys")),
            }
            ensure!(record_words != 0, "key {at} looks up table {number}, in which nothing is kept");
            let twice = event.keys[..at].iter().any(|other| {
                other.table == key.table && other.first == key.first && other.second == key.second
            });
            ensure!(!twice, "key {at} is there twice");
        }
        let key_table = |key: u16| {
            let plan = event.keys.get(usize::from(key)).ok_or_else(|| format!("there is no key {key}"))?;
            Ok::<u16, String>(plan.table.to_native())
        };
        let group = |group: u16| {
            program.groups.get(usize::from(group)).ok_or_else(|| format!("there is no group {group}"))
        };

        let mut inserted = vec![false; program.groups.len()];
        for insert in event.inserts.iter() {
            let number = insert.group.to_native();
            let group = group(number)?;
            ensure!(usize::from(group.event.to_native()) == index, "group {number} does not keep this event");
            let key = event.keys.get(usize::from(insert.key.to_native()));
            let key = key.ok_or_else(|| format!("there is no key {}", insert.key))?;
            let at = |role: u16| event.fields.get(usize::from(role)).map(|field| field.word);
            let same = key.table == group.table
                && Some(key.first.word) == at(group.role.to_native())
                && key.second.as_ref().map(|second| second.word) == at(group.second_role.to_native());
            ensure!(same, "a row of group {number} is put under another key than its role");
            let twice = std::mem::replace(&mut inserted[usize::from(number)], true);
            ensure!(!twice, "a row is put into group {number} twice");
        }
        let mut changed = vec![false; program.groups.len()];
        for target in event.targets.iter() {
            let number = target.group.to_native();
            let group = group(number)?;
            let amend = group.amends.get(usize::from(target.amend.to_native()));
            let amend = amend.ok_or_else(|| format!("group {number} has no amendment {}", target.amend))?;
            ensure!(
                usize::from(amend.event.to_native()) == index,
                "group {number} is not changed by this event"
            );
            let table = key_table(target.key.to_native())?;
            ensure!(
                table == group.table.to_native(),
                "group {number} is looked up by a key of another table"
            );
            let twice = std::mem::replace(&mut changed[usize::from(number)], true);
            ensure!(!twice, "group {number} is changed twice");
        }
        let mut computed = vec![false; program.features.len()];
        let mut before = None;
        for used in event.windows.iter() {
            let number = used.feature.to_native();
            let feature = program.features.get(usize::from(number));
            let feature = feature.ok_or_else(|| format!("there is no feature {number}"))?;
            let term = feature.terms.first().ok_or_else(|| format!("feature {number} has no window"))?;
            let table = key_table(used.key.to_native())?;
            let kept = group(term.group.to_native())?.table.to_native();
            ensure!(table == kept, "feature {number} is looked up by a key of another table");
            let twice = std::mem::replace(&mut computed[usize::from(number)], true);
            ensure!(!twice, "feature {number} is computed twice");
            let place = (
                used.key.to_native(),
                term.group.to_native(),
                feature.frame.reach_us(),
                feature.delay_us.to_native(),
            );
            ensure!(before <= Some(place), "its windows are not in order of key, group and window");
            before = Some(place);
        }

        self.run("its scalar features", &event.scalars, Reads::Event(event), Features::Set, &[])?;
        self.models_of(index, event)?;
        let eager = self.model_registers(&event.models);
        self.run("its conditions", &event.conditions, Reads::Event(event), Features::Read, &eager)?;
        let ascending = event.rules.is_sorted_by(|a, b| a.to_native() < b.to_native());
        ensure!(ascending, "its rules are not in order");
        for rule in event.rules.iter() {
            let plan = program.rules.get(usize::from(rule.to_native()));
            let plan = plan.ok_or_else(|| format!("there is no rule {rule}"))?;
            ensure!(usize::from(plan.event.to_native()) == index, "rule {rule} is of another event");
        }
        self.matching(event).map_err(|error| format!("its rules: {error}"))?;
        match event.decide.as_ref() {
            Some(decide) => self.decide(event, decide).map_err(|error| format!("its decision: {error}")),
            None => Ok(()),
        }
    }

    /// Right after the run of the event's conditions.
    fn matching(&mut self, event: &ArchivedEventPlan) -> Checked {
        let plan = &event.matching;
        ensure!(
            plan.operands.len() <= OPERANDS_MAX,
            "{} operands are more than {OPERANDS_MAX}",
            plan.operands.len()
        );
        ensure!(
            plan.clauses.len() <= CLAUSES_MAX,
            "{} clauses are more than {CLAUSES_MAX}",
            plan.clauses.len()
        );
        let mut end = 0;
        for (index, first) in plan.firsts.iter().enumerate() {
            let (start, count) = (usize::from(first.start.to_native()), usize::from(first.count.to_native()));
            ensure!(start >= end && count > 0, "table {index} is empty or not behind the one before it");
            end = start + count;
            let rows = event.rules.get(start..end);
            let rows = rows.ok_or_else(|| format!("table {index} ends behind the event's rules"))?;
            // The order in which rows are told is that in which they are tried.
            let salience =
                |rule: &rkyv::rend::u16_le| self.program.rules[usize::from(rule.to_native())].salience;
            ensure!(
                rows.iter().all(|row| salience(row) == salience(&rows[0])),
                "table {index} has rows of different salience"
            );
        }
        for (index, operand) in plan.operands.iter().enumerate() {
            self.computed("an operand", operand.register.to_native())?;
            ensure!(operand.den.to_native() > 0, "operand {index} has no positive denominator");
        }
        self.keep_known();
        for (index, clause) in plan.clauses.iter().enumerate() {
            self.clause(event, clause).map_err(|error| format!("clause {index}: {error}"))?;
        }
        self.forget_kept();
        Ok(())
    }

    fn clause(&mut self, event: &ArchivedEventPlan, clause: &ArchivedClausePlan) -> Checked {
        let rule = clause.rule;
        ensure!(usize::from(rule.to_native()) < event.rules.len(), "the event has no rule {rule}");
        let ascending = clause.tests.is_sorted_by(|a, b| a.operand.to_native() < b.operand.to_native());
        ensure!(ascending, "its operands do not ascend");
        for test in clause.tests.iter() {
            let operand = test.operand;
            ensure!(
                usize::from(operand.to_native()) < event.matching.operands.len(),
                "there is no operand {operand}"
            );
            let positive = test.cuts.iter().all(|cut| cut.den.to_native() > 0);
            ensure!(positive, "a cut has no positive denominator");
            let place =
                |cut: &ArchivedCutPlan| (Value::ratio(cut.num.to_native(), cut.den.to_native()), cut.after);
            let ascending = test.cuts.is_sorted_by(|a, b| {
                let (a, b) = (place(a), place(b));
                a.0.compare(b.0).is_some_and(|order| order.then(a.1.cmp(&b.1)).is_lt())
            });
            ensure!(ascending, "its cuts do not ascend");
        }
        if let Some(rest) = clause.rest.as_ref() {
            self.lazy(event, &rest.models)?;
            let asked = self.model_registers(&rest.models);
            self.run("the rest", &rest.code, Reads::Event(event), Features::Unused, &asked)?;
            self.computed("the rest", rest.register.to_native())?;
        }
        Ok(())
    }

    fn decide(&mut self, event: &ArchivedEventPlan, decide: &ArchivedDecidePlan) -> Checked {
        let (max, sum) = (decide.rule_scores_max.to_native(), decide.rule_scores_sum.to_native());
        let mut given = vec![max, sum];
        let first_own = self.program.features.len() + self.program.models.len();
        let own = [max, sum, decide.final_score.to_native()];
        let own = own.iter().all(|register| usize::from(*register) >= first_own);
        ensure!(own, "a score has the register of a feature or a model");
        self.models_on(event, &decide.models)?;
        given.extend(self.model_registers(&event.models));
        given.extend(self.model_registers(&decide.models));
        let reads = Reads::Event(event);
        self.run("the score", &decide.score_code, reads, Features::Read, &given)?;
        self.computed("the score", decide.score.to_native())?;
        given.push(decide.final_score.to_native());
        self.run("the thresholds", &decide.threshold_code, reads, Features::Read, &given)?;
        for threshold in decide.thresholds.iter().chain(decide.late.iter()) {
            self.computed("a threshold", threshold.0.to_native())?;
            action(threshold.1)?;
        }
        ensure!(
            decide.thresholds.len() <= COUNT_MAX && decide.late.len() <= COUNT_MAX,
            "it has too many thresholds"
        );
        action(decide.unassessed)?;
        action(decide.late_otherwise)
    }
}

/// Whether the event has a key field (of this entity) at this word and bit.
fn is_key(event: &ArchivedEventPlan, word: u16, bit: u8, entity: Option<u16>) -> bool {
    event.fields.iter().any(|field| {
        field.kind == ArchivedFieldKind::Entity
            && (field.word.to_native(), field.bit) == (word, bit)
            && entity.is_none_or(|entity| field.arg.to_native() == entity)
    })
}

fn action(code: u8) -> Checked {
    ensure!(Action::from_code(code).is_some(), "there is no action {code}");
    Ok(())
}
