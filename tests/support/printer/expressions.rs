//! Expressions and literals.

use super::{Page, Printer, date};
use jiff::tz::TimeZone;
use tollgate::engine::program::PrefixPlan;
use tollgate::engine::units::codes::{Bin, Country};
use tollgate::engine::units::{Currency, DAY, HOUR, MINUTE, SECOND, Value};
use tollgate::policy::entries::address_text;
use tollgate::policy::typed::{Arithmetic, Compare, EventIx, Expr, FieldIx, FieldType, ListIx, Type};

/// Where an expression stands.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub(super) event: EventIx,
    /// It is aggregated: what it names of its event says of which it is.
    pub(super) aggregated: bool,
}

impl Context {
    pub(super) fn of(event: EventIx) -> Self {
        Self { event, aggregated: false }
    }
}

const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARE: u8 = 4;
const SUM: u8 = 5;
const PRODUCT: u8 = 6;
const NEGATE: u8 = 7;
const PRIMARY: u8 = 8;

/// How strongly the outermost operator of an expression binds.
fn strength(expr: &Expr) -> u8 {
    match expr {
        Expr::And(a, b) if range(a, b).is_some() => PRIMARY,
        Expr::Or(..) => OR,
        Expr::And(..) => AND,
        Expr::Not(_) => NOT,
        Expr::Compare(..)
        | Expr::IsMissing(_)
        | Expr::FieldMissing(_)
        | Expr::AmendMissing(..)
        | Expr::SameKey(..)
        | Expr::SameText(..)
        | Expr::TextIs(..)
        | Expr::Within(..) => COMPARE,
        Expr::Arithmetic(Arithmetic::Add | Arithmetic::Sub, ..) => SUM,
        Expr::Arithmetic(..) => PRODUCT,
        Expr::Negate(_) => NEGATE,
        _ => PRIMARY,
    }
}

/// `VALUE in 5000 to 5999`, which are two comparisons.
fn range<'e>(from: &'e Expr, to: &Expr) -> Option<(&'e Expr, i64, i64)> {
    let (Expr::Compare(Compare::Ge, value, low), Expr::Compare(Compare::Le, other, high)) = (from, to) else {
        return None;
    };
    let (Expr::Const(low, Type::Mcc), Expr::Const(high, Type::Mcc)) = (&**low, &**high) else { return None };
    (value == other && low.num <= high.num).then_some((value, low.num, high.num))
}

impl Printer<'_> {
    /// Writes an expression where operators that bind less than `least` need parentheses.
    pub(super) fn expr(&mut self, expr: &Expr, context: Context, least: u8) {
        let own = strength(expr);
        // What a word or a number alone stands for can depend on what is beside it.
        let extra = usize::from(own < PRIMARY && self.page.chance(4));
        let parentheses = usize::from(own < least).max(extra);
        for _ in 0..parentheses {
            self.page.opening("(");
        }
        self.bare(expr, context, own);
        for _ in 0..parentheses {
            self.page.tight(")");
        }
    }

    fn bare(&mut self, expr: &Expr, context: Context, own: u8) {
        match expr {
            Expr::Const(value, ty) => self.literal(*value, *ty),
            Expr::Field(field) => self.field(*field, context),
            Expr::Amended(event, field) => self.amended(*event, *field),
            Expr::FieldMissing(field) => {
                self.field(*field, context);
                self.page.words("is missing");
            }
            Expr::AmendMissing(event, field) => {
                match field {
                    Some(field) => self.amended(*event, *field),
                    None => self.page.put(&self.event_name(*event)),
                }
                self.page.words("is missing");
            }
            Expr::IsMissing(of) => {
                self.asked(of, context);
                self.page.words("is missing");
            }
            Expr::Let(ix) => self.named(&self.policy.lets[ix.index()].name, context),
            Expr::Feature(ix) => self.page.put(&self.policy.features[ix.index()].name),
            Expr::Model(ix) => self.page.put(&self.policy.models[ix.index()].name),
            Expr::InCurrency(of, currency) => {
                self.expr(of, context, PRIMARY);
                self.page.words(&format!("in {}", currency.alpha()));
            }
            Expr::Major(of) => self.call("major", &[of], context),
            Expr::CurrencyOf(of) => self.call("currency", &[of], context),
            Expr::Choose { .. } => unreachable!("scorecards are not printed"),
            Expr::FirstPresent(of) => self.call("first_present", &of.iter().collect::<Vec<_>>(), context),
            Expr::Extreme { greatest, of } => {
                self.call(if *greatest { "max" } else { "min" }, &of.iter().collect::<Vec<_>>(), context);
            }
            Expr::Not(of) => self.negation(of, context),
            Expr::And(from, to) => match range(from, to) {
                Some(range) => self.range(range, "in", context),
                None => self.binary("and", from, to, own, context),
            },
            Expr::Or(a, b) => self.binary("or", a, b, own, context),
            Expr::Compare(how, a, b) => {
                let operator = match how {
                    Compare::Eq => "==",
                    Compare::Ne => "!=",
                    Compare::Lt => "<",
                    Compare::Le => "<=",
                    Compare::Gt => ">",
                    Compare::Ge => ">=",
                };
                // They do not chain.
                self.expr(a, context, own + 1);
                self.page.put(operator);
                self.expr(b, context, own + 1);
            }
            Expr::Arithmetic(how, a, b) => {
                let operator = match how {
                    Arithmetic::Add => "+",
                    Arithmetic::Sub => "-",
                    Arithmetic::Mul => "*",
                    Arithmetic::Div => "/",
                };
                self.binary(operator, a, b, own, context);
            }
            Expr::Negate(of) => {
                self.page.opening("-");
                self.expr(of, context, own);
            }
            Expr::InList(field, list) => self.in_list(*field, "in", *list, context),
            Expr::Listed(of, list) => self.listed(of, "in", *list, context),
            Expr::SameKey(a, b) | Expr::SameText(a, b) => self.same(*a, "==", *b, context),
            Expr::Within(field, prefix) => {
                let equals = prefix.bits == PrefixPlan::ALL_BITS && !self.page.chance(40);
                self.within(*field, if equals { "==" } else { "in" }, *prefix, context);
            }
            Expr::TextIs(field, text) => self.text_is(*field, "==", text, context),
            Expr::TextStarts(field, text) => {
                self.called("starts_with");
                self.field(*field, context);
                self.page.tight(",");
                self.page.quoted(text);
                self.page.tight(")");
            }
            Expr::Now => self.call("now", &[], context),
            Expr::Hour(zone) | Expr::Weekday(zone) => {
                let name = if matches!(expr, Expr::Hour(_)) { "hour" } else { "weekday" };
                self.call(name, &[], context);
                self.page.put("in");
                self.zone(zone);
            }
            // Among others it is a value.
            Expr::RuleScoresMax => {
                self.called("max");
                self.page.put("rule_scores");
                self.page.tight(")");
            }
            Expr::RuleScoresSum => {
                self.called("sum");
                self.page.put("rule_scores");
                self.page.tight(")");
            }
            Expr::Score => self.page.put("score"),
        }
    }

    fn binary(&mut self, operator: &str, a: &Expr, b: &Expr, own: u8, context: Context) {
        self.expr(a, context, own);
        self.page.put(operator);
        self.expr(b, context, own + 1);
    }

    /// What is asked whether it is missing: of a field in parentheses its value is, without them the field.
    fn asked(&mut self, of: &Expr, context: Context) {
        if matches!(of, Expr::Field(_) | Expr::Amended(..)) {
            self.page.opening("(");
            self.expr(of, context, 0);
            self.page.tight(")");
        } else {
            self.expr(of, context, COMPARE + 1);
        }
    }

    /// `not …`, or the operator that says it.
    fn negation(&mut self, of: &Expr, context: Context) {
        let plain = self.page.chance(50);
        match of {
            Expr::InList(field, list) if !plain => self.in_list(*field, "not in", *list, context),
            Expr::Listed(of, list) if !plain => self.listed(of, "not in", *list, context),
            Expr::SameKey(a, b) | Expr::SameText(a, b) if !plain => self.same(*a, "!=", *b, context),
            Expr::Within(field, prefix) if !plain => {
                let equals = prefix.bits == PrefixPlan::ALL_BITS && !self.page.chance(40);
                self.within(*field, if equals { "!=" } else { "not in" }, *prefix, context);
            }
            Expr::TextIs(field, text) if !plain => self.text_is(*field, "!=", text, context),
            Expr::FieldMissing(field) if !plain => {
                self.field(*field, context);
                self.page.words("is not missing");
            }
            Expr::IsMissing(of) if !plain => {
                self.asked(of, context);
                self.page.words("is not missing");
            }
            Expr::And(from, to) if !plain && range(from, to).is_some() => {
                self.range(range(from, to).expect("a range"), "not in", context);
            }
            _ => {
                self.page.put("not");
                self.expr(of, context, NOT);
            }
        }
    }

    fn range(&mut self, (value, low, high): (&Expr, i64, i64), word: &str, context: Context) {
        self.expr(value, context, PRIMARY);
        self.page.words(&format!("{word} {low:04} to {high:04}"));
    }

    fn in_list(&mut self, field: FieldIx, word: &str, list: ListIx, context: Context) {
        self.field(field, context);
        self.page.words(&format!("{word} {}", self.policy.lists[list.index()].name));
    }

    fn listed(&mut self, of: &Expr, word: &str, list: ListIx, context: Context) {
        self.expr(of, context, PRIMARY);
        self.page.words(&format!("{word} {}", self.policy.lists[list.index()].name));
    }

    fn same(&mut self, a: FieldIx, operator: &str, b: FieldIx, context: Context) {
        self.field(a, context);
        self.page.put(operator);
        self.field(b, context);
    }

    fn within(&mut self, field: FieldIx, word: &str, prefix: PrefixPlan, context: Context) {
        let address = address_text(prefix.address);
        let most = if address.contains(':') { 128 } else { 32 };
        let bits = prefix.bits - (PrefixPlan::ALL_BITS - most);
        let is_one = prefix.bits == PrefixPlan::ALL_BITS && !self.page.chance(30);
        let text = if is_one { address } else { format!("{address}/{bits}") };
        self.field(field, context);
        self.page.words(word);
        self.page.quoted(&text);
    }

    /// Either side may be the text.
    fn text_is(&mut self, field: FieldIx, operator: &str, text: &str, context: Context) {
        let text_first = self.page.chance(30);
        if text_first {
            self.page.quoted(text);
            self.page.put(operator);
        }
        self.field(field, context);
        if !text_first {
            self.page.put(operator);
            self.page.quoted(text);
        }
    }

    // ── names ───────────────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn event_name(&self, event: EventIx) -> String {
        self.policy.events[event.index()].name.clone()
    }

    pub(super) fn path(&mut self, event: &str, name: &str) {
        self.page.put(event);
        self.page.tight(".");
        self.page.tight(name);
    }

    fn amended(&mut self, event: EventIx, field: FieldIx) {
        let event = &self.policy.events[event.index()];
        self.path(&event.name, &event.fields[field.index()].name);
    }

    /// A field of the event in context; a key that an amendment has from another event may be called one of that.
    fn field(&mut self, field: FieldIx, context: Context) {
        let event = &self.policy.events[context.event.index()];
        let field = &event.fields[field.index()];
        match event.amends {
            Some(target) if field.inherited.is_some() && !context.aggregated && self.page.chance(30) => {
                let target = self.event_name(target);
                self.path(&target, &field.name);
            }
            _ => self.named(&field.name, context),
        }
    }

    /// A field or a `let` of the event in context.
    fn named(&mut self, name: &str, context: Context) {
        if context.aggregated || self.page.chance(15) {
            let event = self.event_name(context.event);
            self.path(&event, name);
        } else {
            self.page.put(name);
        }
    }

    // ── calls and literals ──────────────────────────────────────────────────────────────────────────────────────

    /// A name and `(`.
    pub(super) fn called(&mut self, name: &str) {
        self.page.put(name);
        self.page.tight("(");
        self.page.open = true;
    }

    fn call(&mut self, name: &str, of: &[&Expr], context: Context) {
        self.called(name);
        for (at, of) in of.iter().enumerate() {
            self.page.comma(at);
            match of {
                Expr::RuleScoresMax if !self.page.chance(50) => self.page.put("rule_scores"),
                of => self.expr(of, context, 0),
            }
        }
        self.page.tight(")");
    }

    pub(super) fn zone(&mut self, zone: &str) {
        let name = if self.page.chance(20) { zone.to_lowercase() } else { zone.to_owned() };
        self.page.quoted(&name);
    }

    pub(super) fn whole_number(&mut self, number: u64) {
        let digits = whole(&mut self.page, i128::from(number));
        self.page.put(&digits);
    }

    pub(super) fn duration(&mut self, us: i64) {
        let units =
            [(7 * DAY, "w"), (DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s"), (1_000, "ms"), (1, "us")];
        let fit: Vec<_> = units.into_iter().filter(|(unit, _)| us % unit == 0).collect();
        // The longest but for weeks.
        let usual = fit.iter().find(|(unit, _)| *unit <= DAY && us != 0).unwrap_or(&fit[fit.len() - 1]);
        let (unit, letters) = *self.page.rng.as_mut().map_or(usual, |rng| rng.pick(&fit));
        let count = whole(&mut self.page, i128::from(us / unit));
        self.page.put(&format!("{count}{letters}"));
    }

    fn literal(&mut self, value: Value, ty: Type) {
        assert!(value.num >= 0, "a literal below zero has no words: {value:?}");
        let may_be_fraction = matches!(ty, Type::Decimal | Type::Distance | Type::Speed);
        assert!(may_be_fraction || value.den == 1, "a fraction has no words: {value:?} of {ty:?}");
        let number = value.num as u64;
        let digits = value.den.ilog10();
        assert_eq!(10_i64.pow(digits), value.den, "a fraction has no words: {value:?}");
        let fraction =
            |page: &mut Page, num: i64, least| fraction(page, i128::from(num), digits as usize, least);
        match ty {
            Type::Bool => self.page.put(if value.is_true() { "true" } else { "false" }),
            Type::Int => self.whole_number(number),
            Type::Decimal => {
                let zeros = usize::from(self.page.chance(20));
                let number = fraction(&mut self.page, value.num, 1) + &"0".repeat(zeros);
                self.page.put(&number);
            }
            Type::Money(currency) => self.money(value.num, currency),
            Type::Enum(event, field) => {
                let FieldType::Enum(words) = &self.policy.events[event.index()].fields[field.index()].ty
                else {
                    unreachable!("an enum")
                };
                self.page.put(&words[number as usize]);
            }
            Type::Duration => self.duration(value.num),
            Type::Distance => {
                // A fraction of thousands can only have been kilometres: zeros at its end would have been left out.
                let kilometres = value.num % 1_000 == 0 && (digits > 0 || self.page.chance(50));
                let number = fraction(&mut self.page, value.num / if kilometres { 1_000 } else { 1 }, 0);
                self.page.put(&number);
                self.page.beside(if kilometres { "km" } else { "metres" });
            }
            Type::Speed => {
                let number = fraction(&mut self.page, value.num, 0);
                self.page.put(&number);
                self.page.beside("km");
                self.page.tight("/");
                self.page.tight("h");
            }
            Type::Country => self.page.put(Country::from_number(number).expect("a country").alpha()),
            Type::Currency => self.page.put(Currency::from_numeric(number).expect("a currency").alpha()),
            Type::Mcc => self.page.put(&format!("{number:04}")),
            Type::Bin => self.page.put(&Bin::from_number(number).expect("leading digits").digits()),
            Type::Time => self.page.put(&date(value.num, &TimeZone::UTC)),
            Type::AnyMoney => unreachable!("no literal is of this type"),
        }
    }

    fn money(&mut self, minor: i64, currency: Currency) {
        let digits = currency.exponent() as usize;
        let number = fraction(&mut self.page, i128::from(minor), digits, 0);
        // Digits at the end that say nothing may be left out.
        let short = number.contains('.') && self.page.chance(30);
        let number = if short { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
        self.page.put(number);
        self.page.beside(currency.alpha());
    }
}

/// Digits, in an odd layout grouped.
fn whole(page: &mut Page, number: i128) -> String {
    let mut digits = number.to_string();
    if digits.len() > 3 && page.chance(30) {
        digits.insert(digits.len() - 3, '_');
    }
    digits
}

/// A number of which so many digits are after the point, at least one of them when `least` is 1.
fn fraction(page: &mut Page, number: i128, digits: usize, least: usize) -> String {
    let power = 10_i128.pow(digits as u32);
    let before = whole(page, number / power);
    match digits {
        0 if least == 0 => before,
        0 => format!("{before}.0"),
        _ => format!("{before}.{:0digits$}", number % power),
    }
}
