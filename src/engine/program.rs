//! The compiled policy: a flat, archived program that the engine executes in place.
//!
//! Made by `policy::lower`, archived with rkyv, and validated once ([`validate`](super::validate::validate)) before
//! the engine trusts a single index in it. Everything is in tables; expressions are runs of three-address
//! instructions over one register file. It is one file, so that the whole format can be read from top to bottom.
//!
//! # Registers
//!
//! A register is a [`Value`]. The first `features.len()` registers hold the features of the
//! judged event, the next `models.len()` the values of the models; the compiler assigns the rest. The engine sets these, the
//! score registers of [`DecidePlan`], and for amendments the stored columns; code writes all others before it reads them.
//! Behind the last of them, from [`Program::registers`] on, are the literals, in their order: code reads them like
//! registers, and nothing writes them.

pub use super::units::entries::{TEXT_FIELD_BYTES_MAX, TEXT_WORDS_MAX};
use super::units::{DAY, HOUR, Value};
use rkyv::{Archive, Deserialize, Serialize};
use tollgate_model::model::Model;

/// Version of the meaning of programs and of `Engine::step`. A journal names the version that wrote it.
pub const SEMANTICS_VERSION: u32 = 11;

/// "No such index".
pub const NONE: u16 = u16::MAX;

/// The most registers a program may use, its literals not among them.
pub const REGISTERS_MAX: usize = 16_384;

/// What an instruction does. `dst`, `a`, `b` are registers unless said otherwise; `imm` is a 32-bit immediate.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
#[repr(u8)]
pub enum Op {
    /// `dst = a`.
    Move,
    /// `dst =` the one-word field at word `a`, missing unless presence bit `b`; denominator 1. A place too is one
    /// number here.
    Field,
    /// The same with denominator [`DECIMAL_DEN`](super::units::DECIMAL_DEN).
    FieldDecimal,
    /// `dst =` the money field at words `a`, `a+1` in minor units of currency `imm` (ISO numeric): its own if that is
    /// its currency, else converted at the event's time; missing unless presence bit `b`, and without a rate.
    FieldMoney,
    /// `dst =` whether presence bit `b` is set (known).
    Present,
    /// `dst =` whether the field at word `a` (presence bit `b`) of `imm >> 16` words is in list `imm & 0xffff`; unknown when
    /// absent.
    InList,
    /// `dst =` whether the number in register `a` is in list `imm`; unknown when it is missing.
    Listed,
    /// `dst =` whether the two words at word `a` equal those at word `imm & 0xffff`; unknown unless both presence bits
    /// `b` and `imm >> 16` are set.
    SameKey,
    /// `dst =` whether the address at words `a`, `a+1` (presence bit `b`) is in prefix `imm`; unknown when absent.
    Within,
    /// `dst =` whether the text at word `a` (presence bit `b`) of `imm >> 16` words is text `imm & 0xffff`; unknown when absent.
    TextIs,
    /// The same, whether it begins with that text.
    TextStarts,
    /// `dst =` whether the text at word `a` (presence bit `b`) is that at another place, both by [`TextPair`]; unknown unless
    /// both are there.
    SameText,
    /// `dst =` hour of the event's time in zone `imm`.
    Hour,
    /// `dst =` weekday (Monday 1) of the event's time in zone `imm`.
    Weekday,
    /// `dst = ¬a` (Kleene).
    Not,
    /// `dst = a ∧ b` (Kleene).
    And,
    /// `dst = a ∨ b` (Kleene).
    Or,
    /// `dst = a == b`; unknown when either is missing.
    Eq,
    /// `dst = a < b`.
    Lt,
    /// `dst = a <= b`.
    Le,
    /// `dst =` whether `a` is missing (known).
    IsMissing,
    /// `dst = a + b`.
    Add,
    /// `dst = a - b`.
    Sub,
    /// `dst = a * b`.
    Mul,
    /// `dst = a / b`; missing when `b` is 0.
    Div,
    /// `dst =` the greater of those that are there.
    Max,
    /// `dst =` the lesser of those that are there.
    Min,
    /// `dst = a` rounded half-even to denominator `consts[imm].num`: what a stored decimal column holds.
    Rescale,
    /// `dst = a`, minor units of currency `b` (a number, not a register), converted to currency `imm` at the event's
    /// time; missing without a rate.
    Convert,
    /// Skip the next `imm` instructions unless `a` is missing. Forward only, inside the same run.
    SkipIfPresent,
    /// Skip the next `imm` instructions unless `a` is certainly true. Forward only, inside the same run.
    SkipUnlessTrue,
    /// Skip the next `imm` instructions. Forward only, inside the same run.
    Skip,
    /// `dst =` the event's time, in microseconds since 1970-01-01T00:00Z.
    EventTime,
}

/// Which of an instruction's operands are registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// `dst` is written.
    pub dst: bool,
    /// `a` is read.
    pub a: bool,
    /// `b` is read.
    pub b: bool,
}

impl Op {
    /// All operations, by number.
    pub const ALL: [Self; 33] = [
        Self::Move,
        Self::Field,
        Self::FieldDecimal,
        Self::FieldMoney,
        Self::Present,
        Self::InList,
        Self::Listed,
        Self::SameKey,
        Self::Within,
        Self::TextIs,
        Self::TextStarts,
        Self::SameText,
        Self::Hour,
        Self::Weekday,
        Self::Not,
        Self::And,
        Self::Or,
        Self::Eq,
        Self::Lt,
        Self::Le,
        Self::IsMissing,
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Max,
        Self::Min,
        Self::Rescale,
        Self::Convert,
        Self::SkipIfPresent,
        Self::SkipUnlessTrue,
        Self::Skip,
        Self::EventTime,
    ];

    /// Which of its operands are registers.
    #[must_use]
    pub const fn uses(self) -> Uses {
        let (dst, a, b) = match self {
            Self::Field
            | Self::FieldDecimal
            | Self::FieldMoney
            | Self::Present
            | Self::InList
            | Self::SameKey
            | Self::Within
            | Self::TextIs
            | Self::TextStarts
            | Self::SameText
            | Self::Hour
            | Self::Weekday
            | Self::EventTime => (true, false, false),
            Self::Move | Self::Not | Self::IsMissing | Self::Rescale | Self::Convert | Self::Listed => {
                (true, true, false)
            }
            Self::And
            | Self::Or
            | Self::Eq
            | Self::Lt
            | Self::Le
            | Self::Add
            | Self::Sub
            | Self::Mul
            | Self::Div
            | Self::Max
            | Self::Min => (true, true, true),
            Self::SkipIfPresent | Self::SkipUnlessTrue => (false, true, false),
            Self::Skip => (false, false, false),
        };
        Uses { dst, a, b }
    }
}

impl ArchivedFieldKind {
    /// The kind itself.
    #[must_use]
    pub const fn native(self) -> FieldKind {
        FieldKind::ALL[self as usize]
    }
}

impl ArchivedProgram {
    /// The registers of a decision before anything was computed: literals are where code reads them, all others are missing.
    #[must_use]
    pub fn fresh_registers(&self) -> Vec<Value> {
        let literals =
            self.consts.iter().map(|of| Value { num: of.num.to_native(), den: of.den.to_native() });
        let own = usize::from(self.registers.to_native());
        std::iter::repeat_n(Value::MISSING, own).chain(literals).collect()
    }
}

impl ArchivedOp {
    /// The operation itself.
    #[must_use]
    pub const fn native(self) -> Op {
        Op::ALL[self as usize]
    }
}

/// What [`Op::SameText`] says in its immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextPair {
    /// Words of the text at `a`; 1 to [`TEXT_WORDS_MAX`].
    pub words: u16,
    /// Words of the other.
    pub other_words: u16,
    /// First word of the other.
    pub other: u16,
    /// Its presence bit; below 64.
    pub other_bit: u16,
}

impl TextPair {
    /// As an immediate.
    #[must_use]
    pub const fn to_imm(self) -> u32 {
        let Self { words, other_words, other, other_bit } = self;
        other as u32 | (other_bit as u32) << 16 | (words as u32 - 1) << 22 | (other_words as u32 - 1) << 25
    }

    /// From an immediate.
    #[must_use]
    pub const fn from_imm(imm: u32) -> Self {
        Self {
            words: (imm >> 22 & 7) as u16 + 1,
            other_words: (imm >> 25 & 7) as u16 + 1,
            other: imm as u16,
            other_bit: (imm >> 16 & 63) as u16,
        }
    }
}

/// One instruction.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Instr {
    /// What to do.
    pub op: Op,
    /// Destination register.
    pub dst: u16,
    /// First operand.
    pub a: u16,
    /// Second operand.
    pub b: u16,
    /// Immediate.
    pub imm: u32,
}

/// A run of instructions: `code[start..start + len]`.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Run {
    /// First instruction.
    pub start: u32,
    /// How many.
    pub len: u32,
}

/// A literal.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Const {
    /// Numerator.
    pub num: i64,
    /// Denominator.
    pub den: i64,
}

/// A whole program.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub struct Program {
    /// [`SEMANTICS_VERSION`] of the compiler.
    pub semantics: u32,
    /// The policy's name.
    pub name: String,
    /// The policy's revision.
    pub revision: u32,
    /// BLAKE3 over the canonical text of the event layouts (names, kinds, fields, types, words).
    pub layout_hash: [u8; 32],
    /// Entity kinds: one table each, by their number.
    pub entities: Vec<EntityPlan>,
    /// Tables beyond the first of each kind, numbered after those: of pairs of kinds, and those that were added when a policy
    /// took over from another and asked for what had not been kept.
    pub tables: Vec<TablePlan>,
    /// Event kinds, by their number on the wire.
    pub events: Vec<EventPlan>,
    /// What is stored: one per (event kind, key field or pair of key fields) that a feature counts.
    pub groups: Vec<GroupPlan>,
    /// Features, in policy order; feature i lives in register i.
    pub features: Vec<FeaturePlan>,
    /// Models, in policy order; at most [`MODELS_MAX`]. The value of model i lives in the register that is i after the features'.
    pub models: Vec<ModelPlan>,
    /// Rules, in policy order.
    pub rules: Vec<RulePlan>,
    /// Reasons, in policy order.
    pub reasons: Vec<ReasonPlan>,
    /// Queues that can be alerted, in policy order.
    pub queues: Vec<QueuePlan>,
    /// Lists.
    pub lists: Vec<ListPlan>,
    /// Texts that code compares with.
    pub texts: Vec<String>,
    /// Prefixes of addresses that code compares with.
    pub prefixes: Vec<PrefixPlan>,
    /// Time zones.
    pub zones: Vec<ZonePlan>,
    /// Version of the time zone database the zones were taken from.
    pub zone_database: String,
    /// Literals.
    pub consts: Vec<Const>,
    /// All instructions.
    pub code: Vec<Instr>,
    /// Registers in use, features included.
    pub registers: u16,
    /// How money is converted; `None` when it is not.
    pub rates: Option<RatesPlan>,
}

/// Rates: where they come from, and what for.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct RatesPlan {
    /// Their name.
    pub name: String,
    /// A rate that has been in effect for longer does not convert, µs.
    pub max_age_us: i64,
    /// The event kind that brings them: the last, laid out as [`wire`](super::wire) says.
    pub event: u16,
    /// The currencies that code converts to, by ISO numeric code, ascending.
    pub into: Vec<u16>,
}

/// The table of one entity kind.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct EntityPlan {
    /// Its name.
    pub name: String,
    /// Words of one record; a multiple of 8. Words 0 and 1 are the key, word 2 the greatest event time seen, then
    /// each group's block at its `record_word`. 0 when nothing is kept by this kind.
    pub record_words: u16,
}

/// A table beyond the first of each entity kind: of a pair of kinds, or a later one of a kind or pair.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct TablePlan {
    /// Entity kind of the key, or of the first of a pair.
    pub first: u16,
    /// Entity kind of the second key of a pair; may be the same kind. Else [`NONE`].
    pub second: u16,
    /// Words of one record; a multiple of 8. Words 0 to 2 as in [`EntityPlan::record_words`]; of a pair words 3 and 4 are
    /// the second key; then each group's block.
    pub record_words: u16,
    /// First word of the hash of the program that ran when this table was added to it; 0 for a table that was there from the
    /// start. What the table holds begins there, in a replay too.
    pub added_to: u64,
}

/// The type of a field, as the decoder checks it.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
#[repr(u8)]
pub enum FieldKind {
    /// 0 or 1.
    Bool,
    /// Any i64.
    Int,
    /// Any i64, six digits after the point.
    Decimal,
    /// Minor units, then a known ISO numeric currency.
    Money,
    /// An ordinal below `arg`.
    Enum,
    /// A key of entity kind `arg`.
    Entity,
    /// A known ISO numeric currency.
    Currency,
    /// Numerator and denominator, each from 1 to [`RATE_PART_MAX`](super::wire::RATE_PART_MAX). Of rates alone.
    Rate,
    /// Latitude and longitude in millionths of a degree, in one word.
    Geo,
    /// The number of a known [`Country`](super::units::codes::Country).
    Country,
    /// A merchant category, up to [`MCC_MAX`](super::units::codes::MCC_MAX).
    Mcc,
    /// The number of a [`Bin`](super::units::codes::Bin).
    Bin,
    /// An instant that events can have, in microseconds since 1970.
    Time,
    /// Microseconds, any i64.
    Duration,
    /// Up to `arg` bytes of UTF-8 without control characters, filled up with zeros to whole words; at most
    /// [`TEXT_FIELD_BYTES_MAX`].
    Text,
    /// An IPv6 address, the first word its first eight bytes as a number; of IPv4 `::ffff:a.b.c.d`.
    Ip,
}

impl FieldKind {
    /// All kinds, by number.
    pub const ALL: [Self; 16] = [
        Self::Bool,
        Self::Int,
        Self::Decimal,
        Self::Money,
        Self::Enum,
        Self::Entity,
        Self::Currency,
        Self::Rate,
        Self::Geo,
        Self::Country,
        Self::Mcc,
        Self::Bin,
        Self::Time,
        Self::Duration,
        Self::Text,
        Self::Ip,
    ];

    /// How many words a field of this type takes, with this argument.
    #[must_use]
    pub const fn words(self, arg: u16) -> usize {
        match self {
            Self::Money | Self::Entity | Self::Rate | Self::Ip => 2,
            Self::Text => (arg as usize).div_ceil(8),
            Self::Bool
            | Self::Int
            | Self::Decimal
            | Self::Enum
            | Self::Currency
            | Self::Geo
            | Self::Country
            | Self::Mcc
            | Self::Bin
            | Self::Time
            | Self::Duration => 1,
        }
    }
}

/// One field on the wire.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct FieldPlan {
    /// Its name; of an inherited one `EVENT.FIELD` of the amended event.
    pub name: String,
    /// Its type.
    pub kind: FieldKind,
    /// Number of ordinals of an enum; entity kind of a key; bytes of a text.
    pub arg: u16,
    /// First word.
    pub word: u16,
    /// Presence bit.
    pub bit: u8,
    /// The words of an enum, by ordinal.
    pub labels: Vec<String>,
}

/// One event kind.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub struct EventPlan {
    /// Its name.
    pub name: String,
    /// Exact number of words.
    pub words: u16,
    /// Presence bits that may be set.
    pub known: u64,
    /// Presence bits that must be set.
    pub required: u64,
    /// Its fields.
    pub fields: Vec<FieldPlan>,
    /// The event it amends, or [`NONE`].
    pub amends: u16,
    /// The distinct keys to look up, in field order, then the pairs; at most [`KEYS_MAX`]. Those that nothing is kept by
    /// are left out.
    pub keys: Vec<KeyPlan>,
    /// The rows this event adds.
    pub inserts: Vec<InsertPlan>,
    /// The rows of the amended event that this amendment may change.
    pub targets: Vec<TargetPlan>,
    /// The windowed features to compute when this event is judged, ordered by key, group, window for sharing.
    pub windows: Vec<FeatureUse>,
    /// Code that sets the registers of this event's scalar features.
    pub scalars: Run,
    /// The models that are asked whenever it is judged, ascending: all of this event that are not lazy.
    pub models: Vec<u16>,
    /// Code that sets the registers of what its rules compare.
    pub conditions: Run,
    /// This event's rules: indexes into [`Program::rules`].
    pub rules: Vec<u16>,
    /// What makes them fire.
    pub matching: MatchPlan,
    /// How it is decided; `None` when this kind is not judged.
    pub decide: Option<DecidePlan>,
}

/// Which rules fire: those of the clauses of which all tests, and the rest, hold. Several clauses may be of one rule.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct MatchPlan {
    /// What tests look at.
    pub operands: Vec<OperandPlan>,
    /// One way each for a rule to fire.
    pub clauses: Vec<ClausePlan>,
    /// Rules of which only the first fires. They ascend, do not overlap, and those of one have the same salience.
    pub firsts: Vec<FirstPlan>,
}

/// Rules of which only the first that would fire does: the rows of a table.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct FirstPlan {
    /// Index into [`EventPlan::rules`] of the first of them.
    pub start: u16,
    /// How many there are; > 0.
    pub count: u16,
}

/// The most operands of one event.
pub const OPERANDS_MAX: usize = REGISTERS_MAX;
/// The most clauses of one event.
pub const CLAUSES_MAX: usize = 1 << 16;

/// What tests look at: a feature, a field, or what code computed.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct OperandPlan {
    /// Its register, set before [`EventPlan::conditions`] or by it.
    pub register: u16,
    /// The denominator that it mostly has; > 0. Values with others are compared all the same.
    pub den: i64,
}

/// One way for a rule to fire.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct ClausePlan {
    /// Index into [`EventPlan::rules`].
    pub rule: u16,
    /// All of these must hold; their operands ascend.
    pub tests: Vec<TestPlan>,
    /// And this, which is only looked at when they do.
    pub rest: Option<RestPlan>,
}

/// Whether an operand is in a set of numbers. The set begins or ends at each of its cuts.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct TestPlan {
    /// Index into [`MatchPlan::operands`].
    pub operand: u16,
    /// Whether it holds when the operand is missing.
    pub missing: bool,
    /// Whether the least of all numbers is in the set.
    pub low: bool,
    /// Ascending.
    pub cuts: Vec<CutPlan>,
}

/// A place between numbers: just before or just after `num ÷ den`.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct CutPlan {
    /// Numerator.
    pub num: i64,
    /// Denominator; > 0.
    pub den: i64,
    /// Just after it, so that the number itself is below.
    pub after: bool,
}

/// A condition that only code can tell.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct RestPlan {
    /// The lazy models that have to be asked first, ascending.
    pub models: Vec<u16>,
    /// The code; it may read what [`EventPlan::conditions`] computed.
    pub code: Run,
    /// The register that it leaves the condition in.
    pub register: u16,
}

/// The most keys and pairs of keys one event may be looked up by.
pub const KEYS_MAX: usize = 16;

/// A key, or a pair of keys, to look up.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct KeyPlan {
    /// Table: an entity kind, or `entities.len()` + an index into [`Program::tables`].
    pub table: u16,
    /// The key, or the first of a pair.
    pub first: KeyAt,
    /// The second key of a pair.
    pub second: Option<KeyAt>,
    /// Whether its rows are history: something of this policy looks at events by it.
    pub tells_history: bool,
}

/// Where a key is in an event.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub struct KeyAt {
    /// First of its two words.
    pub word: u16,
    /// Presence bit.
    pub bit: u8,
}

/// A row that an event adds to a group, under a key.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct InsertPlan {
    /// Index into [`Program::groups`].
    pub group: u16,
    /// Index into [`EventPlan::keys`].
    pub key: u16,
}

/// A row that an amendment changes.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct TargetPlan {
    /// Index into [`Program::groups`].
    pub group: u16,
    /// Index into [`EventPlan::keys`] of the amendment.
    pub key: u16,
    /// Index into [`GroupPlan::amends`].
    pub amend: u16,
}

/// A windowed feature computed for a judged event.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct FeatureUse {
    /// Index into [`Program::features`].
    pub feature: u16,
    /// Index into [`EventPlan::keys`] of the judged event.
    pub key: u16,
}

/// What is kept of one event kind under one of its key fields, or a pair of them.
///
/// A row is `row_words` words, stored column by column: with room for `cap` rows, column c of row r is at word
/// `c * cap + r` of the block. Column 0 is the time, and [`STAMP_BITS`] bits below it. Others are where the plans say.
///
/// A row's life: `ingest` runs over the event and sets registers for own columns, own bits and the inputs of
/// `derive`; every amendment's registers are missing; `derive` runs; the row is written. When an amendment
/// that is newer than the row's version arrives, the registers of all own and amendment columns are loaded
/// from the row, the amendment's `code` runs over its words, `derive` runs, and the amendment's columns and
/// all derived columns and bits are written back.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct GroupPlan {
    /// Table: an entity kind, or `entities.len()` + an index into [`Program::tables`].
    pub table: u16,
    /// Event kind.
    pub event: u16,
    /// The key field, an index into [`EventPlan::fields`]; the first of a pair.
    pub role: u16,
    /// The second key field of a pair, or [`NONE`].
    pub second_role: u16,
    /// Columns (words) of a row.
    pub row_words: u16,
    /// Word of the record at which the group's block starts: [`GROUP_HEADER_WORDS`] of header, then
    /// `inline_rows × row_words` words of rows.
    pub record_word: u16,
    /// Rows kept inside the record, 1..=64.
    pub inline_rows: u16,
    /// Greatest `delay + span` of its features, µs: a row older than this (and the lateness horizon) is dead.
    pub retention_us: i64,
    /// The same of the features of this program alone, where the group was taken over from another; 0 without any. A key that
    /// has no row within it has no history here.
    pub reach_us: i64,
    /// Column of the event's id tag, or [`NONE`] when no amendment can reach the row and no feature asks for the order
    /// of its rows.
    pub id_column: u16,
    /// Columns that hold the predicate and presence bits that do not fit below the time (zero or more words).
    pub bits_columns: Vec<u16>,
    /// Value columns.
    pub columns: Vec<ColumnPlan>,
    /// Key columns, two words each, for distinct keys.
    pub keys: Vec<KeyColumn>,
    /// Predicate bits.
    pub bits: Vec<BitPlan>,
    /// Code over the new event.
    pub ingest: Run,
    /// Code over registers alone.
    pub derive: Run,
    /// The amendment kinds that can change a row.
    pub amends: Vec<AmendPlan>,
    /// Of which rows, and of what in them, the tree of a hot key keeps sums; that all rows are counted goes without saying.
    pub lanes: Vec<LanePlan>,
    /// Of which of these lanes, [`NONE`] for all rows counted, upper bounds are kept for keys without a record.
    pub bounded: Vec<u16>,
    /// The reaches (span + delay, µs) for which they are kept.
    pub bounded_reaches: Vec<i64>,
}

/// Rows of a group, and what of them is added up.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub struct LanePlan {
    /// Index into [`GroupPlan::bits`]: only rows that have it; or [`NONE`].
    pub filter: u16,
    /// What they must have besides.
    pub of: LaneOf,
}

/// See [`LanePlan`].
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum LaneOf {
    /// Nothing: rows are counted.
    Rows,
    /// This of [`GroupPlan::columns`]: rows are counted, and its values added up.
    Sums(u16),
    /// This of [`GroupPlan::columns`]: rows are counted.
    Values(u16),
    /// This of [`GroupPlan::keys`]: rows are counted.
    Keys(u16),
}

/// What an expression means, wherever it is computed: the first half of a BLAKE3 hash over its canonical form. Two programs
/// of one event layout keep the same thing where these are equal.
pub type Definition = [u64; 2];

/// Bits below the time in a row's first word: predicate and presence bits go there first.
pub const STAMP_BITS: u32 = 10;

/// Words of a group's header in the record.
pub const GROUP_HEADER_WORDS: usize = 2;

/// Where a row's bit is.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct BitRef {
    /// Column of the row.
    pub column: u16,
    /// Bit of the word.
    pub bit: u8,
}

/// What a stored value depends on.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum Origin {
    /// Set when the event enters; never changes.
    Own,
    /// Set by the amendment `amends[i]`; missing until then.
    Amend(u16),
    /// Computed by `derive`; recomputed on every amendment.
    Derived,
}

/// A stored number and whether it is there.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct ColumnPlan {
    /// Register it is written from and loaded into.
    pub register: u16,
    /// Column of the row (the numerator).
    pub column: u16,
    /// Its fixed denominator: 1, or [`DECIMAL_DEN`](super::units::DECIMAL_DEN).
    pub den: i64,
    /// The bit that says it is there.
    pub present: BitRef,
    /// What it depends on.
    pub origin: Origin,
    /// What it holds.
    pub definition: Definition,
}

/// A stored key: words `word`, `word + 1` of the event go to `column`, `column + 1` of the row.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct KeyColumn {
    /// First word in the event.
    pub word: u16,
    /// Presence bit in the event.
    pub bit: u8,
    /// First of two columns of the row.
    pub column: u16,
    /// The bit that says it is there.
    pub present: BitRef,
}

/// A predicate: one bit, set when the register is certainly true.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct BitPlan {
    /// Register it is written from.
    pub register: u16,
    /// Where it is kept.
    pub at: BitRef,
    /// Recomputed on every amendment (else set once, when the event enters).
    pub derived: bool,
    /// What it says.
    pub definition: Definition,
}

/// How one kind of amendment changes a row.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct AmendPlan {
    /// The amendment's event kind.
    pub event: u16,
    /// Column of the time of the newest amendment applied; the next column holds its id tag, as a tie-break.
    pub version_column: u16,
    /// The bit that says an amendment of this kind was applied. Set before `code` and `derive` run.
    pub applied: BitRef,
    /// Register that holds the truth of `applied` while `derive` runs (known), also when the event enters (false).
    pub applied_register: u16,
    /// Code over the amendment's words: sets the registers of the `Amend(i)` columns.
    pub code: Run,
}

/// The unit in which a feature's value is told.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum Unit {
    /// 0 or 1.
    Bool,
    /// A whole number or enum ordinal.
    Int,
    /// A fraction.
    Decimal,
    /// Minor units of this ISO numeric currency.
    Money(u16),
    /// Microseconds.
    Duration,
    /// Metres.
    Distance,
    /// Kilometres per hour.
    Speed,
}

/// What is computed over a window.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
#[repr(u8)]
pub enum Agg {
    /// Over the judged event alone, by [`EventPlan::scalars`].
    Scalar,
    /// How many rows.
    Count,
    /// Sum of a value column.
    Sum,
    /// Sum ÷ count of a value column.
    Avg,
    /// Least of a value column.
    Min,
    /// Greatest of a value column.
    Max,
    /// Different values of a value column; `argument` is how many rows are looked at where it is
    /// [sketched](ArchivedFeaturePlan::is_sketched).
    DistinctValues,
    /// Different keys of a key column; `argument` as before.
    DistinctKeys,
    /// Count of the first term ÷ count of the second; 0 when that is 0.
    Ratio,
    /// Sample standard deviation of a value column.
    Stddev,
    /// Earliest of a value column.
    First,
    /// Latest of a value column.
    Last,
    /// Share of the most frequent of a value column.
    ShareValues,
    /// Share of the most frequent of a key column.
    ShareKeys,
    /// Nearest rank in a value column; `argument` is the percentage.
    Percentile,
    /// Sum of weights; `argument` is the half-life in µs.
    DecayedCount,
    /// Weighted sum of a value column; `argument` is the half-life in µs.
    DecayedSum,
    /// Time since the latest other row.
    SinceLast,
    /// Time since the earliest other row.
    SinceFirst,
    /// Metres from the latest other place of a value column to the judged event's own.
    Distance,
    /// The same in kilometres per hour.
    Speed,
    /// Whether the own value of a value column is in another row.
    SeenValue,
    /// Whether the own key of a key column is in another row.
    SeenKey,
    /// Different local dates; `zone` says where.
    Days,
}

impl Agg {
    /// Whether it asks which of two rows of one time is the later.
    #[must_use]
    pub const fn is_ordered(self) -> bool {
        matches!(self, Self::First | Self::Last | Self::Distance | Self::Speed)
    }
}

impl ArchivedAgg {
    /// Whether it asks which of two rows of one time is the later.
    #[must_use]
    pub const fn is_ordered(self) -> bool {
        matches!(self, Self::First | Self::Last | Self::Distance | Self::Speed)
    }

    /// Whether it can be compared with itself over another frame.
    #[must_use]
    pub const fn is_comparable(self) -> bool {
        matches!(
            self,
            Self::Count
                | Self::Sum
                | Self::Avg
                | Self::Min
                | Self::Max
                | Self::DistinctValues
                | Self::DistinctKeys
                | Self::Stddev
                | Self::Percentile
        )
    }
}

/// Which rows a feature speaks of, looking back from u, the time of the judged event less the delay. Lengths are in
/// µs. The meaning of each is that of `policy::typed::Frame`.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub enum Frame {
    /// Of length T: time in (u − T, u].
    Last(i64),
    /// Number and length: the N latest of those.
    Events(u32, i64),
    /// Of length T: time in [⌊u ÷ T⌋ · T, u].
    Every(i64),
    /// Period and index into [`Program::zones`]: from the start of the calendar period.
    This(Period, u16),
    /// Gap and length: of those with time in (u − length, u], back to the first gap that is longer.
    Session(i64, i64),
}

/// The most events of [`Frame::Events`].
pub const FRAME_EVENTS_MAX: u32 = 10_000;

/// The most rows that a count of different things with `assume` looks at one by one: so many, unless a test wants fewer.
pub const DISTINCT_EXACT_MAX: u32 = 1_024;

/// A calendar period.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
#[repr(u8)]
pub enum Period {
    /// An hour by the offset in force.
    Hour,
    /// A local date.
    Day,
    /// From Monday.
    Week,
    /// From the 1st.
    Month,
}

impl Frame {
    /// How far before u a row can be.
    #[must_use]
    pub const fn reach_us(&self) -> i64 {
        match self {
            Self::Last(span) | Self::Events(_, span) | Self::Every(span) | Self::Session(_, span) => *span,
            Self::This(period, _) => period.reach_us(),
        }
    }
}

impl ArchivedFrame {
    /// How far before u a row can be.
    #[must_use]
    pub fn reach_us(&self) -> i64 {
        match self {
            Self::Last(span) | Self::Events(_, span) | Self::Every(span) | Self::Session(_, span) => {
                span.to_native()
            }
            Self::This(period, _) => period.native().reach_us(),
        }
    }

    /// Whether which rows are in it depends on other rows.
    #[must_use]
    pub fn is_by_event(&self) -> bool {
        matches!(self, Self::Events(..) | Self::Session(..))
    }
}

impl Period {
    /// No period is longer: since 1970 clocks never went back by more than seven hours within one (a test of the
    /// calendar goes through all zones).
    #[must_use]
    pub const fn reach_us(self) -> i64 {
        match self {
            Self::Hour => HOUR,
            Self::Day => DAY + 12 * HOUR,
            Self::Week => 7 * DAY + 12 * HOUR,
            Self::Month => 31 * DAY + 12 * HOUR,
        }
    }
}

impl ArchivedPeriod {
    /// The period itself.
    #[must_use]
    pub const fn native(self) -> Period {
        match self {
            Self::Hour => Period::Hour,
            Self::Day => Period::Day,
            Self::Week => Period::Week,
            Self::Month => Period::Month,
        }
    }
}

/// The other frame of a change.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Against {
    /// Its rows.
    pub frame: Frame,
    /// Its delay, µs.
    pub delay_us: i64,
}

/// One feature.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct FeaturePlan {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: Unit,
    /// What is computed.
    pub agg: Agg,
    /// None for a scalar, two for a ratio, else one.
    pub terms: Vec<Term>,
    /// Its rows; of no meaning for a scalar.
    pub frame: Frame,
    /// Its delay, µs.
    pub delay_us: i64,
    /// For a change: with what the aggregate is compared.
    pub against: Option<Against>,
    /// What [`Agg`] says of it, else 0.
    pub argument: i64,
    /// Index into [`Program::zones`] for [`Agg::Days`], else [`NONE`].
    pub zone: u16,
    /// What is told where only bounds are known.
    pub assume: Option<Assume>,
}

impl ArchivedFeaturePlan {
    /// Whether it counts different things, and is told by a bound beyond the newest of the rows in a range of times.
    #[must_use]
    pub fn is_sketched(&self) -> bool {
        matches!(self.agg, ArchivedAgg::DistinctValues | ArchivedAgg::DistinctKeys)
            && self.assume.is_some()
            && !self.frame.is_by_event()
            && self.against.is_none()
    }
}

/// Which bound of a feature is told where it is not known exactly.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
#[repr(u8)]
pub enum Assume {
    /// What is known to be there.
    Low,
    /// The most that there can be.
    High,
}

/// The rows that a feature speaks of.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Term {
    /// Index into [`Program::groups`].
    pub group: u16,
    /// Index into [`GroupPlan::bits`] of the filter, or [`NONE`].
    pub filter: u16,
    /// Index into [`GroupPlan::columns`] ([`GroupPlan::keys`] for distinct keys), or [`NONE`].
    pub value: u16,
}

/// One rule.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct RulePlan {
    /// Its name.
    pub name: String,
    /// The judged event.
    pub event: u16,
    /// Action code; 0 for none.
    pub action: u8,
    /// Score 0..=100; −1 for none.
    pub score: i16,
    /// Reason id on the wire; 0 for none.
    pub reason: u16,
    /// Cannot be removed or overridden.
    pub mandatory: bool,
    /// Reported, without effect.
    pub monitor: bool,
    /// Greater first.
    pub salience: i32,
    /// Rules that it removes when it fires (never mandatory ones).
    pub allow_over: Vec<u16>,
    /// Numbers of the queues that it alerts.
    pub alerts: Vec<u16>,
}

/// One reason.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct ReasonPlan {
    /// Its number on the wire.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// What analysts read.
    pub analyst: String,
    /// What customers may be told; empty when withheld.
    pub customer: String,
    /// ISO 8583 response code, or empty.
    pub iso: String,
}

/// A queue of cases for people to look at.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct QueuePlan {
    /// Its number.
    pub id: u16,
    /// Its name.
    pub name: String,
}

/// A list.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct ListPlan {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub of: ListOf,
    /// Its entries, by ascending width. Lists of what has no prefixes have at most one part, of width 0.
    pub parts: Vec<ListPart>,
}

/// What a list is of.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rkyv(derive(Debug, Clone, Copy, PartialEq, Eq))]
pub enum ListOf {
    /// Keys of this entity kind, by their two words.
    Entity(u16),
    /// Texts, by their bytes, filled up with zeros.
    Text,
    /// Prefixes of addresses, by the two words of an address of which all bits behind the prefix are zero. The width is the
    /// number of bits, 1 to 128.
    Ip,
    /// Whole numbers.
    Int,
    /// Numbers of countries.
    Country,
    /// ISO numbers of currencies.
    Currency,
    /// Numbers of merchant categories.
    Mcc,
    /// Leading digits of cards, by their number. The width is how many digits there are, 1 to 8.
    Bin,
}

impl ListOf {
    /// What it is in the words of the policy; of an entity kind that kind's name.
    #[must_use]
    pub fn word<'a>(self, entity: impl Fn(u16) -> &'a str) -> &'a str {
        match self {
            Self::Entity(kind) => entity(kind),
            Self::Text => "text",
            Self::Ip => "ip",
            Self::Int => "int",
            Self::Country => "country",
            Self::Currency => "currency",
            Self::Mcc => "mcc",
            Self::Bin => "bin",
        }
    }
}

impl ArchivedListOf {
    /// What it is.
    #[must_use]
    pub fn native(self) -> ListOf {
        match self {
            Self::Entity(kind) => ListOf::Entity(kind.to_native()),
            Self::Text => ListOf::Text,
            Self::Ip => ListOf::Ip,
            Self::Int => ListOf::Int,
            Self::Country => ListOf::Country,
            Self::Currency => ListOf::Currency,
            Self::Mcc => ListOf::Mcc,
            Self::Bin => ListOf::Bin,
        }
    }
}

/// The entries of one width.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct ListPart {
    /// Bits or digits of its prefixes; 0 where entries are no prefixes.
    pub width: u8,
    /// Words of each entry; 1 to [`TEXT_WORDS_MAX`].
    pub words: u8,
    /// The entries, one after the other, in ascending order word by word, no two equal.
    pub keys: Vec<u64>,
    /// For each entry the time from which on it does not count, µs since 1970; `i64::MAX` for always. Empty when it is always
    /// for all of them.
    pub until: Vec<i64>,
    /// What was written of each entry. Nothing that decides looks at it.
    pub said: Vec<Said>,
}

/// What was written of an entry of a list.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct Said {
    /// The entry itself.
    pub entry: String,
    /// Who wants it there, or empty.
    pub owner: String,
    /// Why, or empty.
    pub reason: String,
}

impl PrefixPlan {
    /// The bits of an address.
    pub const ALL_BITS: u8 = 128;
}

/// A prefix of addresses.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[rkyv(derive(Debug))]
pub struct PrefixPlan {
    /// The address; all bits behind the prefix are zero.
    pub address: [u64; 2],
    /// How many bits count; 0 to 128.
    pub bits: u8,
}

/// The offsets of a time zone: from `starts[i]` (µs, UTC) on, local time is UTC + `offsets[i]` seconds.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct ZonePlan {
    /// IANA name.
    pub name: String,
    /// Ascending; the first is `i64::MIN`.
    pub starts: Vec<i64>,
    /// Seconds east of UTC.
    pub offsets: Vec<i32>,
}

/// The most models of a program.
pub const MODELS_MAX: usize = 64;
/// The values of models are in billionths.
pub const MODEL_DEN: i64 = 1_000_000_000;
/// The most inputs of a model in a program.
pub const MODEL_INPUTS_MAX: usize = 1_024;
/// The most points of an isotonic calibration.
pub const ISOTONIC_POINTS_MAX: usize = 1_024;
/// The furthest that a point of an isotonic calibration is from 0, in billionths.
pub const ISOTONIC_MAX: i64 = 1_000_000_000_000_000_000;

/// A model over judged events of one kind.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub struct ModelPlan {
    /// Its name.
    pub name: String,
    /// The judged event.
    pub event: u16,
    /// Whether it is only asked where something that reads it has come to depend on it.
    pub lazy: bool,
    /// Code that computes its inputs; it may read features.
    pub code: Run,
    /// The registers of its inputs, in the order of the model's own.
    pub inputs: Vec<u16>,
    /// What becomes of what the model tells.
    pub calibration: CalibrationPlan,
    /// BLAKE3 of the file that it was read from.
    pub file_hash: [u8; 32],
    /// The model.
    pub model: Model,
}

/// From what a model tells to its value.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(derive(Debug))]
pub enum CalibrationPlan {
    /// As it is.
    None,
    /// `1 ÷ (1 + exp(a · margin + b))` of these two, finite both (Platt, 1999).
    Platt(f64, f64),
    /// What stands beside the told value, both in billionths: between two points in proportion, half-even; before the first and
    /// after the last as there. At least one point, none further from 0 than [`ISOTONIC_MAX`]; told values ascend, the others do
    /// not descend.
    Isotonic(Vec<(i64, i64)>),
}

/// How a judged event is decided.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct DecidePlan {
    /// The models that it reads, ascending: those that are lazy have to be asked first. When one has said something, the event
    /// is not unassessed.
    pub models: Vec<u16>,
    /// Register the engine sets to the greatest score of the surviving rules (missing when none).
    pub rule_scores_max: u16,
    /// Register the engine sets to the sum of the scores of the surviving rules.
    pub rule_scores_sum: u16,
    /// Code that computes the score.
    pub score_code: Run,
    /// Register of the unrounded score.
    pub score: u16,
    /// Register the engine sets to the final score, 0..=100, before the thresholds run.
    pub final_score: u16,
    /// Code that sets the threshold and late condition registers.
    pub threshold_code: Run,
    /// (condition register, action code).
    pub thresholds: Vec<(u16, u8)>,
    /// Action code of an unassessed payment.
    pub unassessed: u8,
    /// Nanoseconds of age at admission beyond which the verdict falls back; 0 when never late.
    pub late_after_ns: u64,
    /// Fallback: the first whose condition is true, (condition register, action code).
    pub late: Vec<(u16, u8)>,
    /// Fallback otherwise: action code.
    pub late_otherwise: u8,
}
