//! What is concluded about conditions, held against trying all values.

use super::conditions::Conditions;
use crate::engine::units::Value;
use crate::policy::check;
use crate::policy::typed::{Compare, EventIx, Expr, FieldIx, Policy};
use proptest::prelude::*;
use std::cmp::Ordering;

/// The values of the fields x, y (may be missing), b and k.
type Values = [Option<i64>; 4];

fn all_values() -> impl Iterator<Item = Values> {
    // Beyond the literals on both sides, so that there is a value in every range they make.
    let numbers = || (-2..=4).map(Some);
    numbers().flat_map(move |x| {
        numbers().chain([None]).flat_map(move |y| {
            [0, 1].into_iter().flat_map(move |b| (0..3).map(move |k| [x, y, Some(b), Some(k)]))
        })
    })
}

fn value(expr: &Expr, values: &Values) -> Option<i64> {
    match expr {
        Expr::Const(value, _) => Some(value.num),
        Expr::Negate(inner) => value(inner, values).map(|value| -value),
        // The key is the first field.
        Expr::Field(FieldIx(at)) => values[usize::from(*at) - 1],
        other => panic!("not a value of these conditions: {other:?}"),
    }
}

/// The condition in three values.
fn truth(policy: &Policy, expr: &Expr, values: &Values) -> Option<bool> {
    let inner = |expr: &Expr| truth(policy, expr, values);
    match expr {
        Expr::Const(value, _) => Some(value.is_true()),
        Expr::Field(_) => value(expr, values).map(|value| value != 0),
        Expr::FieldMissing(FieldIx(at)) => Some(values[usize::from(*at) - 1].is_none()),
        Expr::Let(ix) => inner(&policy.lets[ix.index()].expr),
        Expr::Not(a) => inner(a).map(|truth| !truth),
        Expr::And(a, b) => match (inner(a), inner(b)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (a, b) => Some(a? && b?),
        },
        Expr::Or(a, b) => match (inner(a), inner(b)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (a, b) => Some(a? || b?),
        },
        Expr::Compare(op, a, b) => {
            let order = Value::int(value(a, values)?).compare(Value::int(value(b, values)?))?;
            Some(match op {
                Compare::Eq => order == Ordering::Equal,
                Compare::Ne => order != Ordering::Equal,
                Compare::Lt => order == Ordering::Less,
                Compare::Le => order != Ordering::Greater,
                Compare::Gt => order == Ordering::Greater,
                Compare::Ge => order != Ordering::Less,
            })
        }
        other => panic!("not one of these conditions: {other:?}"),
    }
}

fn condition() -> impl Strategy<Value = String> {
    let operator = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
    let number = |name: &'static str| {
        (operator.clone(), -1i64..4)
            .prop_map(move |(operator, literal)| format!("{name} {operator} {literal}"))
    };
    let atom = prop_oneof![
        3 => number("x"),
        2 => number("y"),
        1 => (operator.clone(), -1i64..4).prop_map(|(operator, literal)| format!("{literal} {operator} x")),
        1 => operator.clone().prop_map(|operator| format!("x {operator} y")),
        2 => prop::sample::select(vec![
            "y is missing", "y is not missing", "b", "not b", "b == true", "b != true", "false", "k == u", "k != u",
            "k == v", "k != v", "k != w", "within",
        ])
        .prop_map(str::to_owned),
    ];
    atom.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            2 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" and "))),
            1 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" or "))),
            1 => inner.prop_map(|part| format!("not ({part})")),
        ]
    })
}

fn checked(first: &str, second: &str) -> Policy {
    let text = format!(
        "policy p revision 1\nentity c\nevent e {{ c: c, x: int, y: int?, b: bool, k: enum {{ u, v, w }} }}\n\
         let within on e = x > 0 and x < 3\n\
         rule first on e {{ when {first} then score 1 }}\nrule second on e {{ when {second} then score 2 }}\n\
         decide e {{ score = max(rule_scores), unassessed allow }}\n"
    );
    check(&text).unwrap_or_else(|errors| panic!("{text}{errors:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_concluded_is_true(first in condition(), second in condition()) {
        let policy = checked(&first, &second);
        let conditions = Conditions { policy: &policy, event: EventIx(0) };
        let [one, two] = [&policy.rules[0].when, &policy.rules[1].when];
        let truths = |expr: &Expr| all_values().map(|values| truth(&policy, expr, &values)).collect::<Vec<_>>();
        let (ones, twos) = (truths(one), truths(two));
        if conditions.never(one, None).is_some() {
            prop_assert!(!ones.contains(&Some(true)), "never: {first}");
        }
        if conditions.never(one, Some(two)).is_some() {
            let both = ones.iter().zip(&twos).any(|pair| pair == (&Some(true), &Some(true)));
            prop_assert!(!both, "never: {first}; {second}");
        }
        if conditions.always(one) {
            prop_assert!(!ones.contains(&Some(false)), "always: {first}");
        }
        if conditions.implies(one, two) {
            let other = ones.iter().zip(&twos).find(|(one, two)| **one == Some(true) && **two != Some(true));
            prop_assert!(other.is_none(), "{first} does not imply {second}");
        }
    }
}

/// Of what is never or always true, most is noticed: here all but what takes more than one comparison of two fields.
#[test]
fn what_can_be_concluded_is() {
    for (condition, never, always) in [
        ("x > 2 and x < 2", true, false),
        ("x > 1 and x < 3", false, false),
        ("within and x > 2", true, false),
        ("not within and x == 1", true, false),
        ("x < y and x >= y", true, false),
        ("x < y and (y is missing or k == u and k == w)", true, false),
        ("b and not b", true, false),
        ("k != u and k != v and k != w", true, false),
        ("x <= 2 or x >= 3", false, true),
        ("x <= 2 or x > 3", false, false),
        ("not (k == u and k == v)", false, true),
        ("y is missing or y is not missing", false, true),
        ("b == true or b == false", false, true),
    ] {
        let policy = checked(condition, "b");
        let conditions = Conditions { policy: &policy, event: EventIx(0) };
        let expr = &policy.rules[0].when;
        assert_eq!(
            (conditions.never(expr, None).is_some(), conditions.always(expr)),
            (never, always),
            "{condition}"
        );
    }
}
