//! What does not fit is refused, with a word on what to do.

use super::*;

/// Changes the policy and says how the error begins; its help is never empty.
fn refused(change: impl FnOnce(&mut Policy), expected: &str) {
    let mut policy = payments();
    change(&mut policy);
    let error = lower(&policy, &Tokenizer::default()).unwrap_err();
    assert_eq!(error.message, expected);
    assert!(!error.help.is_empty());
}

#[test]
fn events_have_so_many_fields_and_words() {
    refused(
        |policy| {
            let more = (0..53).map(|index| field(&format!("f{index}"), FieldType::Int));
            policy.events[0].fields.extend(more);
        },
        "event payment has 57 fields, more than 56",
    );
    refused(
        |policy| {
            let more = (0..25).map(|index| field(&format!("f{index}"), FieldType::Money));
            policy.events[0].fields.extend(more);
        },
        "event payment takes 61 words of 8 bytes, more than 60",
    );
}

#[test]
fn an_event_is_looked_up_by_so_many_keys() {
    refused(
        |policy| {
            for index in 0..17 {
                let role = FieldIx(policy.events[0].fields.len() as u16);
                policy.events[0].fields.push(field(&format!("k{index}"), FieldType::Entity(EntityIx(0))));
                let count = Aggregate::Count(source(0, role.0, None));
                policy.features.push(windowed(&format!("n{index}"), Type::Int, 0, role.0, HOUR, count));
            }
        },
        "event payment is looked up by 19 keys, more than 16",
    );
}

#[test]
fn a_record_holds_so_many_columns() {
    refused(
        |policy| {
            for index in 0..300 {
                let value = Expr::Arithmetic(
                    Arithmetic::Mul,
                    Box::new(Expr::InCurrency(Box::new(Expr::Field(FieldIx(2))), USD)),
                    Box::new(int(index)),
                );
                let sum = Aggregate::Sum(source(0, 1, None), value);
                policy.features.push(windowed(&format!("s{index}"), Type::Money(USD), 1, 1, HOUR, sum));
            }
        },
        "a record of device would take 1240 words of 8 bytes, more than 1024",
    );
}

#[test]
fn expressions_are_nested_so_deep() {
    let nested =
        |depth: usize| (0..depth).fold(Expr::FieldMissing(FieldIx(0)), |inner, _| Expr::Not(Box::new(inner)));
    let mut deep = payments();
    deep.rules[1].when = nested(511);
    assert!(lower(&deep, &Tokenizer::default()).is_ok());
    let error = "an expression is nested more than 512 levels deep, definitions included";
    refused(|policy| policy.rules[1].when = nested(512), error);
}

#[test]
fn rules_take_so_many_registers() {
    refused(
        |policy| {
            // What only one rule asks for takes none.
            let rule = policy.rules[1].clone();
            let times = |number: i64| {
                let feature = Box::new(Expr::Feature(FeatureIx(0)));
                let product = Expr::Arithmetic(Arithmetic::Mul, feature, Box::new(int(number)));
                Box::new(compare(Compare::Gt, product, int(0)))
            };
            policy.rules.extend((0..16_380).map(|index| {
                let two = Expr::And(times(2 * (index / 2)), times(2 * (index / 2) + 1));
                Rule { when: two, ..rule.clone() }
            }));
        },
        "the policy needs more than 16384 registers",
    );
}

#[test]
fn raw_card_numbers_are_refused_and_not_repeated() {
    refused(
        |policy| policy.lists[0].entries[1] = key_entry("device", "4111 1111 1111 1111"),
        "entry 2 of list blocked: an entry of a list cannot be a raw card number",
    );
}

#[test]
fn equal_conditions_are_computed_once() {
    let mut policy = payments();
    let again = policy.rules[1].clone();
    policy.rules.push(Rule { name: "again".into(), ..again.clone() });
    let before = lower(&policy, &Tokenizer::default()).unwrap();
    policy.rules.push(Rule { name: "once_more".into(), ..again });
    let after = lower(&policy, &Tokenizer::default()).unwrap();
    assert_eq!(after.code, before.code);
    let tests = |rule: u16| {
        let clauses = &after.events[0].matching.clauses;
        clauses.iter().filter(|clause| clause.rule == rule).map(|clause| &clause.tests).collect::<Vec<_>>()
    };
    assert_eq!(tests(4), tests(1));
    assert_eq!(tests(4).len(), 1);
    assert_eq!(after.events[0].matching.operands, before.events[0].matching.operands);
}

#[test]
fn the_layout_hash_tells_layouts_apart() {
    let hash = |policy: &Policy| lower(policy, &Tokenizer::default()).unwrap().layout_hash;
    let first = hash(&payments());
    let mut policy = payments();
    policy.revision = 14;
    policy.rules.truncate(2);
    assert_eq!(hash(&policy), first, "rules do not matter to a sender");
    policy.events[0].fields[2].optional = true;
    assert_ne!(hash(&policy), first);
}
