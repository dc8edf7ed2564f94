//! What a large, valid policy comes to.

use crate::engine::program::ListOf;
use crate::engine::units::{Action, Currency, DAY, HOUR, Value};
use crate::policy::check;
use crate::policy::diagnostics::render;
use crate::policy::typed::*;

const VALID: &str = include_str!("../../../tests/golden/policy/valid.policy");

fn checked(text: &str) -> Policy {
    check(text).unwrap_or_else(|errors| panic!("{}", render("test.policy", text, &errors)))
}

fn usd() -> Currency {
    Currency::from_alpha("USD").unwrap()
}

fn boxed(expr: Expr) -> Box<Expr> {
    Box::new(expr)
}

/// A field of an event by name.
fn field(policy: &Policy, event: &str, name: &str) -> (EventIx, FieldIx) {
    let at = policy.events.iter().position(|e| e.name == event).unwrap();
    let field = policy.events[at].fields.iter().position(|f| f.name == name).unwrap();
    (EventIx(at as u16), FieldIx(field as u16))
}

fn window<'p>(policy: &'p Policy, name: &str) -> &'p Window {
    match &policy.features.iter().find(|feature| feature.name == name).unwrap().kind {
        FeatureKind::Window(window) => window,
        FeatureKind::Scalar { .. } => panic!("{name} has no window"),
    }
}

#[test]
fn header_entities_reasons_and_lists_are_taken_over() {
    let policy = checked(VALID);
    assert_eq!((policy.name.as_str(), policy.revision), ("card_payments", 13));
    assert_eq!(policy.entities, ["card", "account", "device", "merchant"]);
    assert_eq!(policy.reasons.iter().map(|reason| reason.id).collect::<Vec<_>>(), [17, 18, 20]);
    assert_eq!(policy.reasons[1].analyst, "password \"reset\", payee, payment");
    assert_eq!((&policy.reasons[1].customer, &policy.reasons[2].iso), (&None, &None));
    let entries: Vec<&str> = policy.lists[1].entries.iter().map(|entry| entry.text.as_str()).collect();
    assert_eq!(entries, ["d-666", "d-667"]);
    assert_eq!(policy.lists[1].of, ListOf::Entity(2));
}

#[test]
fn amendments_carry_the_keys_of_what_they_amend_after_their_own_fields() {
    let policy = checked(VALID);
    let result = &policy.events[1];
    assert_eq!(result.amends, Some(EventIx(0)));
    let names: Vec<_> = result.fields.iter().map(|f| (f.name.as_str(), f.optional, f.inherited)).collect();
    assert_eq!(
        names,
        [
            ("outcome", false, None),
            ("by", false, None),
            ("approved", true, None),
            ("card", false, Some(FieldIx(0))),
            ("payer", false, Some(FieldIx(1))),
            ("payee", true, Some(FieldIx(2))),
            ("device", true, Some(FieldIx(3))),
            ("merchant", false, Some(FieldIx(4))),
        ]
    );
}

#[test]
fn an_enum_word_is_found_on_the_other_side_even_when_a_field_has_its_name() {
    let policy = checked(VALID);
    let window = window(&policy, "declines_1h");
    let (result, outcome) = field(&policy, "result", "outcome");
    let (_, by) = field(&policy, "result", "by");
    let (_, card) = field(&policy, "result", "card");
    let is = |field, ordinal| {
        let ty = Type::Enum(result, field);
        boxed(Expr::Compare(
            Compare::Eq,
            boxed(Expr::Field(field)),
            boxed(Expr::Const(Value::int(ordinal), ty)),
        ))
    };
    let filter = Expr::And(is(outcome, 2), is(by, 0));
    let source = Source { event: result, role: By::One(card), filter: Some(filter) };
    assert_eq!(window.aggregate, Aggregate::Count(source));
    assert_eq!((&window.frame, window.delay_us), (&Frame::Last { span_us: HOUR }, 0));
    assert_eq!(window.by, By::One(EntityIx(0)));
    assert_eq!(window.judged_by, [(EventIx(0), By::One(FieldIx(0)))]);
}

#[test]
fn an_amendment_is_missing_or_has_fields_inside_an_aggregate() {
    let policy = checked(VALID);
    let (result, outcome) = field(&policy, "result", "outcome");
    let declined = Expr::Const(Value::int(2), Type::Enum(result, outcome));
    let filter = Expr::Or(
        boxed(Expr::AmendMissing(result, None)),
        boxed(Expr::Compare(Compare::Ne, boxed(Expr::Amended(result, outcome)), boxed(declined))),
    );
    let source = Source { event: EventIx(0), role: By::One(FieldIx(0)), filter: Some(filter) };
    assert_eq!(window(&policy, "spend_24h").aggregate, Aggregate::Sum(source, Expr::Let(LetIx(0))));
    let spend = policy.features.iter().find(|feature| feature.name == "spend_24h").unwrap();
    assert_eq!(spend.ty, Type::Money(usd()));
}

#[test]
fn lets_have_types_and_literals_their_units() {
    let policy = checked(VALID);
    let (reversal, last) = field(&policy, "reversal", "final");
    let (result, approved) = field(&policy, "result", "approved");
    let (_, amount) = field(&policy, "payment", "amount");
    let first = Expr::FirstPresent(vec![
        Expr::Amended(reversal, last),
        Expr::Amended(result, approved),
        Expr::Field(amount),
    ]);
    assert_eq!(policy.lets[0].expr, Expr::InCurrency(boxed(first), usd()));
    assert_eq!(policy.lets[0].ty, Type::Money(usd()));
    let thousand = Expr::Const(Value::int(100_000), Type::Money(usd()));
    assert_eq!(policy.lets[1].expr, Expr::Compare(Compare::Gt, boxed(Expr::Let(LetIx(0))), boxed(thousand)));
    // The zone is the canonical name, however it was written.
    let Expr::Or(early, late) = &policy.lets[2].expr else { panic!("not an `or`") };
    for side in [early, late] {
        assert!(
            matches!(&**side, Expr::Compare(_, hour, _) if **hour == Expr::Hour("Europe/Paris".to_owned()))
        );
    }
    assert_eq!(policy.lets[3].expr, Expr::SameKey(FieldIx(1), FieldIx(2)));
}

#[test]
fn via_chooses_roles_and_amendments_follow_the_amended_event() {
    let policy = checked(VALID);
    let (login, owner) = field(&policy, "login", "owner");
    let (payment, payer) = field(&policy, "payment", "payer");
    let payees = window(&policy, "payees_1d");
    assert_eq!(payees.judged_by, [(payment, By::One(payer)), (login, By::One(owner))]);
    let Aggregate::Count(source) = &payees.aggregate else { panic!("not a count") };
    assert_eq!(source.role, By::One(field(&policy, "payee_added", "owner").1));
    let Aggregate::Count(source) = &window(&policy, "refunds_1d").aggregate else { panic!("not a count") };
    assert_eq!(source.role, By::One(field(&policy, "reversal", "payer").1));
    let shop = window(&policy, "shop_risk_7d");
    assert_eq!((&shop.frame, shop.delay_us), (&Frame::Last { span_us: 7 * DAY }, 7 * DAY));
    assert!(
        matches!(&shop.aggregate, Aggregate::Ratio(part, whole) if part.filter.is_some() && whole.filter.is_none())
    );
}

#[test]
fn a_pair_has_one_order_of_two_kinds_and_that_of_via_of_one_kind() {
    let policy = checked(VALID);
    let (payment, card) = field(&policy, "payment", "card");
    let [payer, payee, merchant] =
        ["payer", "payee", "merchant"].map(|name| field(&policy, "payment", name).1);
    let here = window(&policy, "here_30d");
    assert_eq!(here.by, By::Pair(EntityIx(0), EntityIx(3)), "card and merchant, as they are declared");
    assert_eq!(here.judged_by, [(payment, By::Pair(card, merchant))]);
    let Aggregate::Sum(source, _) = &here.aggregate else { panic!("not a sum") };
    assert_eq!(source.role, By::Pair(card, merchant));

    let back = window(&policy, "paid_back_30d");
    assert_eq!(back.by, By::Pair(EntityIx(1), EntityIx(1)));
    assert_eq!(back.judged_by, [(payment, By::Pair(payee, payer))]);
    let Aggregate::Count(source) = &back.aggregate else { panic!("not a count") };
    let (_, owner) = field(&policy, "payee_added", "owner");
    let (_, added) = field(&policy, "payee_added", "payee");
    assert_eq!(source.role, By::Pair(owner, added));

    // An amendment carries both keys, and follows what `via` says of the event it amends.
    let declined = window(&policy, "declined_here_1d");
    let Aggregate::Count(source) = &declined.aggregate else { panic!("not a count") };
    assert_eq!(
        source.role,
        By::Pair(field(&policy, "result", "payer").1, field(&policy, "result", "merchant").1)
    );
    assert_eq!(declined.judged_by, [(payment, By::Pair(payer, merchant))]);
}

#[test]
fn distinct_counts_keys_or_values() {
    let policy = checked(VALID);
    assert!(matches!(window(&policy, "cards_1d").aggregate, Aggregate::DistinctKeys(_, FieldIx(0))));
    assert!(matches!(window(&policy, "channels_1d").aggregate, Aggregate::DistinctValues(_, Expr::Field(_))));
}

#[test]
fn rules_hold_their_effects_and_their_lists_end_where_the_next_effect_starts() {
    let policy = checked(VALID);
    let rule = |name: &str| policy.rules.iter().find(|rule| rule.name == name).unwrap();
    let index = |name: &str| RuleIx(policy.rules.iter().position(|rule| rule.name == name).unwrap() as u16);
    assert!(rule("listed").mandatory && !rule("velocity").mandatory && rule("dear").monitor);
    assert_eq!((rule("velocity").action, rule("velocity").score), (Some(Action::Block), Some(90)));
    assert_eq!((rule("velocity").reason, rule("takeover").reason), (Some(0), Some(1)));
    assert_eq!((rule("takeover").salience, rule("shop").salience), (10, -2));
    assert_eq!(rule("vip").allow_over, [index("velocity"), index("takeover")]);
    assert_eq!((rule("vip").action, rule("vip").score), (Some(Action::Allow), Some(5)));
    assert_eq!(rule("dear").action, None);
}

#[test]
fn decisions_have_scores_thresholds_and_a_fallback() {
    let policy = checked(VALID);
    let payment = &policy.decides[0];
    let share = policy.features.iter().position(|feature| feature.name == "shop_risk_7d").unwrap();
    let hundred = Expr::Const(Value::int(100), Type::Int);
    let share = Expr::Feature(FeatureIx(share as u16));
    assert_eq!(
        payment.score,
        Expr::Extreme {
            greatest: true,
            of: vec![Expr::RuleScoresMax, Expr::Arithmetic(Arithmetic::Mul, boxed(hundred), boxed(share)),],
        }
    );
    let actions: Vec<_> = payment.thresholds.iter().map(|(action, _)| *action).collect();
    assert_eq!(actions, [Action::Block, Action::Review, Action::Challenge]);
    let ninety = Expr::Const(Value::int(90), Type::Int);
    assert_eq!(payment.thresholds[0].1, Expr::Compare(Compare::Ge, boxed(Expr::Score), boxed(ninety)));
    assert_eq!(payment.unassessed, Action::Review);
    let late = payment.late.as_ref().unwrap();
    assert_eq!((late.after_ns, late.branches.len(), late.otherwise), (500_000, 1, Action::Review));
    assert_eq!(policy.decides[1].score, Expr::RuleScoresSum);
}

#[test]
fn operators_bind_as_written_in_mathematics() {
    let text = "policy p revision 1\nentity card\nevent e { card: card, a: bool, b: bool, n: int }\n\
        let x on e = a or b and not a == b\nlet y on e = 1 + 2 * -n - 3\n";
    let policy = checked(text);
    let (a, b) = (|| boxed(Expr::Field(FieldIx(1))), || boxed(Expr::Field(FieldIx(2))));
    let not = boxed(Expr::Not(boxed(Expr::Compare(Compare::Eq, a(), b()))));
    assert_eq!(policy.lets[0].expr, Expr::Or(a(), boxed(Expr::And(b(), not))));
    let number = |n| boxed(Expr::Const(Value::int(n), Type::Int));
    let of = |op, left, right| boxed(Expr::Arithmetic(op, left, right));
    let product = of(Arithmetic::Mul, number(2), boxed(Expr::Negate(boxed(Expr::Field(FieldIx(3))))));
    let sum = of(Arithmetic::Add, number(1), product);
    assert_eq!(policy.lets[1].expr, *of(Arithmetic::Sub, sum, number(3)));
}

#[test]
fn lets_come_after_those_they_use() {
    let text = "policy p revision 1\nentity card\nevent e { card: card, n: int }\n\
        let x on e = y + 1\nlet y on e = z\nlet z on e = n\n";
    let names: Vec<String> = checked(text).lets.into_iter().map(|definition| definition.name).collect();
    assert_eq!(names, ["z", "y", "x"]);
}

#[test]
fn lets_that_grow_without_end_are_refused() {
    let mut text =
        "policy p revision 1\nentity card\nevent e { card: card, n: int }\nlet x0 on e = n\n".to_owned();
    for i in 1..64 {
        text.push_str(&format!("let x{i} on e = x{0} + x{0}\n", i - 1));
    }
    let errors = check(&text).unwrap_err();
    assert_eq!(errors.len(), 1, "{}", render("test.policy", &text, &errors));
    assert!(errors[0].message.contains("too large"));
}

#[test]
fn the_number_of_errors_and_the_length_of_the_text_are_bounded() {
    let mut text = "policy p revision 1\nentity card\nevent e { card: card }\n".to_owned();
    for i in 0..5_000 {
        text.push_str(&format!("let x{i} on e = nothing_{i} + 1\n"));
    }
    assert_eq!(check(&text).unwrap_err().len(), crate::policy::diagnostics::DIAGNOSTICS_MAX);
    let long = " ".repeat(crate::policy::parser::SOURCE_BYTES_MAX + 1);
    assert_eq!(check(&long).unwrap_err().len(), 1);
}

#[test]
fn too_many_events_are_refused_once() {
    let mut text = "policy p revision 1\nentity card\n".to_owned();
    for i in 0..300 {
        text.push_str(&format!("event e{i} {{ card: card }}\n"));
    }
    let errors = check(&text).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].message.contains("more than 256"));
}

/// What is held against everything before it, or could be read again and again, is bounded.
#[test]
fn bins_values_and_entries_are_bounded() {
    let numbers = |count: usize, each: &dyn Fn(usize) -> String| -> String {
        (0..count).map(|number| format!("{}, ", each(number))).collect()
    };
    let plain = |number: usize| number.to_string();
    let with = |declaration: String| {
        let text = format!(
            "policy p revision 1\nentity card\nevent e {{ card: card, n: int }}\n{declaration}\n\
             rule r on e {{ when n > 1 then score 5 }}\ndecide e {{ score = max(rule_scores), unassessed review }}\n"
        );
        check(&text).err().map(|errors| errors[0].message.clone())
    };
    let bins =
        |count| with(format!("scorecard s on e {{ n {{ {} }} }}", numbers(count, &|at| format!("{at}: 1"))));
    assert_eq!((bins(512), bins(513)), (None, Some("an input has at most 512 bins".to_owned())));
    let cell = |count| {
        with(format!(
            "table t on e all (n) {{ {{ {} }} => score 1\n}}",
            numbers(count, &plain).trim_end_matches(", ")
        ))
    };
    let told = "a cell has at most 256 values; this has 257".to_owned();
    assert_eq!((cell(256), cell(257)), (None, Some(told)));
    let list = with(format!("list l of int {{ {} }}", numbers((1 << 17) + 1, &plain)));
    assert_eq!(list, Some("the lists of a policy have at most 131072 entries".to_owned()));
}
