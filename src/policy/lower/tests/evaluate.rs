//! A second reading of expressions: walks the tree, one line per case, with its own exact arithmetic.

use crate::engine::units::{Currency, Key, Time, Value};
use crate::policy::typed::{Arithmetic, Compare, EventIx, Expr, FeatureKind, FieldIx, ListIx, Policy};
use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;
use std::cmp::Ordering;

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    Nothing,
    Number(i64),
    /// Millionths.
    Decimal(i64),
    Money(i64, Currency),
    Key(Key),
}

/// A reduced fraction.
pub(super) type Number = (i128, i128);

/// An event with what has been said about it since.
pub(super) struct Context<'a> {
    pub(super) policy: &'a Policy,
    pub(super) fields: &'a [Held],
    pub(super) time: Time,
    /// Newest amendment of each kind, by event number. Empty outside aggregates.
    pub(super) amendments: &'a [Option<Vec<Held>>],
    /// The keys of each list.
    pub(super) lists: &'a [Vec<Key>],
}

/// The fraction in lowest terms; nothing when it leaves 64 bits.
pub(super) fn fraction(num: i128, den: i128) -> Option<Number> {
    if den == 0 {
        return None;
    }
    let (mut a, mut b) = (num.abs(), den.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let sign = if den < 0 { -1 } else { 1 };
    let (num, den) = (sign * num / a, sign * den / a);
    (i64::try_from(num).is_ok() && i64::try_from(den).is_ok()).then_some((num, den))
}

pub(super) fn of_value(value: Value) -> Option<Number> {
    fraction(i128::from(value.num), i128::from(value.den))
}

fn truth(known: Option<bool>) -> Option<Number> {
    known.map(|truth| (i128::from(truth), 1))
}

fn order(a: Number, b: Number) -> Ordering {
    (a.0 * b.1).cmp(&(b.0 * a.1))
}

impl Context<'_> {
    fn amendment(&self, event: EventIx) -> Option<&Vec<Held>> {
        self.amendments.get(event.index())?.as_ref()
    }

    fn amended(&self, event: EventIx, field: FieldIx) -> Held {
        self.amendment(event).map_or(Held::Nothing, |fields| fields[field.index()])
    }

    fn key(&self, field: FieldIx) -> Option<Key> {
        match self.fields[field.index()] {
            Held::Key(key) => Some(key),
            _ => None,
        }
    }

    fn local(&self, zone: &str) -> jiff::Zoned {
        let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
        Timestamp::from_microsecond(self.time.0).unwrap().to_zoned(zone)
    }

    fn in_list(&self, field: FieldIx, list: ListIx) -> Option<bool> {
        let key = self.key(field)?;
        Some(self.lists[list.index()].contains(&key))
    }

    /// Money whose currency is only known now: the first that is there.
    fn any_money(&self, expr: &Expr) -> Option<(i64, Currency)> {
        let held = match expr {
            Expr::Field(field) => self.fields[field.index()],
            Expr::Amended(event, field) => self.amended(*event, *field),
            Expr::FirstPresent(of) => return of.iter().find_map(|of| self.any_money(of)),
            _ => panic!("not money of any currency: {expr:?}"),
        };
        match held {
            Held::Money(minor, currency) => Some((minor, currency)),
            _ => None,
        }
    }

    pub(super) fn bool(&self, expr: &Expr) -> Option<bool> {
        self.number(expr).map(|number| number.0 != 0)
    }

    pub(super) fn number(&self, expr: &Expr) -> Option<Number> {
        let of_held = |held: Held| match held {
            Held::Nothing | Held::Money(..) | Held::Key(_) => None,
            Held::Number(number) => Some((i128::from(number), 1)),
            Held::Decimal(millionths) => fraction(i128::from(millionths), 1_000_000),
        };
        match expr {
            Expr::Const(value, _) => of_value(*value),
            Expr::Field(field) => of_held(self.fields[field.index()]),
            Expr::Amended(event, field) => of_held(self.amended(*event, *field)),
            Expr::FieldMissing(field) => truth(Some(matches!(self.fields[field.index()], Held::Nothing))),
            Expr::AmendMissing(event, None) => truth(Some(self.amendment(*event).is_none())),
            Expr::AmendMissing(event, Some(field)) => {
                truth(Some(matches!(self.amended(*event, *field), Held::Nothing)))
            }
            Expr::IsMissing(of) => truth(Some(self.number(of).is_none())),
            Expr::Let(definition) => self.number(&self.policy.lets[definition.index()].expr),
            Expr::Model(_) => unreachable!("no models here"),
            Expr::Feature(feature) => match &self.policy.features[feature.index()].kind {
                FeatureKind::Scalar { expr, .. } => self.number(expr),
                FeatureKind::Window(_) => None,
            },
            Expr::InCurrency(of, currency) => {
                // Only fields have a currency that is not known when compiling; constants here are all USD.
                let (minor, found) = self.any_money(of)?;
                (found == *currency).then_some((i128::from(minor), 1))
            }
            Expr::Major(of) => {
                let (num, den) = self.number(of)?;
                fraction(num, den * 100)
            }
            Expr::CurrencyOf(of) => self.any_money(of).map(|(_, currency)| (i128::from(currency.0), 1)),
            Expr::FirstPresent(of) => of.iter().find_map(|of| self.number(of)),
            Expr::Choose { branches, otherwise } => {
                let chosen = branches.iter().find(|(when, _)| self.number(when) == truth(Some(true)));
                self.number(chosen.map_or(otherwise, |(_, value)| value))
            }
            Expr::Extreme { greatest, of } => {
                let there = of.iter().filter_map(|of| self.number(of));
                if *greatest {
                    there.max_by(|a, b| order(*a, *b))
                } else {
                    there.min_by(|a, b| order(*a, *b))
                }
            }
            Expr::Not(of) => truth(self.bool(of).map(|truth| !truth)),
            Expr::And(a, b) => truth(match (self.bool(a), self.bool(b)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            }),
            Expr::Or(a, b) => truth(match (self.bool(a), self.bool(b)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            }),
            Expr::Compare(compare, a, b) => {
                let order = order(self.number(a)?, self.number(b)?);
                truth(Some(match compare {
                    Compare::Eq => order.is_eq(),
                    Compare::Ne => order.is_ne(),
                    Compare::Lt => order.is_lt(),
                    Compare::Le => order.is_le(),
                    Compare::Gt => order.is_gt(),
                    Compare::Ge => order.is_ge(),
                }))
            }
            Expr::Arithmetic(operator, a, b) => {
                let ((a, a_den), (b, b_den)) = (self.number(a)?, self.number(b)?);
                match operator {
                    Arithmetic::Add => fraction(a * b_den + b * a_den, a_den * b_den),
                    Arithmetic::Sub => fraction(a * b_den - b * a_den, a_den * b_den),
                    Arithmetic::Mul => fraction(a * b, a_den * b_den),
                    Arithmetic::Div => fraction(a * b_den, a_den * b),
                }
            }
            Expr::Negate(of) => {
                let (num, den) = self.number(of)?;
                fraction(-num, den)
            }
            Expr::Listed(..)
            | Expr::Within(..)
            | Expr::TextIs(..)
            | Expr::TextStarts(..)
            | Expr::SameText(..) => panic!("not in these tests"),
            Expr::InList(field, list) => truth(self.in_list(*field, *list)),
            Expr::SameKey(a, b) => truth(self.key(*a).and_then(|a| Some(a == self.key(*b)?))),
            Expr::Now => Some((i128::from(self.time.0), 1)),
            Expr::Hour(zone) => Some((i128::from(self.local(zone).hour()), 1)),
            Expr::Weekday(zone) => Some((i128::from(self.local(zone).weekday().to_monday_one_offset()), 1)),
            Expr::RuleScoresMax | Expr::RuleScoresSum | Expr::Score => panic!("not in these tests"),
        }
    }
}
