//! The checked policy: every name resolved, every expression typed, nothing left to refuse.
//!
//! [`check`](super::check()) makes it from syntax; [`lower`](mod@super::lower) turns it into a flat program. The naive
//! oracle of the tests interprets this tree directly, so that program and engine are held against a
//! second reading of the same policy. It is one file, so that the language can be read from top to bottom; models alone, which are
//! another's language, are beside it.

mod models;

use crate::engine::program::{Assume, ListOf, PrefixPlan};
use crate::engine::units::entries::Entry;
use crate::engine::units::{Action, Currency, DAY, HOUR, Value};

pub use models::{Calibration, Model, ModelFile};

/// A half-open range of bytes in a source file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u16);
        impl $name {
            /// As an index.
            #[must_use]
            pub fn index(self) -> usize {
                usize::from(self.0)
            }
        }
    };
}

index!(
    /// Index into [`Policy::entities`].
    EntityIx
);
index!(
    /// Index into [`Policy::events`]; also the kind number on the wire.
    EventIx
);
index!(
    /// Index into [`Event::fields`] of the event that the context names.
    FieldIx
);
index!(
    /// Index into [`Policy::lets`].
    LetIx
);
index!(
    /// Index into [`Policy::features`].
    FeatureIx
);
index!(
    /// Index into [`Policy::models`].
    ModelIx
);
index!(
    /// Index into [`Policy::rules`].
    RuleIx
);
index!(
    /// Index into [`Policy::lists`].
    ListIx
);
index!(
    /// Index into [`Policy::scenes`].
    SceneIx
);
index!(
    /// Index into [`Policy::tables`].
    TableIx
);

/// A whole checked policy. Vectors are in source order.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// `policy NAME …`.
    pub name: String,
    /// `… revision N`.
    pub revision: u32,
    /// Entity kinds.
    pub entities: Vec<String>,
    /// Events and amendments; the index is the kind number on the wire.
    pub events: Vec<Event>,
    /// Declared reasons.
    pub reasons: Vec<Reason>,
    /// Queues that rules can alert.
    pub queues: Vec<Queue>,
    /// Lists.
    pub lists: Vec<List>,
    /// `let` definitions, each after those it uses; then scorecards.
    pub lets: Vec<Let>,
    /// Features, in the order in which they are reported.
    pub features: Vec<Feature>,
    /// Models.
    pub models: Vec<Model>,
    /// Scenes: rules that share a condition.
    pub scenes: Vec<Scene>,
    /// Decision tables: rules of which one or all fire.
    pub tables: Vec<Table>,
    /// Rules, those of scenes and the rows of tables included.
    pub rules: Vec<Rule>,
    /// At most one per event; only events with one are judged.
    pub decides: Vec<Decide>,
    /// How money of one currency becomes money of another; `None` when it does not.
    pub rates: Option<Rates>,
}

/// `rates "NAME" max_age D`: at most one in a policy.
///
/// It adds one kind of event to the wire, after the policy's own, called [`RATE_EVENT`]: from which currency, to which,
/// and what one whole unit of the first is worth in whole units of the second, an exact fraction. Its time is when the
/// rate takes effect, which may be long ago or yet to come. A rate is an input like any other (answered, journaled,
/// replayed, the same again when sent twice), but it is never shed or late, moves no clock, and enters no window.
///
/// Money is converted at the newest rate of its pair that is in effect at the event's time and not older than
/// `max_age_us` then, among those that had come when the event did. Of rates with equal times the one with the greatest
/// id tag is the newest, and of those the last that came. The reverse pair and crosses over a third currency are never
/// used. Both currencies' digits after the point are counted, and the result is rounded half-even to whole minor units.
/// It is missing when no rate is in effect, when the newest is too old, or when it does not fit 64 bits; each is counted
/// once for an event. What an amendment brings is converted when the amendment comes, at the amendment's own time.
///
/// What was converted stays as it is: rates that come later change neither a verdict nor what windows hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// What they are called. Senders and policy must mean the same ones: it is part of the layout of events.
    pub name: String,
    /// How long a rate converts, counted from when it took effect, in microseconds; > 0 and at most
    /// [`WINDOW_MAX_DAYS`] days. A rate that is exactly so old still does.
    pub max_age_us: i64,
}

/// The name of the kind of event that brings rates. With `rates` declared nothing else in a policy has this name.
pub const RATE_EVENT: &str = "rate";

/// One kind of event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// The event it amends, for an amendment. Never itself an amendment.
    pub amends: Option<EventIx>,
    /// Its own fields, then, for an amendment, one optional-as-declared copy of each entity field of the amended
    /// event (see [`Field::inherited`]).
    pub fields: Vec<Field>,
}

/// One field of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name; for an inherited one the name in the amended event.
    pub name: String,
    /// Its type.
    pub ty: FieldType,
    /// Declared with `?`.
    pub optional: bool,
    /// For an amendment's copy of a key of the event it amends: which field of that event.
    pub inherited: Option<FieldIx>,
}

/// The type of a field on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldType {
    /// `bool`.
    Bool,
    /// `int`: 64-bit signed.
    Int,
    /// `decimal`: 64-bit signed, six digits after the point.
    Decimal,
    /// `money`: minor units and a currency.
    Money,
    /// `enum { … }`: the ordinal of one of these words.
    Enum(Vec<String>),
    /// A role: a key of this entity kind.
    Entity(EntityIx),
    /// `geo`: a place on the earth. One word: the latitude in the high half, the longitude in the low half, each a
    /// signed 32-bit number of millionths of a degree, north and east positive. Latitudes beyond ±90° and longitudes
    /// beyond ±180° are refused. No expression reads it; only [`Expr::FieldMissing`], [`Aggregate::Distance`] and
    /// [`Aggregate::Speed`] do.
    Geo,
    /// `country`: an ISO 3166-1 alpha-2 code, by its number (see [`Country`](crate::engine::units::codes::Country)).
    Country,
    /// `currency`: a currency, by its ISO 4217 number.
    Currency,
    /// `mcc`: a merchant category, four digits, by its number.
    Mcc,
    /// `bin`: the 6 to 8 leading digits of a card, by their number (see [`Bin`](crate::engine::units::codes::Bin)).
    Bin,
    /// `time`: an instant, in microseconds since 1970-01-01T00:00Z; before 2200, as events are.
    Time,
    /// `duration`: a length of time, in microseconds; may be negative.
    Duration,
    /// `text(N)`: up to N bytes of UTF-8, as the wire has them: eight to a word, the first in the lowest byte, filled up with
    /// zeros. No control characters, and nothing that could be a card number. No expression computes with it; only
    /// [`Expr::FieldMissing`], [`Expr::TextIs`], [`Expr::TextStarts`], [`Expr::SameText`] and [`Expr::InList`] read it.
    Text(u16),
    /// `ip`: an IPv6 address, or an IPv4 address as `::ffff:a.b.c.d`; its first eight bytes as a number, then the others. Only
    /// [`Expr::FieldMissing`], [`Expr::Within`], [`Expr::SameKey`] and [`Expr::InList`] read it.
    Ip,
}

impl FieldType {
    /// The type of the value of this field of an event; `None` for what is not computed with: keys, places, texts, addresses.
    #[must_use]
    pub fn value_type(&self, event: EventIx, field: FieldIx) -> Option<Type> {
        Some(match self {
            Self::Bool => Type::Bool,
            Self::Int => Type::Int,
            Self::Decimal => Type::Decimal,
            Self::Money => Type::AnyMoney,
            Self::Enum(_) => Type::Enum(event, field),
            Self::Country => Type::Country,
            Self::Currency => Type::Currency,
            Self::Mcc => Type::Mcc,
            Self::Bin => Type::Bin,
            Self::Time => Type::Time,
            Self::Duration => Type::Duration,
            Self::Entity(_) | Self::Geo | Self::Text(_) | Self::Ip => return None,
        })
    }

    /// How many words of 8 bytes a field of this type takes on the wire.
    #[must_use]
    pub fn words(&self) -> usize {
        match self {
            Self::Money | Self::Entity(_) | Self::Ip => 2,
            Self::Text(bytes) => usize::from(*bytes).div_ceil(8),
            Self::Bool
            | Self::Int
            | Self::Decimal
            | Self::Enum(_)
            | Self::Geo
            | Self::Country
            | Self::Currency
            | Self::Mcc
            | Self::Bin
            | Self::Time
            | Self::Duration => 1,
        }
    }
}

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// True, false or unknown.
    Bool,
    /// A whole number.
    Int,
    /// An exact fraction. Stored columns of this type are rounded half-even to six digits after the point.
    Decimal,
    /// Minor units of one currency.
    Money(Currency),
    /// Money whose currency is not known when compiling. Only [`Expr::InCurrency`] may use it.
    AnyMoney,
    /// Ordinal of an enum, of the field that declares it.
    Enum(EventIx, FieldIx),
    /// A length of time, in microseconds. Literals are durations (`10m`, `24h`).
    Duration,
    /// A length of way, in metres. Literals are `5 km`, `0.3 km` and `300 metres` (`300m` is five hours).
    Distance,
    /// Kilometres per hour, an exact fraction. Literals are `900 km/h`.
    Speed,
    /// The number of a country. Literals are bare words (`CN`).
    Country,
    /// The ISO number of a currency. Literals are bare words (`USD`).
    Currency,
    /// The number of a merchant category. Literals are four digits (`0742`).
    Mcc,
    /// The number of leading digits of a card. Literals are 6 to 8 digits (`411111`); equal are the same digits, as many.
    Bin,
    /// An instant, in microseconds since 1970-01-01T00:00Z.
    Time,
}

/// Comparison operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Arithmetic operators. `Div` yields an exact fraction, missing when dividing by zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

/// A typed expression over one event in context: the judged one, or inside an aggregate the aggregated one.
///
/// Three-valued: an operation on something missing is missing (a comparison: unknown), except where a variant
/// says otherwise. Arithmetic that leaves 64 bits is missing.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A literal, already in the unit of its type: minor units for money, ordinals for enums.
    Const(Value, Type),
    /// A field of the event in context that is neither key nor place; money is [`Type::AnyMoney`].
    Field(FieldIx),
    /// A field of the newest amendment of this kind (greatest event time, then id) applied to the event in context;
    /// missing when there is none, and always missing outside aggregates.
    Amended(EventIx, FieldIx),
    /// Whether the field of the event in context is absent. Known. Works for entities too.
    FieldMissing(FieldIx),
    /// Whether no amendment of this kind has been applied (`result is missing`), or, with a field, whether that
    /// field of the newest is absent (true too when there is no amendment). Known.
    AmendMissing(EventIx, Option<FieldIx>),
    /// Whether the value is missing or the condition unknown. Known.
    IsMissing(Box<Expr>),
    /// Another `let` of the same event.
    Let(LetIx),
    /// A feature; only in rules and decisions (and never inside an aggregate or a `let`).
    Feature(FeatureIx),
    /// What a model says; only in rules and decisions. A decimal.
    Model(ModelIx),
    /// Money as minor units of this currency: itself when it is in this currency, else converted as [`Rates`] says, at
    /// the time of the event in context (what comes from an amendment: of the amendment); missing when the policy has no
    /// rates. Of `first_present` the first that *is there* counts, even if it cannot be converted. Money that is already
    /// in another known currency is converted once more, from its exact value; then it mentions no amendment, except
    /// where amendments are always missing.
    InCurrency(Box<Expr>, Currency),
    /// Money as a decimal number of major units.
    Major(Box<Expr>),
    /// The currency of money of type [`Type::AnyMoney`]; of `first_present` that of the first that is there.
    CurrencyOf(Box<Expr>),
    /// The first of these that is there. All of one type.
    FirstPresent(Vec<Expr>),
    /// Greatest (or least) of those that are there; missing when none is. All of one comparable type.
    Extreme {
        /// Greatest if true, else least.
        greatest: bool,
        /// The candidates.
        of: Vec<Expr>,
    },
    /// The value beside the first of these conditions that is true (not unknown); `otherwise` when none is. All values are of
    /// one type, but whole numbers may stand beside decimals, which it then is.
    Choose {
        /// Conditions and values.
        branches: Vec<(Expr, Expr)>,
        /// The value when no condition is true.
        otherwise: Box<Expr>,
    },
    /// Kleene negation.
    Not(Box<Expr>),
    /// Kleene conjunction: false if either is false.
    And(Box<Expr>, Box<Expr>),
    /// Kleene disjunction: true if either is true.
    Or(Box<Expr>, Box<Expr>),
    /// Numbers with numbers, money with money of the same currency, durations, distances, speeds and times with their
    /// like; bools, enums, countries, currencies, categories and leading digits with their like (`Eq`, `Ne` only, but that
    /// `mcc in 5000 to 5999` stands here as `Ge` and `Le`).
    Compare(Compare, Box<Expr>, Box<Expr>),
    /// Number with number; money ± money of one currency; money × number; money ÷ number; money ÷ money = number;
    /// duration ± duration; duration × number; duration ÷ number; time − time = duration; time ± duration = time.
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    /// Sign change.
    Negate(Box<Expr>),
    /// Whether the key, the text or the address in a field is in a list of that type; unknown when the field is absent. It is
    /// asked when the event comes, at its time.
    InList(FieldIx, ListIx),
    /// Whether a whole number, a country, a currency, a merchant category or the leading digits of a card are in a list of
    /// that type; unknown when missing. Of what an amendment brings it is asked when that comes, at its time.
    Listed(Box<Expr>, ListIx),
    /// Whether two entity fields of one kind, or two addresses, are the same; unknown when either is absent.
    SameKey(FieldIx, FieldIx),
    /// Whether an address is in a prefix; unknown when the field is absent.
    Within(FieldIx, PrefixPlan),
    /// Whether a text is this one; unknown when the field is absent.
    TextIs(FieldIx, String),
    /// Whether a text begins with this one; unknown when the field is absent.
    TextStarts(FieldIx, String),
    /// Whether two texts are the same; unknown when either is absent.
    SameText(FieldIx, FieldIx),
    /// `now()`: the time of the event in context, as windows take it. A time.
    Now,
    /// Hour of the event's time, 0..=23, in the named zone.
    Hour(String),
    /// Day of the week of the event's time, Monday = 1 … Sunday = 7, in the named zone.
    Weekday(String),
    /// In `decide` only: greatest score of the surviving rules; missing when none gave a score.
    RuleScoresMax,
    /// In `decide` only: sum of the scores of the surviving rules; 0 when none gave a score.
    RuleScoresSum,
    /// In the thresholds of `decide` only: the final score, 0..=100.
    Score,
}

/// `let NAME on EVENT = …`, or `scorecard NAME on EVENT { … }`.
///
/// A scorecard is the sum of its base and of the points of each input: those beside `missing` when the input is missing (the
/// points are missing when there is no such bin, and so is the sum), else those of the bin that the input is in, else those
/// beside `else`. It may mention features and the scorecards before it, and only rules and decisions mention it.
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    /// Its name.
    pub name: String,
    /// The event whose fields it speaks of.
    pub event: EventIx,
    /// What it stands for.
    pub expr: Expr,
    /// The type of `expr`; never [`Type::AnyMoney`].
    pub ty: Type,
}

/// `feature NAME = …`.
#[derive(Clone, Debug, PartialEq)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// The type of its value.
    pub ty: Type,
    /// How it is computed.
    pub kind: FeatureKind,
    /// What is told where there was no room for all events of a key, so that only bounds are known: by `assume high`, which
    /// stands here as `High`, the most that a count, a sum or a greatest value over a range of time can be; else what the
    /// events that were kept come to.
    ///
    /// A [sketched](Self::is_sketched) feature is told by a bound also where all events were kept. Of the events of the frame
    /// that have a value (or key), let the newest be the
    /// [`DISTINCT_EXACT_MAX`](crate::engine::program::DISTINCT_EXACT_MAX) latest, and all where there are no more. By
    /// `assume low` it is how many different values the newest have, by `assume high` that and how many events with a value
    /// there are besides the newest. So up to that many events it is exact.
    pub assume: Option<Assume>,
}

impl Feature {
    /// Whether it is a count of different values or keys over a range of time (`last T`, `every T`, `this …`) that says
    /// `assume`. Over `last N events` and sessions, and where such counts are compared, `assume` says nothing.
    #[must_use]
    pub fn is_sketched(&self) -> bool {
        let FeatureKind::Window(window) = &self.kind else { return false };
        let counts = matches!(window.aggregate, Aggregate::DistinctKeys(..) | Aggregate::DistinctValues(..));
        self.assume.is_some() && counts && !window.frame.is_by_event()
    }
}

/// How a feature is computed.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureKind {
    /// `feature NAME on EVENT = EXPR`: over the judged event alone.
    Scalar {
        /// The judged event.
        event: EventIx,
        /// Its value.
        expr: Expr,
    },
    /// `feature NAME = AGGREGATE(…) by ENTITY FRAME [delayed D]`, or `by (ENTITY, ENTITY)`.
    Window(Window),
}

/// What a feature is by: one key, or a pair of keys.
///
/// Of kinds (`By<EntityIx>`) it is what is written after `by`. Of fields (`By<FieldIx>`) it is which fields of an event
/// hold these keys, in the same order.
///
/// A pair is a key of its own. Events have it when they have both keys; two events have the same pair when the first
/// keys are the same and the second keys are the same. Its events are kept apart from those of either key alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By<T> {
    /// `by card`.
    One(T),
    /// `by (card, merchant)`. Of two kinds the one declared first comes first, in whatever order they are written, so
    /// that `by (merchant, card)` is the same pair. Of one kind twice the order is that of the fields in `via`:
    /// `by (account, account) via transfer.payer, transfer.payee`.
    Pair(T, T),
}

impl<T: Copy> By<T> {
    /// The only key, or the first of a pair.
    #[must_use]
    pub fn first(self) -> T {
        let (Self::One(first) | Self::Pair(first, _)) = self;
        first
    }

    /// The second key of a pair.
    #[must_use]
    pub fn second(self) -> Option<T> {
        match self {
            Self::One(_) => None,
            Self::Pair(_, second) => Some(second),
        }
    }

    /// Its keys, in order.
    pub fn each(self) -> impl Iterator<Item = T> {
        std::iter::once(self.first()).chain(self.second())
    }

    /// The same with each key turned into something else; nothing when one of them cannot be.
    pub fn try_map<U>(self, mut turn: impl FnMut(T) -> Option<U>) -> Option<By<U>> {
        Some(match self {
            Self::One(only) => By::One(turn(only)?),
            Self::Pair(first, second) => By::Pair(turn(first)?, turn(second)?),
        })
    }
}

/// A windowed aggregate: AGGREGATE over the events that are kept under the judged event's key and lie in a frame.
///
/// * t is the time of the judged event as judged, D the delay, and u = t − D the instant that the frame looks back
///   from.
/// * The *kept* events are those of the source's kind whose key in the source's `role` is the judged event's key of
///   kind `by` (read from the field that `judged_by` names). By a pair it is both keys that must be the same, in order.
/// * An event *qualifies* when the source's `where` is true (not unknown) of it, with the amendments applied to it so
///   far.
/// * The frame is a set of qualifying events, none of them later than u. The judged event is one of the kept events
///   when it is of the source's kind and has that key in `role`; it is then treated like any other: it takes its
///   place in the frame when it qualifies and u is not before it. Aggregates over *other* events form the frame with
///   it and then leave it out.
/// * An event in the frame whose aggregated value (or key) is missing has no part in what is computed, but keeps its
///   place in the frame: it is one of the last N, and it carries a session on.
/// * Where the order of events matters, the *later* is the one with the greater (time, id tag). Should one id have
///   been taken in twice at one time, the one with the greater value is the later (a missing value is least, false is
///   less than true, enums compare by ordinal, keys by their words, places by their word as a signed number), and the
///   judged event is later than its equals.
///
/// Missing when the judged event has no such key (of a pair, lacks either), or came too late to be placed, or was shed.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Kind of the key, or kinds of the pair.
    pub by: By<EntityIx>,
    /// Which events.
    pub frame: Frame,
    /// Delay D, in microseconds; ≥ 0. Together with the reach of the frame at most [`WINDOW_MAX_DAYS`] days.
    pub delay_us: i64,
    /// What is computed.
    pub aggregate: Aggregate,
    /// Which key field (or fields, for a pair) of each judged event is looked up: from `via`, or the only field of
    /// that kind. An event that is not listed cannot use this feature.
    pub judged_by: Vec<(EventIx, By<FieldIx>)>,
}

/// Which qualifying events an aggregate speaks of, looking back from u (see [`Window`]). Both ends are exact to the
/// microsecond; the end u belongs to every frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// `last T`: time in (u − T, u]. An event exactly T before u is no longer in it.
    Last {
        /// T > 0, in microseconds.
        span_us: i64,
    },
    /// `last N events within H`: the N latest of those with time in (u − H, u]; all of them when there are fewer.
    Events {
        /// N, 1 to [`FRAME_EVENTS_MAX`].
        count: u32,
        /// H > 0, in microseconds.
        span_us: i64,
    },
    /// `every T`: the tumbling window that u is in, so far: time in [⌊u ÷ T⌋ · T, u]. Windows are aligned to
    /// 1970-01-01T00:00Z, so `every 1d` starts at midnight UTC, and `every 7d` on Thursdays.
    Every {
        /// T > 0, in microseconds.
        span_us: i64,
    },
    /// `this hour`, `this day`, `this week`, `this month` `in "Zone"`: the calendar period that u is in, so far: from
    /// its start to u, both included (see [`Period`]).
    This {
        /// Which period.
        period: Period,
        /// IANA name of the time zone.
        zone: String,
    },
    /// `session gap G within H`: of those with time in (u − H, u], the ones that are reached going back from u for
    /// as long as the distance from one to the next older is at most G; the first is measured from u. So when
    /// nothing happened in [u − G, u] the session is empty. Where H cuts a session short, what is older than H is
    /// simply not in it.
    Session {
        /// 0 < G < H, in microseconds.
        gap_us: i64,
        /// H, in microseconds.
        span_us: i64,
    },
}

/// A calendar period on the clocks of a time zone.
///
/// The local date of an instant is that shown by the zone's clocks. A day, week or month starts at the earliest
/// instant whose local date is not before its first day: at midnight, or where midnight is skipped at the first
/// instant after the gap, or where it comes twice at the first one. So days of 23 and 25 hours are whole days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// 60 minutes by the offset in force at u: starts at u − (local time at u mod 1 h).
    Hour,
    /// A local date.
    Day,
    /// Starts on Monday.
    Week,
    /// Starts on the 1st.
    Month,
}

impl Frame {
    /// How far before u an event can be and still be in the frame, in microseconds: T or H. Of calendar periods the
    /// longest there is and half a day more, since a day on which clocks go back is longer: 1 hour; 36 hours; 7½ days;
    /// 31½ days. This is how long events are kept, and so how long a key has a history; it never cuts a period short.
    #[must_use]
    pub fn reach_us(&self) -> i64 {
        match self {
            Self::Last { span_us }
            | Self::Events { span_us, .. }
            | Self::Every { span_us }
            | Self::Session { span_us, .. } => *span_us,
            Self::This { period, .. } => match period {
                Period::Hour => HOUR,
                Period::Day => DAY + 12 * HOUR,
                Period::Week => 7 * DAY + 12 * HOUR,
                Period::Month => 31 * DAY + 12 * HOUR,
            },
        }
    }

    /// Whether which events are in it depends on other events, not on time alone.
    #[must_use]
    pub fn is_by_event(&self) -> bool {
        matches!(self, Self::Events { .. } | Self::Session { .. })
    }
}

/// The longest window and delay together, in days.
pub const WINDOW_MAX_DAYS: i64 = 400;
/// The most events of `last N events`.
pub const FRAME_EVENTS_MAX: u32 = 10_000;

/// What is counted: the events of one kind, under one of their keys or pairs of keys, that satisfy a filter. An event
/// that lacks the key (or one of the pair) is not counted by anyone.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Event kind (may be an amendment: then its own time counts).
    pub event: EventIx,
    /// The key field of that event (or the two, for a pair) under which it is kept. An amendment finds it through the
    /// same fields, which it carries too.
    pub role: By<FieldIx>,
    /// `where …`, of type bool; only events for which it is true (not unknown) count.
    pub filter: Option<Expr>,
}

/// What is computed over the events of a frame.
///
/// Values are as rows hold them: money in minor units and whole numbers whole, decimals rounded half-even to six
/// digits after the point; a value that does not fit 64 bits is missing. "Values" are those that are there.
#[derive(Clone, Debug, PartialEq)]
pub enum Aggregate {
    /// How many events. Int.
    Count(Source),
    /// Sum of the values; 0 of none; missing when it leaves 64 bits. The values' type.
    Sum(Source, Expr),
    /// Sum ÷ number of the values, exact; missing of none. The values' type; of whole numbers decimal.
    Avg(Source, Expr),
    /// Least value; missing of none. The values' type.
    Min(Source, Expr),
    /// Greatest value; missing of none. The values' type.
    Max(Source, Expr),
    /// How many different keys this entity field holds (see [`Feature::assume`]). Int.
    DistinctKeys(Source, FieldIx),
    /// How many different values there are. Int.
    DistinctValues(Source, Expr),
    /// Count ÷ count, an exact decimal; 0 when the second is 0.
    ///
    /// Over `last N events` and `session` both sources are of one event kind under one role: the frame is that of the
    /// second, and the first counts those of its events for which its own `where` is true as well.
    /// Whether it is true is the event's value, should one id have been taken in twice at one time.
    Ratio(Source, Source),
    /// Sample standard deviation: of n values x in the unit u of their rows (1, a minor unit, or a millionth for
    /// decimals), √((n·Σx² − (Σx)²) ÷ (n·(n − 1))) · u, rounded down to six digits after the point. Missing when
    /// there are fewer than two values, when n·Σx² leaves 127 bits, or the result 64 bits in millionths. The values'
    /// type; of whole numbers decimal.
    Stddev(Source, Expr),
    /// The earliest value; missing of none. Of any type but those of distances and speeds.
    First(Source, Expr),
    /// The latest value.
    Last(Source, Expr),
    /// Events with the most frequent key of this field ÷ events with a key there: an exact decimal; missing of none.
    ShareKeys(Source, FieldIx),
    /// Events with the most frequent value ÷ events with a value; missing of none.
    ShareValues(Source, Expr),
    /// The value of rank max(1, ⌈P·n ÷ 100⌉) among the n values in ascending order (nearest rank); missing of none. P
    /// is 0 to 100: 0 gives the least, 100 the greatest. The values' type.
    Percentile(u8, Source, Expr),
    /// `change(AGGREGATE) FRAME [delayed D] against FRAME [delayed D]`: with a the aggregate over the window's own
    /// frame and delay, and b the same aggregate over these, (a − b) ÷ b, an exact decimal; missing when either is
    /// missing, b is 0, or the fraction does not fit. Of count, sum, avg, min, max, stddev, distinct and percentile,
    /// never of another change.
    Change {
        /// What is compared.
        of: Box<Aggregate>,
        /// The frame of b.
        against: Frame,
        /// The delay of b, in microseconds; ≥ 0.
        delay_us: i64,
    },
    /// `decayed_count(…) … half_life H`: Σ w over the events, where w halves with every H of age (see
    /// [`DecayedSum`](Self::DecayedSum)). Decimal.
    DecayedCount(Source, i64),
    /// `decayed_sum(…) … half_life H`: Σ w·x over the values x; 0 of none. H is in microseconds, 1 to
    /// [`WINDOW_MAX_DAYS`] days.
    ///
    /// The weight of an event of age a = u − time is, in units of 2⁻³², w = ⌊`table[f]` ÷ 2^k⌋ with k = ⌊a ÷ H⌋, f =
    /// ⌊(a mod H)·1024 ÷ H⌋ and `table[f]` = 2^(32 − f/1024) rounded to the nearest whole number; 0 when k ≥ 32. The
    /// result is Σ w·x ÷ 2³² rounded half-even to millionths (of a minor unit for money); missing when that leaves 64
    /// bits. The values' type; of whole numbers decimal.
    DecayedSum(Source, Expr, i64),
    /// t − the time of the latest *other* event of the frame (from t, whatever the delay); missing when there is
    /// none. Duration.
    SinceLast(Source),
    /// t − the time of the earliest *other* event of the frame; missing when there is none. Duration.
    SinceFirst(Source),
    /// Great-circle distance from the place (this `geo` field) of the latest *other* event of the frame that has one
    /// to the judged event's own, in whole metres, rounded half up, on a sphere of radius 6 371 008.8 m.
    ///
    /// Missing unless the judged event is itself one of the kept events, qualifies (whatever the delay) and has a
    /// place, and there is such another. Distance.
    Distance(Source, FieldIx),
    /// That distance ÷ the time between the two events (t − the other's time); less than a second apart counts as one
    /// second. Missing when the distance is. Speed.
    Speed(Source, FieldIx),
    /// Whether the judged event's own key in this field is that of an *other* event of the frame. Missing unless the
    /// judged event is itself one of the kept events (it need not qualify) and has a key there. Bool.
    SeenKey(Source, FieldIx),
    /// The same of a value.
    SeenValue(Source, Expr),
    /// `days(…) … in "Zone"`: how many different local dates the events of the frame have in this time zone (an IANA
    /// name; UTC when none is given). Int.
    Days(Source, String),
}

/// `reason NAME ID { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Its name.
    pub name: String,
    /// Its number on the wire, ≥ 1.
    pub id: u16,
    /// What analysts read.
    pub analyst: String,
    /// What customers may be told; `None` after `withhold`.
    pub customer: Option<String>,
    /// ISO 8583 response code.
    pub iso: Option<String>,
}

/// `queue NAME ID`: where cases wait for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Its number, ≥ 1.
    pub id: u16,
}

/// `list NAME of KIND { …, … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Its name.
    pub name: String,
    /// What it is of.
    pub of: ListOf,
    /// Its entries, no two alike.
    pub entries: Vec<ListEntry>,
}

/// An entry of a list: `VALUE until DATE owner "…" reason "…"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// As it is written; of a key what stands for it in clear text.
    pub text: String,
    /// What it is; of a key by the tokenizer of the tools.
    pub entry: Entry,
    /// From when on it does not count, in microseconds since 1970; `None` for never.
    pub until: Option<i64>,
    /// Who wants it there, or empty.
    pub owner: String,
    /// Why, or empty.
    pub reason: String,
}

/// `effective from DATE until DATE in "Zone"`: when something holds, by the time of the judged event as windows take it
/// (a time that is not believed is the receipt's).
///
/// Dates are instants here. `2026-03-29` is its midnight and `2026-03-29T08:30` that time of day, in the zone, UTC where none
/// is named. Where clocks go back, of two instants with this local time it is the earlier; where they go forward over it, the
/// instant at which they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    /// First instant, in microseconds since 1970-01-01T00:00Z; `None` from the beginning of time.
    pub from: Option<i64>,
    /// First instant no longer, later than `from`; `None` for ever.
    pub until: Option<i64>,
}

impl Effective {
    /// Whether it holds for an event of this time, in microseconds.
    #[must_use]
    pub fn holds_at(self, time: i64) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time < until)
    }
}

/// `scene NAME on EVENT when CONDITION { rule … }`: its rules fire only for events for which it holds, that is, for which it is
/// effective and its condition is true (not unknown).
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Its name.
    pub name: String,
    /// The judged event, of its rules too.
    pub event: EventIx,
    /// When it can hold.
    pub effective: Effective,
    /// Its condition, of type bool.
    pub when: Expr,
}

/// What a rule is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// A scene.
    Scene(SceneIx),
    /// A decision table. Its rows are rules named `TABLE#1`, `TABLE#2`, …, in their order.
    Table(TableIx),
}

/// `table NAME on EVENT … { CELL | CELL => EFFECT, … }`.
///
/// Each row is a rule, whose condition is that every cell's is true. A cell is about the value of its column: `-` asks nothing,
/// `missing` that it is missing, `A to B` that it is at least A and less than B (of merchant categories, that it is at most B),
/// `{ A, B }` that it is one of these. The rows
/// fire only while the table is effective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The judged event.
    pub event: EventIx,
    /// When its rows can fire.
    pub effective: Effective,
    /// Of the rows whose condition is true only the first fires; else all do.
    pub first: bool,
}

/// `rule NAME on EVENT … { when … then … }`.
///
/// It fires when it is effective, what it is part of lets it, and its condition is true (not unknown).
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// The judged event.
    pub event: EventIx,
    /// What it is part of, if anything.
    pub within: Option<Within>,
    /// When it can fire.
    pub effective: Effective,
    /// Its condition, of type bool.
    pub when: Expr,
    /// Action, if any.
    pub action: Option<Action>,
    /// Score 0..=100, if any.
    pub score: Option<i16>,
    /// Reason, an index into [`Policy::reasons`].
    pub reason: Option<u16>,
    /// Can be neither allowed over nor overridden by a fallback.
    pub mandatory: bool,
    /// Reported, without effect.
    pub monitor: bool,
    /// Orders reasons: greater first.
    pub salience: i32,
    /// Rules that firing this one removes (never mandatory ones).
    pub allow_over: Vec<RuleIx>,
    /// Queues that it alerts when it fires and is not removed, indexes into [`Policy::queues`], each once. An alert does not
    /// hold the payment; a decision alerts every queue that a surviving rule names, also where it falls back.
    pub alerts: Vec<u16>,
}

/// `decide EVENT { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Decide {
    /// The judged event.
    pub event: EventIx,
    /// The score before rounding (half-even) and clamping to 0..=100; missing counts as 0. A number.
    pub score: Expr,
    /// `ACTION when CONDITION`.
    pub thresholds: Vec<(Action, Expr)>,
    /// The action of an unassessed payment.
    pub unassessed: Action,
    /// `late after …`, if declared.
    pub late: Option<Late>,
}

/// `late after DURATION { ACTION when CONDITION, … else ACTION }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Late {
    /// Age at admission beyond which the verdict falls back, in nanoseconds.
    pub after_ns: u64,
    /// The first whose condition is true decides.
    pub branches: Vec<(Action, Expr)>,
    /// Otherwise.
    pub otherwise: Action,
}
