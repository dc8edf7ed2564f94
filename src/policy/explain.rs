//! Why a condition is what it is: typed expressions over one event, evaluated and told in the words of the policy.
//!
//! This is for people to read, after a verdict and far from the hot path. It takes the values of features as the engine
//! has computed them, and computes everything else from the event alone, by the doc comments of [`typed`](super::typed).

use super::entries::address_text;
use super::test::script::{Given, GivenRate, Stubs};
use super::typed::{
    Arithmetic, Compare, EventIx, Expr, FieldIx, FieldType, LetIx, ListEntry, ListIx, Policy, Type,
};
use crate::engine::program::{ListOf, PrefixPlan};
use crate::engine::units::codes::{Bin, Country};
use crate::engine::units::entries::masked;
use crate::engine::units::{Currency, DAY, DECIMAL_DEN, HOUR, MINUTE, SECOND, Time, Value, divide_half_even};
use crate::token::Tokenizer;
use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;
use std::cmp::Ordering;
use std::fmt::Write as _;

/// One event and all that its verdict was computed from.
pub struct Facts<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The event's kind.
    pub event: EventIx,
    /// By field.
    pub values: &'a [Option<Given>],
    /// The event's time.
    pub time: Time,
    /// Features of the verdict, in policy order.
    pub features: &'a [Value],
    /// What models said of it, in policy order.
    pub models: &'a [Value],
    /// What a test has fixed.
    pub stubs: &'a Stubs,
    /// Rates that were known.
    pub rates: &'a [GivenRate],
}

impl Facts<'_> {
    /// The parts of a condition that make it what it is, one a line, such as `declines_1h >= 5 is false: declines_1h = 4`.
    #[must_use]
    pub fn explain(&self, condition: &Expr) -> Vec<String> {
        let mut lines = Vec::new();
        self.explain_into(condition, &mut lines);
        lines.dedup();
        lines
    }

    fn explain_into(&self, condition: &Expr, lines: &mut Vec<String>) {
        let holds = self.value(condition).is_true();
        match condition {
            Expr::And(a, b) | Expr::Or(a, b) => {
                // Of a conjunction that holds, and a disjunction that does not, both sides are why.
                let all = matches!(condition, Expr::And(..)) == holds;
                for side in [a, b] {
                    if all || self.value(side).is_true() == holds {
                        self.explain_into(side, lines);
                    }
                }
            }
            Expr::Not(of) if matches!(**of, Expr::And(..) | Expr::Or(..) | Expr::Let(_) | Expr::Not(_)) => {
                self.explain_into(of, lines);
            }
            Expr::Let(definition) if !self.stubs.lets.contains_key(definition) => {
                self.explain_into(&self.policy.lets[definition.index()].expr, lines);
            }
            _ => lines.push(self.told(condition)),
        }
    }

    /// A condition, what it is, and the values in it.
    fn told(&self, condition: &Expr) -> String {
        let value = self.value(condition);
        let truth = match (value.is_missing(), value.is_true()) {
            (true, _) => "unknown",
            (false, true) => "true",
            (false, false) => "false",
        };
        let mut line = format!("{} is {truth}", self.text(condition));
        let mut operands = Vec::new();
        // What is a truth value by itself is told already.
        if !matches!(condition, Expr::Field(_) | Expr::FieldMissing(_)) || value.is_missing() {
            self.operands(condition, &mut operands);
        }
        for (at, operand) in operands.iter().enumerate() {
            line.push_str(if at == 0 { ": " } else { ", " });
            line.push_str(operand);
        }
        line
    }

    /// What an expression reads, and what it holds.
    fn operands(&self, expr: &Expr, operands: &mut Vec<String>) {
        let told = match expr {
            Expr::Const(..) => None,
            Expr::FieldMissing(field)
            | Expr::InList(field, _)
            | Expr::Within(field, _)
            | Expr::TextIs(field, _)
            | Expr::TextStarts(field, _) => Some(self.told_field(*field)),
            Expr::SameKey(a, b) | Expr::SameText(a, b) => {
                operands.push(self.told_field(*a));
                Some(self.told_field(*b))
            }
            Expr::Field(field) => Some(self.told_field(*field)),
            Expr::Feature(feature) => {
                let stubbed = if self.stubs.features.contains_key(feature) { " (stub)" } else { "" };
                Some(format!("{}{stubbed}", self.told_value(expr)))
            }
            Expr::Model(model) => {
                let stubbed = if self.stubs.models.contains_key(model) { " (stub)" } else { "" };
                Some(format!("{}{stubbed}", self.told_value(expr)))
            }
            Expr::Let(definition) => {
                let stubbed = if self.stubs.lets.contains_key(definition) { " (stub)" } else { "" };
                Some(format!("{}{stubbed}", self.told_value(expr)))
            }
            Expr::InCurrency(of, _) => {
                if matches!(**of, Expr::Field(_)) {
                    self.operands(of, operands);
                }
                let same = self.any_money(of).is_some_and(|(_, held)| self.currency_of(expr) == Some(held));
                if same && matches!(**of, Expr::Field(_)) { None } else { Some(self.told_value(expr)) }
            }
            Expr::Now | Expr::Hour(_) | Expr::Weekday(_) | Expr::Amended(..) | Expr::AmendMissing(..) => {
                Some(self.told_value(expr))
            }
            Expr::IsMissing(a)
            | Expr::Listed(a, _)
            | Expr::Major(a)
            | Expr::CurrencyOf(a)
            | Expr::Not(a)
            | Expr::Negate(a) => {
                self.operands(a, operands);
                None
            }
            Expr::And(a, b) | Expr::Or(a, b) | Expr::Compare(_, a, b) | Expr::Arithmetic(_, a, b) => {
                self.operands(a, operands);
                self.operands(b, operands);
                None
            }
            Expr::FirstPresent(of) | Expr::Extreme { of, .. } => {
                of.iter().for_each(|of| self.operands(of, operands));
                None
            }
            Expr::Choose { branches, otherwise } => {
                branches.iter().for_each(|(when, _)| self.operands(when, operands));
                self.operands(otherwise, operands);
                None
            }
            Expr::RuleScoresMax | Expr::RuleScoresSum | Expr::Score => None,
        };
        if let Some(told) = told
            && !operands.contains(&told)
        {
            operands.push(told);
        }
    }

    fn told_value(&self, expr: &Expr) -> String {
        let value = self.value(expr);
        if value.is_missing() {
            return format!("{} is missing", self.text(expr));
        }
        let ty = self.type_of(expr).unwrap_or(Type::Int);
        format!("{} = {}", self.text(expr), shown(self.policy, value, ty))
    }

    fn told_field(&self, field: FieldIx) -> String {
        let declared = &self.policy.events[self.event.index()].fields[field.index()];
        let name = &declared.name;
        match &self.values[field.index()] {
            None => format!("{name} is missing"),
            Some(Given::Key(key)) => format!("{name} = {}", word(key)),
            Some(Given::Text(text)) => format!("{name} = {text:?}"),
            Some(Given::Address(address)) => format!("{name} = \"{}\"", address_text(*address)),
            Some(Given::Money(minor, currency)) => {
                format!("{name} = {}", shown(self.policy, Value::int(*minor), Type::Money(*currency)))
            }
            Some(Given::Number(number)) => {
                let value = match declared.ty {
                    FieldType::Decimal => Value::ratio(*number, DECIMAL_DEN),
                    _ => Value::int(*number),
                };
                let ty = declared.ty.value_type(self.event, field).unwrap_or(Type::Int);
                format!("{name} = {}", shown(self.policy, value, ty))
            }
        }
    }

    /// The value of an expression in the context of a verdict, as [`Expr`] says.
    #[must_use]
    pub fn value(&self, expr: &Expr) -> Value {
        match expr {
            Expr::Const(value, _) => *value,
            Expr::Field(field) => match (&self.values[field.index()], self.declared(*field)) {
                (Some(Given::Number(number)), FieldType::Decimal) => Value::ratio(*number, DECIMAL_DEN),
                (Some(Given::Number(number)), _) => Value::int(*number),
                _ => Value::MISSING,
            },
            // Amendments are always missing in a verdict.
            Expr::Amended(..) => Value::MISSING,
            Expr::AmendMissing(..) => Value::TRUE,
            Expr::FieldMissing(field) => Value::bool(self.values[field.index()].is_none()),
            Expr::IsMissing(of) if self.is_any_money(of) => Value::bool(self.any_money(of).is_none()),
            Expr::IsMissing(of) => Value::bool(self.value(of).is_missing()),
            Expr::Let(definition) => self.definition(*definition),
            Expr::Feature(feature) => match self.stubs.features.get(feature) {
                Some(value) => *value,
                None => self.features[feature.index()],
            },
            Expr::Model(model) => match self.stubs.models.get(model) {
                Some(value) => *value,
                None => self.models[model.index()],
            },
            Expr::InCurrency(of, currency) => self.in_currency(of, *currency),
            Expr::Major(of) => {
                let units = self.currency_of(of).map_or(1, |currency| 10_i64.pow(currency.exponent()));
                arithmetic(Arithmetic::Div, self.value(of), Value::int(units))
            }
            Expr::CurrencyOf(of) => {
                self.any_money(of).map_or(Value::MISSING, |(_, currency)| Value::int(i64::from(currency.0)))
            }
            Expr::FirstPresent(of) => {
                of.iter().map(|of| self.value(of)).find(|value| !value.is_missing()).unwrap_or(Value::MISSING)
            }
            Expr::Extreme { greatest, of } => {
                let better = if *greatest { Ordering::Greater } else { Ordering::Less };
                let there = of.iter().map(|of| self.value(of)).filter(|value| !value.is_missing());
                there
                    .reduce(|best, value| if value.compare(best) == Some(better) { value } else { best })
                    .unwrap_or(Value::MISSING)
            }
            Expr::Choose { branches, otherwise } => {
                let chosen = branches.iter().find(|(when, _)| self.value(when).is_true());
                self.value(chosen.map_or(otherwise, |(_, value)| value))
            }
            Expr::Not(of) => match self.value(of) {
                value if value.is_missing() => Value::MISSING,
                value => Value::bool(!value.is_true()),
            },
            Expr::And(a, b) => both(self.value(a), self.value(b), false),
            Expr::Or(a, b) => both(self.value(a), self.value(b), true),
            Expr::Compare(how, a, b) => match self.value(a).compare(self.value(b)) {
                None => Value::MISSING,
                Some(order) => Value::bool(match how {
                    Compare::Eq => order.is_eq(),
                    Compare::Ne => order.is_ne(),
                    Compare::Lt => order.is_lt(),
                    Compare::Le => order.is_le(),
                    Compare::Gt => order.is_gt(),
                    Compare::Ge => order.is_ge(),
                }),
            },
            Expr::Arithmetic(how, a, b) => arithmetic(*how, self.value(a), self.value(b)),
            Expr::Negate(of) => arithmetic(Arithmetic::Sub, Value::int(0), self.value(of)),
            Expr::InList(field, list) => match &self.values[field.index()] {
                Some(Given::Key(key)) => {
                    let FieldType::Entity(kind) = self.declared(*field) else { return Value::MISSING };
                    let key = Tokenizer::default().key(&self.policy.entities[kind.index()], key);
                    let is =
                        |entry: &ListEntry| key.as_ref().is_ok_and(|key| entry.entry.words[..2] == key.0);
                    self.listed(*list, is)
                }
                Some(Given::Text(text)) => self.listed(*list, |entry| entry.text == *text),
                Some(Given::Address(address)) => {
                    self.listed(*list, |entry| entry.entry.words[..2] == masked(*address, entry.entry.width))
                }
                _ => Value::MISSING,
            },
            Expr::Listed(of, list) => {
                let value = self.value(of);
                let bin = Bin::from_number(value.num as u64).map(Bin::digits).unwrap_or_default();
                match value.is_missing() {
                    true => Value::MISSING,
                    false if self.policy.lists[list.index()].of == ListOf::Bin => {
                        self.listed(*list, |entry| bin.starts_with(&entry.text))
                    }
                    false => self.listed(*list, |entry| value == Value::int(entry.entry.words[0] as i64)),
                }
            }
            Expr::Within(field, prefix) => match &self.values[field.index()] {
                Some(Given::Address(address)) => Value::bool(masked(*address, prefix.bits) == prefix.address),
                _ => Value::MISSING,
            },
            Expr::TextIs(field, with) | Expr::TextStarts(field, with) => match &self.values[field.index()] {
                Some(Given::Text(text)) if matches!(expr, Expr::TextIs(..)) => Value::bool(text == with),
                Some(Given::Text(text)) => Value::bool(text.starts_with(with)),
                _ => Value::MISSING,
            },
            Expr::SameKey(a, b) | Expr::SameText(a, b) => {
                match (&self.values[a.index()], &self.values[b.index()]) {
                    (Some(a), Some(b)) => Value::bool(a == b),
                    _ => Value::MISSING,
                }
            }
            Expr::Now => Value::int(self.time.0),
            Expr::Hour(zone) => self.local(zone, |local| i64::from(local.hour())),
            Expr::Weekday(zone) => {
                self.local(zone, |local| i64::from(local.weekday().to_monday_one_offset()))
            }
            // Conditions of rules have no scores.
            Expr::RuleScoresMax | Expr::RuleScoresSum | Expr::Score => Value::MISSING,
        }
    }

    /// Whether an entry of a list that counts now is so.
    fn listed(&self, list: ListIx, is: impl Fn(&ListEntry) -> bool) -> Value {
        let counts = |entry: &&ListEntry| entry.until.is_none_or(|until| self.time.0 < until);
        Value::bool(self.policy.lists[list.index()].entries.iter().filter(counts).any(is))
    }

    fn declared(&self, field: FieldIx) -> &FieldType {
        &self.policy.events[self.event.index()].fields[field.index()].ty
    }

    fn definition(&self, definition: LetIx) -> Value {
        match self.stubs.lets.get(&definition) {
            Some(value) => *value,
            None => self.value(&self.policy.lets[definition.index()].expr),
        }
    }

    fn local(&self, zone: &str, read: impl Fn(jiff::civil::DateTime) -> i64) -> Value {
        let zone = TimeZoneDatabase::bundled().get(zone).ok();
        let instant = Timestamp::from_microsecond(self.time.0).ok();
        match zone.zip(instant) {
            Some((zone, instant)) => Value::int(read(zone.to_datetime(instant))),
            None => Value::MISSING,
        }
    }

    fn is_any_money(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Field(field) => *self.declared(*field) == FieldType::Money,
            Expr::Amended(event, field) => {
                self.policy.events[event.index()].fields[field.index()].ty == FieldType::Money
            }
            Expr::FirstPresent(of) => of.first().is_some_and(|of| self.is_any_money(of)),
            _ => false,
        }
    }

    /// Money of a currency that is only known now: the first that is there.
    fn any_money(&self, expr: &Expr) -> Option<(i64, Currency)> {
        match expr {
            Expr::Field(field) => match self.values[field.index()] {
                Some(Given::Money(minor, currency)) => Some((minor, currency)),
                _ => None,
            },
            Expr::FirstPresent(of) => of.iter().find_map(|of| self.any_money(of)),
            _ => None,
        }
    }

    fn in_currency(&self, of: &Expr, wanted: Currency) -> Value {
        let (minor, held) = if self.is_any_money(of) {
            let Some((minor, held)) = self.any_money(of) else { return Value::MISSING };
            (Value::int(minor), held)
        } else {
            let Some(held) = self.currency_of(of) else { return Value::MISSING };
            (self.value(of), held)
        };
        if held == wanted || minor.is_missing() {
            return minor;
        }
        let Some(max_age_us) = self.policy.rates.as_ref().map(|rates| rates.max_age_us) else {
            return Value::MISSING;
        };
        let of_pair = |rate: &&GivenRate| (rate.from, rate.to) == (held, wanted) && rate.time <= self.time;
        let newest = self.rates.iter().filter(of_pair).max_by_key(|rate| rate.time);
        let Some(rate) = newest.filter(|rate| self.time.0 - rate.time.0 <= max_age_us) else {
            return Value::MISSING;
        };
        let wide = |parts: [i64; 3]| {
            parts.into_iter().try_fold(1_i128, |product, part| product.checked_mul(i128::from(part)))
        };
        let power = |currency: Currency| 10_i64.pow(currency.exponent());
        let num = wide([minor.num, rate.num as i64, power(wanted)]);
        let den = wide([minor.den, rate.den as i64, power(held)]);
        let converted = num.zip(den).map(|(num, den)| divide_half_even(num, den));
        converted.and_then(|minor| i64::try_from(minor).ok()).map_or(Value::MISSING, Value::int)
    }

    /// The currency of money that is in a known one.
    fn currency_of(&self, expr: &Expr) -> Option<Currency> {
        match self.type_of(expr) {
            Some(Type::Money(currency)) => Some(currency),
            _ => None,
        }
    }

    /// The type of a value, as far as telling it and converting money need it.
    fn type_of(&self, expr: &Expr) -> Option<Type> {
        let policy = self.policy;
        match expr {
            Expr::Const(_, ty) => Some(*ty),
            Expr::Field(field) => self.declared(*field).value_type(self.event, *field),
            Expr::Amended(event, field) => {
                policy.events[event.index()].fields[field.index()].ty.value_type(*event, *field)
            }
            Expr::Let(definition) => Some(policy.lets[definition.index()].ty),
            Expr::Feature(feature) => Some(policy.features[feature.index()].ty),
            Expr::Model(_) => Some(Type::Decimal),
            Expr::InCurrency(_, currency) => Some(Type::Money(*currency)),
            Expr::Major(_) => Some(Type::Decimal),
            Expr::CurrencyOf(_) => Some(Type::Currency),
            Expr::FirstPresent(of) | Expr::Extreme { of, .. } => of.first().and_then(|of| self.type_of(of)),
            Expr::Choose { branches, otherwise } => {
                let mut values = branches.iter().map(|(_, value)| value).chain([&**otherwise]);
                let decimal = values.any(|value| self.type_of(value) == Some(Type::Decimal));
                if decimal { Some(Type::Decimal) } else { self.type_of(otherwise) }
            }
            Expr::Negate(of) => self.type_of(of),
            Expr::Arithmetic(how, a, b) => match (how, self.type_of(a)?, self.type_of(b)?) {
                (Arithmetic::Div, Type::Money(_), Type::Money(_)) => Some(Type::Decimal),
                (_, ty @ Type::Money(_), _) | (_, _, ty @ Type::Money(_)) => Some(ty),
                (_, a, _) => Some(a),
            },
            Expr::Now => Some(Type::Time),
            Expr::Hour(_) | Expr::Weekday(_) | Expr::RuleScoresMax | Expr::RuleScoresSum | Expr::Score => {
                Some(Type::Int)
            }
            _ => Some(Type::Bool),
        }
    }

    /// An expression as it is written.
    #[must_use]
    pub fn text(&self, expr: &Expr) -> String {
        let mut text = String::new();
        self.write(expr, 0, &mut text);
        text
    }

    /// Writes an expression that stands beside operators which bind as strongly as `outer`.
    fn write(&self, expr: &Expr, outer: u8, text: &mut String) {
        let strength = strength(expr);
        let open = strength < outer;
        if open {
            text.push('(');
        }
        let policy = self.policy;
        let field = |field: &FieldIx| policy.events[self.event.index()].fields[field.index()].name.clone();
        // Comparisons do not chain: beside them both sides are in parentheses.
        let left = if strength == COMPARE { COMPARE + 1 } else { strength };
        let binary = |operator: &str, a: &Expr, b: &Expr, text: &mut String| {
            self.write(a, left, text);
            let _ = write!(text, " {operator} ");
            self.write(b, strength + 1, text);
        };
        let call = |name: &str, of: &[Expr], text: &mut String| {
            let _ = write!(text, "{name}(");
            for (at, of) in of.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                self.write(of, 0, text);
            }
            text.push(')');
        };
        match expr {
            Expr::Const(value, ty) => text.push_str(&shown(policy, *value, *ty)),
            Expr::Field(of) => text.push_str(&field(of)),
            Expr::Amended(event, of) => {
                let event = &policy.events[event.index()];
                let _ = write!(text, "{}.{}", event.name, event.fields[of.index()].name);
            }
            Expr::FieldMissing(of) => _ = write!(text, "{} is missing", field(of)),
            Expr::AmendMissing(event, of) => {
                let event = &policy.events[event.index()];
                text.push_str(&event.name);
                if let Some(of) = of {
                    let _ = write!(text, ".{}", event.fields[of.index()].name);
                }
                text.push_str(" is missing");
            }
            Expr::IsMissing(of) => {
                self.write(of, strength + 1, text);
                text.push_str(" is missing");
            }
            Expr::Let(definition) => text.push_str(&policy.lets[definition.index()].name),
            Expr::Feature(feature) => text.push_str(&policy.features[feature.index()].name),
            Expr::Model(model) => text.push_str(&policy.models[model.index()].name),
            Expr::InCurrency(of, currency) => {
                self.write(of, strength, text);
                let _ = write!(text, " in {}", currency.alpha());
            }
            Expr::Major(of) => call("major", std::slice::from_ref(of), text),
            Expr::CurrencyOf(of) => call("currency", std::slice::from_ref(of), text),
            Expr::FirstPresent(of) => call("first_present", of, text),
            Expr::Extreme { greatest, of } => call(if *greatest { "max" } else { "min" }, of, text),
            Expr::Choose { branches, otherwise } => {
                text.push_str("{ ");
                for (when, value) in branches {
                    self.write(when, 0, text);
                    text.push_str(": ");
                    self.write(value, 0, text);
                    text.push_str(", ");
                }
                text.push_str("else: ");
                self.write(otherwise, 0, text);
                text.push_str(" }");
            }
            Expr::Not(of) => match &**of {
                Expr::InList(of, list) => {
                    let _ = write!(text, "{} not in {}", field(of), policy.lists[list.index()].name);
                }
                Expr::Listed(of, list) => {
                    self.write(of, strength, text);
                    let _ = write!(text, " not in {}", policy.lists[list.index()].name);
                }
                Expr::Within(of, prefix) => {
                    let (equal, written) = prefix_text(*prefix);
                    let _ =
                        write!(text, "{} {} \"{written}\"", field(of), if equal { "!=" } else { "not in" });
                }
                Expr::TextIs(of, with) => _ = write!(text, "{} != {with:?}", field(of)),
                Expr::SameKey(a, b) | Expr::SameText(a, b) => {
                    _ = write!(text, "{} != {}", field(a), field(b));
                }
                Expr::FieldMissing(of) => _ = write!(text, "{} is not missing", field(of)),
                of => {
                    text.push_str("not ");
                    self.write(of, strength, text);
                }
            },
            Expr::And(a, b) => binary("and", a, b, text),
            Expr::Or(a, b) => binary("or", a, b, text),
            Expr::Compare(how, a, b) => {
                let operator = match how {
                    Compare::Eq => "==",
                    Compare::Ne => "!=",
                    Compare::Lt => "<",
                    Compare::Le => "<=",
                    Compare::Gt => ">",
                    Compare::Ge => ">=",
                };
                binary(operator, a, b, text);
            }
            Expr::Arithmetic(how, a, b) => {
                let operator = match how {
                    Arithmetic::Add => "+",
                    Arithmetic::Sub => "-",
                    Arithmetic::Mul => "*",
                    Arithmetic::Div => "/",
                };
                binary(operator, a, b, text);
            }
            Expr::Negate(of) => {
                text.push('-');
                self.write(of, strength, text);
            }
            Expr::InList(of, list) => {
                let _ = write!(text, "{} in {}", field(of), policy.lists[list.index()].name);
            }
            Expr::Listed(of, list) => {
                self.write(of, strength, text);
                let _ = write!(text, " in {}", policy.lists[list.index()].name);
            }
            Expr::Within(of, prefix) => {
                let (equal, written) = prefix_text(*prefix);
                let _ = write!(text, "{} {} \"{written}\"", field(of), if equal { "==" } else { "in" });
            }
            Expr::TextIs(of, with) => _ = write!(text, "{} == {with:?}", field(of)),
            Expr::TextStarts(of, with) => _ = write!(text, "starts_with({}, {with:?})", field(of)),
            Expr::SameKey(a, b) | Expr::SameText(a, b) => _ = write!(text, "{} == {}", field(a), field(b)),
            Expr::Now => text.push_str("now()"),
            Expr::Hour(zone) => _ = write!(text, "hour() in \"{zone}\""),
            Expr::Weekday(zone) => _ = write!(text, "weekday() in \"{zone}\""),
            Expr::RuleScoresMax => text.push_str("max(rule_scores)"),
            Expr::RuleScoresSum => text.push_str("sum(rule_scores)"),
            Expr::Score => text.push_str("score"),
        }
        if open {
            text.push(')');
        }
    }
}

/// A prefix as it is written, and whether it is one address.
fn prefix_text(prefix: PrefixPlan) -> (bool, String) {
    let address = address_text(prefix.address);
    match prefix.bits {
        PrefixPlan::ALL_BITS => (true, address),
        bits if address.contains(':') => (false, format!("{address}/{bits}")),
        bits => (false, format!("{address}/{}", bits.saturating_sub(96))),
    }
}

/// The strength of comparisons, and of what is written like them.
const COMPARE: u8 = 7;

/// How strongly the outermost operator of an expression binds.
fn strength(expr: &Expr) -> u8 {
    match expr {
        Expr::Or(..) => 1,
        Expr::And(..) => 3,
        Expr::Not(_) => 5,
        Expr::Compare(..)
        | Expr::IsMissing(_)
        | Expr::FieldMissing(_)
        | Expr::AmendMissing(..)
        | Expr::SameKey(..)
        | Expr::SameText(..)
        | Expr::TextIs(..) => COMPARE,
        Expr::Within(_, prefix) if prefix.bits == PrefixPlan::ALL_BITS => COMPARE,
        Expr::Arithmetic(Arithmetic::Add | Arithmetic::Sub, ..) => 9,
        Expr::Arithmetic(..) => 11,
        Expr::Negate(_) => 13,
        _ => 15,
    }
}

/// Kleene's conjunction, or his disjunction, which is the same with true and false the other way round.
fn both(a: Value, b: Value, decisive: bool) -> Value {
    let decides = |value: Value| !value.is_missing() && value.is_true() == decisive;
    if decides(a) || decides(b) {
        Value::bool(decisive)
    } else if a.is_missing() || b.is_missing() {
        Value::MISSING
    } else {
        Value::bool(!decisive)
    }
}

fn arithmetic(how: Arithmetic, a: Value, b: Value) -> Value {
    if a.is_missing() || b.is_missing() {
        return Value::MISSING;
    }
    let [a_num, a_den, b_num, b_den] = [a.num, a.den, b.num, b.den].map(i128::from);
    match how {
        Arithmetic::Add | Arithmetic::Sub if a_den == b_den => {
            Value::from_wide(if how == Arithmetic::Add { a_num + b_num } else { a_num - b_num }, a_den)
        }
        Arithmetic::Add => Value::from_wide(a_num * b_den + b_num * a_den, a_den * b_den),
        Arithmetic::Sub => Value::from_wide(a_num * b_den - b_num * a_den, a_den * b_den),
        Arithmetic::Mul => Value::from_wide(a_num * b_num, a_den * b_den),
        Arithmetic::Div => {
            let (num, den) = (a_num * b_den, a_den * b_num);
            if den < 0 { Value::from_wide(-num, -den) } else { Value::from_wide(num, den) }
        }
    }
}

/// A key: bare where that can be written, else in quotes.
fn word(text: &str) -> String {
    let bare = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if bare && !text.starts_with(|first: char| first.is_ascii_digit()) {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

/// A value as the language writes it; what has no end is cut after six digits.
#[must_use]
pub fn shown(policy: &Policy, value: Value, ty: Type) -> String {
    if value.is_missing() {
        return "missing".to_owned();
    }
    let word = value.num as u64;
    match ty {
        Type::Bool => value.is_true().to_string(),
        Type::Money(currency) => {
            let den = value.den.saturating_mul(10_i64.pow(currency.exponent()));
            // Minor units, unless there are none.
            let digits = if value.num % den.max(1) == 0 { 0 } else { currency.exponent() as usize };
            format!("{} {}", decimal(value.num, den, digits), currency.alpha())
        }
        Type::Enum(event, field) => match &policy.events[event.index()].fields[field.index()].ty {
            FieldType::Enum(words) => {
                let word = usize::try_from(value.num).ok().and_then(|ordinal| words.get(ordinal));
                word.cloned().unwrap_or_else(|| value.num.to_string())
            }
            _ => value.num.to_string(),
        },
        Type::Duration => duration(value),
        Type::Distance => format!("{} metres", decimal(value.num, value.den, 0)),
        Type::Speed => format!("{} km/h", decimal(value.num, value.den, 0)),
        Type::Country => Country::from_number(word).map_or("??", Country::alpha).to_owned(),
        Type::Currency => Currency::from_numeric(word).map_or("???", Currency::alpha).to_owned(),
        Type::Mcc => format!("{word:04}"),
        Type::Bin => Bin::from_number(word).map_or_else(|| word.to_string(), Bin::digits),
        Type::Time => match Timestamp::from_microsecond(value.num) {
            Ok(instant) => instant.to_string(),
            Err(_) => value.num.to_string(),
        },
        Type::Int | Type::Decimal | Type::AnyMoney => decimal(value.num, value.den, 0),
    }
}

/// A fraction with at least so many digits after the point, and at most nine where it has more, as what models say has.
fn decimal(num: i64, den: i64, least: usize) -> String {
    let (num, den) = (i128::from(num), i128::from(den.max(1)));
    // Both factors are below 2⁶⁴ and 2³⁰.
    let billionths = num.unsigned_abs() * 1_000_000_000 / den.unsigned_abs();
    let (whole, part) = (billionths / 1_000_000_000, billionths % 1_000_000_000);
    let mut digits = format!("{part:09}");
    while digits.len() > least && digits.ends_with('0') {
        digits.pop();
    }
    let sign = if num < 0 { "-" } else { "" };
    if digits.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{digits}") }
}

/// In the largest unit that it is a whole number of.
fn duration(value: Value) -> String {
    let us = value.num / value.den.max(1);
    let units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s"), (1_000, "ms")];
    match units.into_iter().find(|(unit, _)| us != 0 && us % unit == 0) {
        Some((unit, letter)) => format!("{}{letter}", us / unit),
        None if us == 0 => "0s".to_owned(),
        None => format!("{us}us"),
    }
}

/// How long after the start of a test something is.
pub(super) fn offset(us: i64) -> String {
    if us == 0 { "0m".to_owned() } else { duration(Value::int(us)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_told_with_the_parentheses_that_they_need() {
        let conditions = [
            "(n > 1) == b",
            "(n is missing) == b",
            "(n is not missing) == b",
            "b == (one == other)",
            "(name == \"a\") != (from == \"10.1.2.3\")",
            "(r is missing) == (r.k is missing)",
            "from in \"10.0.0.0/8\" == b",
            "(one == other) is missing",
            "n - (2 - n) * 3 > -n and not (b or one != other)",
        ];
        let mut text = "policy p revision 1\nentity e\nevent a { n: int?, b: bool?, one: e?, other: e?, name: text(8)?, from: ip? }\n\
             event r amends a { k: int? }\ndecide a { score = max(rule_scores), unassessed allow }\n"
            .to_owned();
        for (at, condition) in conditions.iter().enumerate() {
            let _ = writeln!(text, "rule r{at} on a {{ when {condition} then score 1 }}");
        }
        let policy = crate::policy::check(&text).expect("a good policy");
        let facts = Facts {
            policy: &policy,
            event: EventIx(0),
            values: &[],
            time: Time(0),
            features: &[],
            models: &[],
            stubs: &Stubs::default(),
            rates: &[],
        };
        let told: Vec<String> = policy.rules.iter().map(|rule| facts.text(&rule.when)).collect();
        assert_eq!(told, conditions);
    }
}
