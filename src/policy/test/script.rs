//! What the tests of a policy say, checked: every name resolved, every value of its field's type.

use crate::engine::units::{Action, Currency, Time, Value};
use crate::policy::typed::{Compare, EventIx, FeatureIx, LetIx, ModelIx, RuleIx, Span, TableIx};
use std::collections::BTreeMap;

/// When tests start: 2026-01-01T00:00Z, a Thursday. `at 5m` is five minutes later.
pub const TEST_START: Time = Time(1_767_225_600_000_000);

/// The most events of one test, amendments included.
pub const TEST_EVENTS_MAX: usize = 10_000;

/// `test "NAME" { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// Where it is written.
    pub span: Span,
    /// What is fixed for all verdicts of the test.
    pub stubs: Stubs,
    /// `given rate …`, in the order in which they are written. They come before everything else.
    pub rates: Vec<GivenRate>,
    /// What happens, in the order in which it is written. It happens in the order of times, and of equal times in this.
    pub events: Vec<TestEvent>,
}

/// `stub NAME = VALUE`: what verdicts take for a feature's or a `let`'s value, whatever it is computed to be. What is kept
/// of events and counted later is not changed by it. A missing value is [`Value::MISSING`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stubs {
    /// Features.
    pub features: BTreeMap<FeatureIx, Value>,
    /// Definitions, where a verdict reads them.
    pub lets: BTreeMap<LetIx, Value>,
    /// Models, which say this in place of what they would, rounded to billionths as all that models say; given nothing they say
    /// nothing.
    pub models: BTreeMap<ModelIx, Value>,
}

impl Stubs {
    /// Whether nothing is fixed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.features.is_empty() && self.lets.is_empty() && self.models.is_empty()
    }
}

/// `given rate FROM TO NUMBER at TIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenRate {
    /// Converted from.
    pub from: Currency,
    /// Converted to.
    pub to: Currency,
    /// What one whole unit of the first is worth in whole units of the second: the numerator.
    pub num: u64,
    /// Its denominator.
    pub den: u64,
    /// From when it holds.
    pub time: Time,
}

/// One event of a test.
#[derive(Clone, Debug, PartialEq)]
pub struct TestEvent {
    /// Its kind.
    pub event: EventIx,
    /// By field, those that an amendment inherits included.
    pub values: Vec<Option<Given>>,
    /// When it happens.
    pub time: Time,
    /// The event that it amends, an earlier index into [`Test::events`].
    pub amends: Option<usize>,
    /// For `when`: what is expected of its verdict.
    pub judged: Option<Judged>,
}

/// What a field of a test's event holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// The word on the wire, of a type of one word.
    Number(i64),
    /// Minor units.
    Money(i64, Currency),
    /// A key in clear text, made a token as the entries of lists are.
    Key(String),
    /// A text.
    Text(String),
    /// An address, as the wire has it.
    Address([u64; 2]),
}

/// `when … then …`.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Where it is written.
    pub span: Span,
    /// `late`: taken in later than the policy's `late after`.
    pub late: bool,
    /// What is expected, all of it.
    pub expectations: Vec<Expectation>,
}

/// One thing expected of a verdict.
#[derive(Clone, Debug, PartialEq)]
pub enum Expectation {
    /// `block`: exactly this action.
    Action(Action),
    /// `not block`.
    NotAction(Action),
    /// `score 90`, `score >= 70`. An unassessed verdict has the score −1.
    Score(Compare, i64),
    /// `because A, B`: exactly these reasons, in any order; `because nothing`: none. A verdict tells at most four.
    Because(Vec<u16>),
    /// `fires RULE`: its condition is true, whether or not another rule was allowed over it.
    Fires(RuleIx),
    /// `not fires RULE`.
    NotFires(RuleIx),
    /// `fires TABLE`: one of its rows does.
    FiresTable(TableIx),
    /// `not fires TABLE`: none of its rows does.
    NotFiresTable(TableIx),
    /// `unassessed`: score −1.
    Unassessed,
}
