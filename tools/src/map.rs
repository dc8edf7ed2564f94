//! The map: which columns of a file are which fields of which events.
//!
//! ```toml
//! [event.payment]
//! id = "TRANSACTION_ID"
//! time = { column = "TX_DATETIME", unit = "timestamp" }   # or s, ms, us, ns, rfc3339
//!
//! [event.payment.fields]
//! customer = "CUSTOMER_ID"                                 # a column
//! amount = { column = "TX_AMOUNT", currency = "USD" }      # or currency_column = "CURRENCY"
//! channel = { constant = "pos" }
//! location = { latitude = "LAT", longitude = "LON" }       # degrees, for a field of type geo
//! opened = { column = "OPENED", unit = "rfc3339" }         # a field of type time; units as above
//! idle = { column = "IDLE_SECONDS", unit = "s" }           # a duration: us, ms, s, m, h or d
//!
//! [event.label]                                            # an amendment, made from the same row
//! when = { column = "TX_FRAUD", equals = 1 }
//! after = "7d"
//! fields = { is_fraud = "TX_FRAUD" }
//! ```
//!
//! An amendment takes id, time and keys of what it amends from the row that makes that event; its own id is
//! derived from the row's id and its kind, and its time is that event's time plus `after`. The map is read
//! loosely as TOML, then checked once against the policy into a [`Map`] that the rest trusts.
//!
//! For `tollctl resolve` a map makes amendments alone, of rows that know no more of an event than its id:
//!
//! ```toml
//! [event.label]
//! of = "TRANSACTION_ID"                                    # what it amends; or { column = "…", form = "hex" }
//! time = { column = "KNOWN_AT", unit = "rfc3339" }         # its own time
//! id = "CASE_ID"                                           # its own id; left out: derived from `of` and its kind
//! fields = { is_fraud = "TX_FRAUD" }
//! ```
//!
//! `hex` is for ids that a switch made itself: 32 digits, as `tollctl journal cat` prints them.

use crate::cell::{self, Cell, TimeUnit};
use crate::fault::{Fault, Problem, shown_text};
use std::ops::Range;
use std::path::Path;
use tollgate::encode::{self, FieldSlot};
use tollgate::engine::program::{ArchivedFieldKind, ArchivedFieldPlan, ArchivedProgram, NONE};
use tollgate::engine::units::{Currency, DAY, HOUR, MINUTE, SECOND};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest `after`.
const AFTER_MAX: i64 = 400 * DAY;

/// The most bytes of a map.
const MAP_BYTES_MAX: u64 = 1 << 20;

/// A checked map. Columns are numbers into `columns`.
#[derive(Debug)]
pub(crate) struct Map {
    /// The columns in use, in the order of their first use.
    pub(crate) columns: Vec<String>,
    /// Where each column was first named, for the error when the file has no such column.
    places: Vec<String>,
    /// The events that a row may make, in the order in which a row makes them.
    pub(crate) events: Vec<EventMap>,
}

/// How a row makes one event.
#[derive(Debug)]
pub(crate) struct EventMap {
    /// Its name.
    pub(crate) name: String,
    /// Its number on the wire.
    pub(crate) kind: u16,
    /// Rows that do not pass make none.
    pub(crate) when: Option<(usize, Constant)>,
    /// Where id and time come from.
    pub(crate) origin: Origin,
    /// How much later than its row it happens, µs.
    pub(crate) after_us: i64,
    /// Its own fields.
    pub(crate) fields: Vec<FieldMap>,
}

/// Where an event's id and time come from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// The row itself.
    Row {
        /// Column of the id.
        id: usize,
        /// Column of the time, and how it is written.
        time: (usize, TimeUnit),
    },
    /// Another event of the same row.
    Amends {
        /// Index into [`Map::events`]; smaller than the amendment's own.
        event: usize,
        /// Key fields of that event and where the amendment carries them.
        keys: Vec<(FieldSlot, FieldSlot)>,
    },
    /// The row, and an event that the journal knows by its id.
    Alone(Alone),
}

/// An amendment whose row has no more of the amended event than its id.
#[derive(Debug)]
pub(crate) struct Alone {
    /// Column of the amended event's id.
    pub(crate) of: usize,
    /// Whether that is the id itself, in hexadecimal, and not a name to make it of.
    pub(crate) hex: bool,
    /// The amended event's number on the wire.
    pub(crate) amends: u16,
    /// Column of the amendment's own id.
    pub(crate) id: Option<usize>,
    /// Column of the amendment's own time, and how it is written.
    pub(crate) time: (usize, TimeUnit),
    /// Key fields of the amended event and where the amendment carries them.
    pub(crate) keys: Vec<(FieldSlot, FieldSlot)>,
}

/// How one field is filled.
#[derive(Debug)]
pub(crate) struct FieldMap {
    /// Where it goes.
    pub(crate) slot: FieldSlot,
    /// Must be there.
    pub(crate) required: bool,
    /// What kind of value it takes.
    pub(crate) target: Target,
    /// Where the value comes from.
    pub(crate) source: Source,
}

/// What a field holds, with what converting to it needs.
#[derive(Debug)]
pub(crate) enum Target {
    /// `bool`.
    Bool,
    /// `int`.
    Int,
    /// `decimal`.
    Decimal,
    /// `money`, and where its currency comes from.
    Money(CurrencySource),
    /// `enum`, its words.
    Enum(Vec<String>),
    /// A key: number and name of its entity kind.
    Entity(usize, String),
    /// `geo`: the source is the latitude; this is the column of the longitude.
    Geo(usize),
    /// `country`.
    Country,
    /// `currency`.
    Currency,
    /// `mcc`.
    Mcc,
    /// `bin`.
    Bin,
    /// `text`, of at most so many bytes.
    Text(usize),
    /// `ip`.
    Ip,
    /// `time`, and how it is written.
    Time(TimeUnit),
    /// `duration`, and the unit it is a number of.
    Duration(i64),
}

/// Where a currency comes from.
#[derive(Debug)]
pub(crate) enum CurrencySource {
    /// The map.
    Fixed(Currency),
    /// A column.
    Column(usize),
}

/// Where a value comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A column.
    Column(usize),
    /// The map; checked to convert.
    Constant(Constant),
}

/// A value written in a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Constant {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Constant {
    /// As if it stood in a file.
    pub(crate) fn cell(&self) -> Cell<'_> {
        match self {
            Self::Bool(truth) => Cell::Bool(*truth),
            Self::Int(number) => Cell::Int(*number),
            Self::Float(number) => Cell::Float(*number),
            Self::Text(text) if text.is_empty() => Cell::Null,
            Self::Text(text) => Cell::Text(text),
        }
    }
}

impl Map {
    /// Reads a map file and checks it against a policy.
    pub(crate) fn load(path: &Path, program: &ArchivedProgram) -> Result<Self, Fault> {
        let (file, text) = Self::read(path)?;
        Self::parse(&file, &text, program)
    }

    /// Reads a map file whose amendments know no more than an id.
    pub(crate) fn load_alone(path: &Path, program: &ArchivedProgram) -> Result<Self, Fault> {
        let (file, text) = Self::read(path)?;
        Self::check(&file, &text, program, true)
    }

    fn read(path: &Path) -> Result<(String, String), Fault> {
        let file = path.display().to_string();
        let cannot = |error: std::io::Error| {
            let (what, help) = match error.kind() {
                std::io::ErrorKind::InvalidData => ("is not UTF-8".into(), "convert the file to UTF-8"),
                _ => (format!("cannot be read: {error}"), "check the path and its permissions"),
            };
            Problem::new(what, help).at(&*file)
        };
        if std::fs::metadata(path).map_err(cannot)?.len() > MAP_BYTES_MAX {
            return Err(Problem::new("is larger than 1 MiB", "this is not a map").at(file));
        }
        let text = std::fs::read_to_string(path).map_err(cannot)?;
        Ok((file, text))
    }

    /// Checks the text of a map against a policy.
    pub(crate) fn parse(file: &str, text: &str, program: &ArchivedProgram) -> Result<Self, Fault> {
        Self::check(file, text, program, false)
    }

    fn check(file: &str, text: &str, program: &ArchivedProgram, alone: bool) -> Result<Self, Fault> {
        let document = DeTable::parse(text).map_err(|error| {
            let place = place(file, text, error.span().unwrap_or(0..0));
            Problem::new(format!("is not TOML: {}", error.message()), "see https://toml.io for its syntax")
                .at(place)
        })?;
        let mut checker = Checker {
            file,
            text,
            program,
            alone,
            map: Self { columns: Vec::new(), places: Vec::new(), events: Vec::new() },
        };
        checker.document(document.get_ref(), document.span())?;
        Ok(checker.map)
    }

    /// Refuses a map that names columns which the file does not have.
    pub(crate) fn check_columns(&self, file: &str, available: &[String]) -> Result<(), Fault> {
        for (name, place) in self.columns.iter().zip(&self.places) {
            if !available.contains(name) {
                let shown: Vec<&str> = available.iter().take(40).map(String::as_str).collect();
                return Err(Problem::new(
                    format!("{file} has no column {}", shown_text(name)),
                    format!("its columns are {}", shown.join(", ")),
                )
                .at(place));
            }
        }
        Ok(())
    }
}

/// `file:line:column`, both from 1.
fn place(file: &str, text: &str, span: Range<usize>) -> String {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!("{file}:{line}:{column}")
}

type Entry<'a, 'i> = (&'a str, Range<usize>, &'a Spanned<DeValue<'i>>);

/// The keys of a table, in the order in which they are written.
fn entries<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
    let mut entries: Vec<_> =
        table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
    entries.sort_by_key(|entry| entry.1.start);
    entries
}

struct Checker<'a> {
    file: &'a str,
    text: &'a str,
    program: &'a ArchivedProgram,
    /// Whether amendments know no more than an id.
    alone: bool,
    map: Map,
}

/// One `[event.NAME]`, its keys told apart.
struct EventTable<'a, 'i> {
    name: &'a str,
    at: Range<usize>,
    kind: u16,
    amends: Option<u16>,
    when: Option<&'a Spanned<DeValue<'i>>>,
    of: Option<&'a Spanned<DeValue<'i>>>,
    id: Option<&'a Spanned<DeValue<'i>>>,
    time: Option<&'a Spanned<DeValue<'i>>>,
    after: Option<&'a Spanned<DeValue<'i>>>,
    fields: Option<&'a Spanned<DeValue<'i>>>,
}

impl Checker<'_> {
    fn fault(&self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Fault {
        Problem::new(message, help).at(place(self.file, self.text, span))
    }

    fn unknown_key(&self, key: &str, span: Range<usize>, known: &str) -> Fault {
        self.fault(
            span,
            format!("unknown key {}", shown_text(key)),
            format!("the keys known here are {known}"),
        )
    }

    fn table<'t, 'i>(&self, value: &'t Spanned<DeValue<'i>>, what: &str) -> Result<&'t DeTable<'i>, Fault> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.fault(
                value.span(),
                format!("{what} must be a table"),
                "write it as { key = value }",
            )),
        }
    }

    fn string<'t>(&self, value: &'t Spanned<DeValue<'_>>, what: &str) -> Result<&'t str, Fault> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text),
            _ => Err(self.fault(value.span(), format!("{what} must be a string"), "put it in double quotes")),
        }
    }

    fn constant(&self, value: &Spanned<DeValue<'_>>) -> Result<Constant, Fault> {
        let number = |radix: u32, text: &str| i64::from_str_radix(text, radix).ok();
        let constant = match value.get_ref() {
            DeValue::String(text) => Some(Constant::Text(text.to_string())),
            DeValue::Integer(integer) => number(integer.radix(), integer.as_str()).map(Constant::Int),
            DeValue::Float(float) => {
                float.as_str().parse().ok().filter(|f: &f64| f.is_finite()).map(Constant::Float)
            }
            DeValue::Boolean(truth) => Some(Constant::Bool(*truth)),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
        };
        constant.ok_or_else(|| {
            self.fault(value.span(), "this cannot be a value", "write a string, a number, true or false")
        })
    }

    fn column(&mut self, value: &Spanned<DeValue<'_>>, what: &str) -> Result<usize, Fault> {
        let name = self.string(value, what)?;
        if let Some(found) = self.map.columns.iter().position(|column| column == name) {
            return Ok(found);
        }
        self.map.columns.push(name.to_owned());
        self.map.places.push(place(self.file, self.text, value.span()));
        Ok(self.map.columns.len() - 1)
    }

    fn document(&mut self, document: &DeTable<'_>, all: Range<usize>) -> Result<(), Fault> {
        let mut tables = Vec::new();
        for (key, span, value) in entries(document) {
            if key != "event" {
                return Err(self.unknown_key(key, span, "event"));
            }
            for (name, span, value) in entries(self.table(value, "event")?) {
                tables.push(self.event_table(name, span, value)?);
            }
        }
        if tables.is_empty() {
            return Err(self.fault(all, "the map makes no event", "add a table such as [event.payment]"));
        }
        // What is amended comes before its amendments; otherwise the order of the policy.
        tables.sort_by_key(|table| (table.amends.is_some(), table.kind));
        for table in &tables {
            let event = self.event(table)?;
            self.map.events.push(event);
        }
        Ok(())
    }

    fn event_table<'t, 'i>(
        &self,
        name: &'t str,
        at: Range<usize>,
        value: &'t Spanned<DeValue<'i>>,
    ) -> Result<EventTable<'t, 'i>, Fault> {
        let Some((kind, plan)) = encode::event(self.program, name) else {
            let known: Vec<&str> = self.program.events.iter().map(|event| event.name.as_str()).collect();
            return Err(self.fault(
                at,
                format!("the policy has no event {}", shown_text(name)),
                format!("its events are {}", known.join(", ")),
            ));
        };
        let amends = Some(plan.amends.to_native()).filter(|amends| *amends != NONE);
        let mut table = EventTable {
            name,
            at,
            kind,
            amends,
            when: None,
            of: None,
            id: None,
            time: None,
            after: None,
            fields: None,
        };
        for (key, span, value) in entries(self.table(value, name)?) {
            match key {
                "when" => table.when = Some(value),
                "id" => table.id = Some(value),
                "time" => table.time = Some(value),
                "after" if !self.alone => table.after = Some(value),
                "of" if self.alone => table.of = Some(value),
                "fields" => table.fields = Some(value),
                _ if self.alone => return Err(self.unknown_key(key, span, "when, of, time, id, fields")),
                _ => return Err(self.unknown_key(key, span, "when, id, time, after, fields")),
            }
        }
        Ok(table)
    }

    fn event(&mut self, table: &EventTable<'_, '_>) -> Result<EventMap, Fault> {
        let when = table.when.map(|value| self.when(value)).transpose()?;
        let after_us = table.after.map(|value| self.after(value)).transpose()?.unwrap_or(0);
        let origin = match table.amends {
            Some(amends) if self.alone => Origin::Alone(self.alone(table, amends)?),
            None if self.alone => {
                return Err(self.fault(
                    table.at.clone(),
                    format!("`{}` amends nothing", table.name),
                    "keep amendments only; `tollctl switch` sends other events",
                ));
            }
            Some(amends) => self.amendment(table, amends)?,
            None => self.row(table)?,
        };
        let fields = self.fields(table)?;
        Ok(EventMap { name: table.name.to_owned(), kind: table.kind, when, origin, after_us, fields })
    }

    fn when(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(usize, Constant), Fault> {
        let (mut column, mut equals) = (None, None);
        for (key, span, value) in entries(self.table(value, "when")?) {
            match key {
                "column" => column = Some(self.column(value, "a column")?),
                "equals" => equals = Some(self.constant(value)?),
                _ => return Err(self.unknown_key(key, span, "column, equals")),
            }
        }
        column.zip(equals).ok_or_else(|| {
            self.fault(
                value.span(),
                "a filter needs a column and a value",
                "write it as { column = \"NAME\", equals = 1 }",
            )
        })
    }

    fn after(&self, value: &Spanned<DeValue<'_>>) -> Result<i64, Fault> {
        let text = self.string(value, "after")?;
        duration(text).filter(|after| (0..=AFTER_MAX).contains(after)).ok_or_else(|| {
            self.fault(
                value.span(),
                format!("{} is not a duration of at most 400 days", shown_text(text)),
                "write a whole number and ms, s, m, h or d, such as 7d",
            )
        })
    }

    fn amendment(&self, table: &EventTable<'_, '_>, amends: u16) -> Result<Origin, Fault> {
        let plan = &self.program.events[usize::from(amends)];
        let of = plan.name.as_str();
        for (value, key) in [(table.id, "id"), (table.time, "time")] {
            if let Some(value) = value {
                return Err(self.fault(
                    value.span(),
                    format!("`{}` amends `{of}` and takes its {key} from it", table.name),
                    format!("remove `{key}`; `after` says how much later it comes"),
                ));
            }
        }
        if table.after.is_none() {
            return Err(self.fault(
                table.at.clone(),
                format!("`{}` amends `{of}` but does not say how much later it comes", table.name),
                "add a line such as after = \"7d\"",
            ));
        }
        let Some(event) = self.map.events.iter().position(|event| event.kind == amends) else {
            return Err(self.fault(
                table.at.clone(),
                format!("`{}` amends `{of}`, which the map does not make", table.name),
                format!("add [event.{of}]"),
            ));
        };
        Ok(Origin::Amends { event, keys: self.carried_keys(table.kind, amends) })
    }

    /// Key fields of the amended event and where its amendment carries them.
    fn carried_keys(&self, kind: u16, amends: u16) -> Vec<(FieldSlot, FieldSlot)> {
        let (own, plan) =
            (&self.program.events[usize::from(kind)], &self.program.events[usize::from(amends)]);
        let prefix = format!("{}.", plan.name);
        let slots = own.fields.iter().filter_map(|field| {
            let from = encode::field(plan, field.name.as_str().strip_prefix(&*prefix)?)?;
            Some((from, encode::field(own, field.name.as_str())?))
        });
        slots.collect()
    }

    fn alone(&mut self, table: &EventTable<'_, '_>, amends: u16) -> Result<Alone, Fault> {
        let value = table.of.ok_or_else(|| self.missing(table, "of", "of = \"TRANSACTION_ID\""))?;
        let (mut column, mut hex) = (None, false);
        if matches!(value.get_ref(), DeValue::String(_)) {
            column = Some(self.column(value, "of")?);
        } else {
            for (key, span, value) in entries(self.table(value, "of")?) {
                match key {
                    "column" => column = Some(self.column(value, "a column")?),
                    "form" if self.string(value, "form")? == "hex" => hex = true,
                    "form" => {
                        return Err(self.fault(value.span(), "the only form is \"hex\"", "leave `form` out"));
                    }
                    _ => return Err(self.unknown_key(key, span, "column, form")),
                }
            }
        }
        let of = column.ok_or_else(|| {
            self.fault(
                value.span(),
                "`of` needs a column",
                "write it as \"COLUMN\" or { column = \"COLUMN\" }",
            )
        })?;
        let id = table.id.map(|value| self.column(value, "id")).transpose()?;
        let time = self.time(table)?;
        Ok(Alone { of, hex, amends, id, time, keys: self.carried_keys(table.kind, amends) })
    }

    fn missing(&self, table: &EventTable<'_, '_>, key: &str, example: &str) -> Fault {
        self.fault(
            table.at.clone(),
            format!("`{}` has no `{key}`", table.name),
            format!("add a line such as {example}"),
        )
    }

    fn row(&mut self, table: &EventTable<'_, '_>) -> Result<Origin, Fault> {
        let id = table.id.ok_or_else(|| self.missing(table, "id", "id = \"TRANSACTION_ID\""))?;
        let id = self.column(id, "id")?;
        Ok(Origin::Row { id, time: self.time(table)? })
    }

    fn time(&mut self, table: &EventTable<'_, '_>) -> Result<(usize, TimeUnit), Fault> {
        let example = "time = { column = \"TX_DATETIME\", unit = \"timestamp\" }";
        let value = table.time.ok_or_else(|| self.missing(table, "time", example))?;
        let (mut column, mut unit) = (None, None);
        for (key, span, value) in entries(self.table(value, "time")?) {
            match key {
                "column" => column = Some(self.column(value, "a column")?),
                "unit" => {
                    let word = self.string(value, "unit")?;
                    unit = Some(TimeUnit::from_word(word).ok_or_else(|| {
                        self.fault(
                            value.span(),
                            format!("{} is not a unit of time", shown_text(word)),
                            format!("the units are {}", TimeUnit::WORDS),
                        )
                    })?);
                }
                _ => return Err(self.unknown_key(key, span, "column, unit")),
            }
        }
        column.zip(unit).ok_or_else(|| {
            self.fault(value.span(), "a time needs a column and a unit", format!("write it as {example}"))
        })
    }

    fn fields(&mut self, table: &EventTable<'_, '_>) -> Result<Vec<FieldMap>, Fault> {
        let plan = &self.program.events[usize::from(table.kind)];
        let own = |field: &&ArchivedFieldPlan| !field.name.contains('.');
        let is_required = |field: &ArchivedFieldPlan| plan.required.to_native() >> field.bit & 1 == 1;
        let written = match table.fields {
            Some(value) => entries(self.table(value, "fields")?),
            None => Vec::new(),
        };
        let mut fields = Vec::new();
        for (name, span, value) in &written {
            let Some(field) = plan.fields.iter().filter(own).find(|field| field.name.as_str() == *name)
            else {
                let known: Vec<&str> =
                    plan.fields.iter().filter(own).map(|field| field.name.as_str()).collect();
                return Err(self.fault(
                    span.clone(),
                    format!("`{}` has no field {}", table.name, shown_text(name)),
                    format!("its fields are {}", known.join(", ")),
                ));
            };
            fields.push(self.field(field, is_required(field), value)?);
        }
        for field in plan.fields.iter().filter(own).filter(|field| is_required(field)) {
            if !written.iter().any(|(name, ..)| *name == field.name.as_str()) {
                return Err(self.fault(
                    table.at.clone(),
                    format!("`{}` lacks its required field `{}`", table.name, field.name),
                    format!(
                        "add `{0}` to its fields, or declare it optional in the policy: `{0}: …?`",
                        field.name
                    ),
                ));
            }
        }
        Ok(fields)
    }

    fn field(
        &mut self,
        field: &ArchivedFieldPlan,
        required: bool,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<FieldMap, Fault> {
        let is_money = field.kind == ArchivedFieldKind::Money;
        let is_place = field.kind == ArchivedFieldKind::Geo;
        let is_spanned = matches!(field.kind, ArchivedFieldKind::Time | ArchivedFieldKind::Duration);
        let (mut source, mut currency, mut longitude, mut unit) = (None, None, None, None);
        if !is_place && matches!(value.get_ref(), DeValue::String(_)) {
            source = Some(Source::Column(self.column(value, "a column")?));
        } else {
            for (key, span, value) in entries(self.table(value, field.name.as_str())?) {
                let fresh = match key {
                    "latitude" if is_place => {
                        source.replace(Source::Column(self.column(value, "a column")?)).is_none()
                    }
                    "longitude" if is_place => longitude.replace(self.column(value, "a column")?).is_none(),
                    _ if is_place => return Err(self.unknown_key(key, span, "latitude, longitude")),
                    "column" => source.replace(Source::Column(self.column(value, "a column")?)).is_none(),
                    "constant" => source.replace(Source::Constant(self.constant(value)?)).is_none(),
                    "currency" if is_money => {
                        let code = self.string(value, "currency")?;
                        let fixed = cell::currency(Cell::Text(code))
                            .map_err(|problem| problem.at(place(self.file, self.text, value.span())))?;
                        currency.replace(CurrencySource::Fixed(fixed)).is_none()
                    }
                    "currency_column" if is_money => {
                        currency.replace(CurrencySource::Column(self.column(value, "a column")?)).is_none()
                    }
                    "unit" if is_spanned => unit.replace(self.string(value, "unit")?.to_owned()).is_none(),
                    _ if is_spanned => return Err(self.unknown_key(key, span, "column, constant, unit")),
                    _ if is_money => {
                        return Err(self.unknown_key(
                            key,
                            span,
                            "column, constant, currency, currency_column",
                        ));
                    }
                    _ => return Err(self.unknown_key(key, span, "column, constant")),
                };
                if !fresh {
                    return Err(self.fault(
                        span,
                        format!("`{}` has two sources", field.name),
                        "give either a column or a constant",
                    ));
                }
            }
        }
        let source = source.ok_or_else(|| {
            self.fault(
                value.span(),
                format!("`{}` has no source", field.name),
                "write it as \"COLUMN\", { column = \"COLUMN\" } or { constant = … }",
            )
        })?;
        let target = match longitude {
            Some(longitude) => Target::Geo(longitude),
            None => self.target(field, currency, unit, value.span())?,
        };
        let slot = FieldSlot { word: field.word.to_native(), bit: field.bit, kind: field.kind };
        let mapped = FieldMap { slot, required, target, source };
        if let Source::Constant(constant) = &mapped.source {
            check_constant(&mapped.target, constant)
                .map_err(|problem| problem.at(place(self.file, self.text, value.span())))?;
        }
        Ok(mapped)
    }

    fn target(
        &self,
        field: &ArchivedFieldPlan,
        currency: Option<CurrencySource>,
        unit: Option<String>,
        span: Range<usize>,
    ) -> Result<Target, Fault> {
        let arg = usize::from(field.arg.to_native());
        Ok(match field.kind {
            ArchivedFieldKind::Bool => Target::Bool,
            ArchivedFieldKind::Int => Target::Int,
            ArchivedFieldKind::Decimal => Target::Decimal,
            ArchivedFieldKind::Money => Target::Money(currency.ok_or_else(|| {
                self.fault(
                    span,
                    format!("`{}` is money and has no currency", field.name),
                    "write it as { column = \"AMOUNT\", currency = \"USD\" }, or with currency_column = \"…\"",
                )
            })?),
            ArchivedFieldKind::Enum => {
                Target::Enum(field.labels.iter().map(|label| label.as_str().to_owned()).collect())
            }
            ArchivedFieldKind::Entity => {
                let name = self.program.entities.get(arg).map_or("", |entity| entity.name.as_str());
                Target::Entity(arg, name.to_owned())
            }
            ArchivedFieldKind::Country => Target::Country,
            ArchivedFieldKind::Currency => Target::Currency,
            ArchivedFieldKind::Mcc => Target::Mcc,
            ArchivedFieldKind::Bin => Target::Bin,
            ArchivedFieldKind::Text => Target::Text(arg),
            ArchivedFieldKind::Ip => Target::Ip,
            ArchivedFieldKind::Time | ArchivedFieldKind::Duration => {
                let is_time = field.kind == ArchivedFieldKind::Time;
                let word = unit.ok_or_else(|| {
                    let (what, example) = if is_time { ("a time", "rfc3339") } else { ("a duration", "s") };
                    self.fault(
                        span.clone(),
                        format!("`{}` is {what} and has no unit", field.name),
                        format!("write it as {{ column = \"COLUMN\", unit = \"{example}\" }}"),
                    )
                })?;
                let known = if is_time {
                    TimeUnit::from_word(&word).map(Target::Time)
                } else {
                    duration_unit(&word).map(Target::Duration)
                };
                known.ok_or_else(|| {
                    let words = if is_time { TimeUnit::WORDS } else { "us, ms, s, m, h, d" };
                    let message = format!("{} is not a unit of {}", shown_text(&word), field.name);
                    self.fault(span, message, format!("the units are {words}"))
                })?
            }
            ArchivedFieldKind::Rate => {
                return Err(self.fault(
                    span,
                    "rates are not made from rows of events",
                    "leave them out of the map, and give their file with --rates",
                ));
            }
            ArchivedFieldKind::Geo => {
                return Err(self.fault(
                    span,
                    format!("`{}` is a place and has no longitude", field.name),
                    "write it as { latitude = \"LAT\", longitude = \"LON\" }",
                ));
            }
        })
    }
}

/// Whether a constant converts, so that no row has to find out.
fn check_constant(target: &Target, constant: &Constant) -> Result<(), Problem> {
    let cell = constant.cell();
    if cell == Cell::Null {
        return Err(Problem::new("the constant is empty", "leave the field out of the map"));
    }
    match target {
        Target::Bool => cell::truth(cell).map(drop),
        Target::Int => cell::int(cell).map(drop),
        Target::Decimal => cell::decimal(cell).map(drop),
        Target::Money(CurrencySource::Fixed(currency)) => cell::money(cell, *currency).map(drop),
        Target::Money(CurrencySource::Column(_)) => Ok(()),
        Target::Enum(words) => cell::ordinal(cell, words).map(drop),
        Target::Country => cell::country(cell).map(drop),
        Target::Currency => cell::currency(cell).map(drop),
        Target::Mcc => cell::mcc(cell).map(drop),
        Target::Bin => cell::bin(cell).map(drop),
        Target::Text(bytes) => cell::text(cell, *bytes).map(drop),
        Target::Ip => cell::address(cell).map(drop),
        Target::Time(unit) => cell::time(cell, *unit).map(drop),
        Target::Duration(unit_us) => cell::duration(cell, *unit_us).map(drop),
        // A place has columns alone.
        Target::Geo(_) => Ok(()),
        Target::Entity(..) => {
            let mut text = String::new();
            cell::name(cell, &mut text)?;
            if cell::is_raw_card_number(&text) { Err(cell::raw_card_number()) } else { Ok(()) }
        }
    }
}

/// A duration such as `7d`, in microseconds.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    number.parse::<i64>().ok()?.checked_mul(duration_unit(unit)?)
}

/// A unit of durations, in microseconds.
fn duration_unit(word: &str) -> Option<i64> {
    Some(match word {
        "us" => 1,
        "ms" => 1000,
        "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return None,
    })
}
