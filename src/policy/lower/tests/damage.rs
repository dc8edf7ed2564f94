//! Damaged archives: refused, or at least harmless.

use super::random::{Random, policy};
use super::*;
use crate::engine::lists::Edits;
use crate::engine::program::{Assume, FieldKind, FirstPlan, Instr, ListOf, MatchPlan, Op};
use crate::engine::rates::Rates;
use crate::engine::units::Time;
use crate::engine::vm::{Basis, execute};
use crate::engine::{Loaded, Rules};
use crate::os::memfd::SealedMemfd;
use crate::policy::archive::{open, seal, with_header};

/// Executes everything there is to execute over random words.
fn execute_all(loaded: &Loaded, random: &mut Random) {
    let program = loaded.program();
    let rates = Rates::reserve(program);
    let basis = Basis { program, rates: &rates, edits: &Edits::none() };
    let mut registers = program.fresh_registers();
    for register in &mut registers {
        *register =
            [Value::MISSING, Value::TRUE, Value::int(i64::MIN), Value::ratio(i64::MAX, 7)][random.below(4)];
    }
    let mut frame = [0; crate::engine::wire::EVENT_WORDS_MAX];
    frame.fill_with(|| random.next() >> random.below(64));
    let (presence, time) = (random.next() | random.next(), Time((random.next() >> 2) as i64));
    for event in program.events.iter() {
        let words = &frame[..usize::from(event.words.to_native())];
        let mut runs = vec![&event.scalars, &event.conditions];
        if let Some(decide) = event.decide.as_ref() {
            runs.extend([&decide.score_code, &decide.threshold_code]);
        }
        runs.extend(
            event.matching.clauses.iter().filter_map(|clause| clause.rest.as_ref()).map(|rest| &rest.code),
        );
        for run in runs {
            execute(basis, run, words, presence, time, &mut registers);
        }
    }
    for kind in 0..program.events.len() {
        let words = &frame[..usize::from(program.events[kind].words.to_native())];
        let Some(mut rules) = Rules::new(loaded, kind as u16) else { continue };
        for feature in rules.features() {
            *feature = [Value::MISSING, Value::int(i64::MIN), Value::ratio(1, i64::MAX)][random.below(3)];
        }
        let count = program.events[kind].rules.len();
        assert!(rules.fired(words, presence, time).len() <= count);
    }
    for group in program.groups.iter() {
        let words = usize::from(program.events[usize::from(group.event.to_native())].words.to_native());
        execute(basis, &group.ingest, &frame[..words], presence, time, &mut registers);
        for amend in group.amends.iter() {
            let words = usize::from(program.events[usize::from(amend.event.to_native())].words.to_native());
            execute(basis, &amend.code, &frame[..words], presence, time, &mut registers);
        }
        execute(basis, &group.derive, &[], 0, Time(0), &mut registers);
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let sealed = seal(&program());
    let mut bytes = sealed.clone();
    for at in 0..bytes.len() {
        for change in (0..8).map(|bit| 1 << bit).chain([0xff]) {
            bytes[at] ^= change;
            assert!(open(bytes.clone()).is_err(), "byte {at} changed by {change:#x}");
            bytes[at] ^= change;
        }
    }
    assert!(open(bytes).is_ok());
}

#[test]
fn every_shorter_and_longer_archive_is_refused() {
    let sealed = seal(&program());
    for length in 0..sealed.len() {
        assert!(open(sealed[..length].to_vec()).is_err(), "{length} bytes");
    }
    assert!(open([sealed.as_slice(), &[0]].concat()).is_err());
}

/// `ARCHIVES=n` changes so many bodies.
#[test]
fn a_body_changed_under_a_good_hash_is_refused_or_harmless() {
    let wanted = std::env::var("ARCHIVES").ok().and_then(|wanted| wanted.parse().ok()).unwrap_or(60_000);
    let mut random = Random(7);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0_u64.. {
        if accepted + refused >= wanted {
            break;
        }
        let sealed = match round {
            0 => seal(&program()),
            1..4 => seal(&lower(&pairs(), &Tokenizer::default()).unwrap()),
            4 => seal(&lower(&with_rates(), &Tokenizer::default()).unwrap()),
            5 => seal(&staged()),
            _ => seal(&lower(&policy(&mut random), &Tokenizer::default()).unwrap()),
        };
        for _ in 0..3_000 {
            let mut body = sealed[64..].to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(body.len() / 2 - 1) * 2;
                match random.below(4) {
                    0 => body[at] ^= 1 << random.below(8),
                    1 => body[at..at + 2].copy_from_slice(&(random.below(80) as u16).to_le_bytes()),
                    2 => body[at..at + 2].copy_from_slice(&(random.next() as u16).to_le_bytes()),
                    _ => body[at..at + 2].fill([0, 0xff][random.below(2)]),
                }
            }
            match open(with_header(&body)) {
                Ok(loaded) => {
                    execute_all(&loaded, &mut random);
                    accepted += 1;
                }
                Err(error) => {
                    assert!(error.0.starts_with("the program"), "{error}");
                    refused += 1;
                }
            }
        }
    }
    println!("{accepted} accepted and executed, {refused} refused");
    assert!(accepted * 60 > wanted && refused * 60 > wanted, "{accepted} accepted, {refused} refused");
}

/// Changes one thing of the program and says how the error begins.
fn refused(change: impl FnOnce(&mut Program), expected: &str) {
    refused_of(program(), change, expected);
}

pub(super) fn refused_of(mut program: Program, change: impl FnOnce(&mut Program), expected: &str) {
    change(&mut program);
    let Err(error) = open(seal(&program)) else { panic!("accepted; expected: {expected}") };
    assert_eq!(error.0, format!("the program is not valid: {expected}"));
}

#[test]
fn what_is_wrong_is_said() {
    refused(
        |p| p.semantics = 99,
        &format!("it has semantics version 99, this build {SEMANTICS_VERSION}; compile the policy again"),
    );
    refused(|p| p.consts[0].den = 0, "literal 0 has no positive denominator");
    refused(|p| p.entities[0].record_words = 31, {
        "entity 0: a record of 31 words is not a multiple of 8 up to 1024"
    });
    refused(|p| p.lists[0].parts[0].keys.swap(0, 2), "list 0: its entries do not ascend");
    refused(|p| p.lists[0].parts[0].width = 1, "list 0: it has entries of width 1");
    refused(|p| p.lists[0].parts[0].words = 4, "list 0: it has entries of 4 words");
    refused(|p| _ = p.lists[0].parts[0].keys.pop(), "list 0: its last entry is not whole");
    refused(|p| p.lists[0].parts[0].until = vec![0], "list 0: not all of its entries have an end");
    refused(|p| _ = p.lists[0].parts[0].said.pop(), "list 0: not all of its entries are described");
    refused(|p| p.lists[0].of = ListOf::Int, "list 0: it has entries of 2 words");
    refused(|p| p.zones[0].starts[0] = 0, "time zone 0: it does not begin at the beginning of time");
    refused(|p| p.zones[0].starts.swap(1, 2), "time zone 0: its starts do not ascend");
    refused(|p| p.events[0].words = 61, "event 0: 61 words are not 4 to 60");
    refused(|p| p.events[0].fields[1].word = 5, "event 0: field 1 overlaps another");
    refused(|p| p.events[0].fields[1].bit = 0, "event 0: field 1 shares its presence bit");
    refused(|p| p.events[0].known = 1, "event 0: its known presence bits are not those of its fields");
    refused(|p| p.events[1].amends = 1, "event 1: it amends another amendment");
    refused(|p| p.groups[1].columns[0].column = 0, "group 1: column 0 is used twice");
    refused(|p| p.groups[1].columns[0].den = 100, "group 1: a column has denominator 100");
    refused(|p| p.groups[1].inline_rows = 65, "group 1: 65 rows in the record are not 1 to 64");
    refused(|p| p.groups[1].id_column = NONE, {
        "group 1: amendments cannot find its rows: there is no id column"
    });
    refused(|p| p.groups[1].bits[0].at.bit = 64, "group 1: there is no bit 64 in a word");
    refused(|p| p.groups[0].record_word = 2, "group 0: its block 2..9 is outside its record of 48 words");
    refused(|p| p.groups[1].record_word = 4, "two groups of table 0 overlap at word 4 of the record");
    refused(|p| p.features[0].terms[0].value = 0, "feature 0: a count has no value");
    refused(
        |p| p.features[1].frame = program::Frame::Last(48 * HOUR),
        "feature 1: its window is longer than its rows are kept",
    );
    refused(|p| p.features[1].terms[0].group = 2, "feature 1: there is no bit 0");
    refused(|p| p.rules[2].allow_over[0] = 0, "rule 2: it allows over rule 0, which is mandatory");
    refused(|p| p.rules[1].reason = 3, "rule 1: there is no reason 3");
    refused(|p| p.rules[1].action = 5, "rule 1: there is no action 5");
    refused(
        |p| p.events[0].windows.reverse(),
        "event 0: its windows are not in order of key, group and window",
    );
    refused(|p| p.events[0].windows[0].key = 1, {
        "event 0: feature 0 is looked up by a key of another table"
    });
    refused(|p| p.events[0].decide.as_mut().unwrap().score = u16::MAX, {
        "event 0: its decision: the score is register 65535 of 25"
    });
    refused(|p| p.groups[1].ingest.len = 0, "group 1: a column is in register 6, which nothing sets");
    let unset = program().groups[0].bits[0].register;
    refused(|p| matching(p).operands[0].register = unset, {
        "event 0: its rules: an operand is in register 5, which nothing sets"
    });
    refused(|p| p.groups[1].derive = p.groups[1].ingest, {
        "group 1: derive, instruction 0 (FieldMoney): there is no event to read here"
    });
}

/// The same, of a program with rates.
fn refused_rates(change: impl FnOnce(&mut Program), expected: &str) {
    let mut program = lower(&with_rates(), &Tokenizer::default()).unwrap();
    change(&mut program);
    let Err(error) = open(seal(&program)) else { panic!("accepted; expected: {expected}") };
    assert_eq!(error.0, format!("the program is not valid: {expected}"));
}

#[test]
fn what_is_wrong_with_rates_is_said() {
    fn plan(program: &mut Program) -> &mut RatesPlan {
        program.rates.as_mut().unwrap()
    }
    refused_rates(|p| plan(p).max_age_us = 0, "rates: they cannot convert for 0 µs");
    refused_rates(|p| plan(p).max_age_us = i64::MAX, "rates: they cannot convert for 9223372036854775807 µs");
    refused_rates(|p| plan(p).event = 1, "rates: event 1, which brings them, is not the last");
    refused_rates(|p| plan(p).event = u16::MAX, "rates: event 65535, which brings them, is not the last");
    let layout = "rates: event 2, which brings them, is not laid out as a rate";
    refused_rates(|p| p.events[2].required = 3, layout);
    refused_rates(|p| p.events[2].fields[0].kind = FieldKind::Int, layout);
    refused_rates(|p| p.events[2].fields.swap(0, 1), layout);
    refused_rates(
        |p| {
            let fields = &mut p.events[2].fields;
            let word = fields[0].word;
            fields[0].word = std::mem::replace(&mut fields[1].word, word);
        },
        layout,
    );
    refused_rates(
        |p| {
            let judged = p.events[0].decide.clone();
            p.events[2].decide = judged;
        },
        "rates: event 2, which brings them, is kept or judged",
    );
    refused_rates(|p| plan(p).into.reverse(), "rates: the currencies converted to do not ascend");
    refused_rates(|p| plan(p).into[0] = 1, "rates: a currency converted to is not known");
    // Where the conditions of event 0 first do something.
    let program = lower(&with_rates(), &Tokenizer::default()).unwrap();
    let run = program.events[0].conditions;
    let (start, end) = (run.start as usize, (run.start + run.len) as usize);
    let first = |wanted: &dyn Fn(&Instr) -> bool| program.code[start..end].iter().position(wanted).unwrap();
    let to_euro = first(&|instr| instr.op == Op::FieldMoney && instr.imm == 978);
    let convert = first(&|instr| instr.op == Op::Convert);
    assert!(to_euro < convert);
    let at = |index: usize, op: Op| format!("event 0: its conditions, instruction {index} ({op:?})");
    refused_rates(
        |p| plan(p).into.truncate(1),
        &format!("{}: no rates are kept to currency 978", at(to_euro, Op::FieldMoney)),
    );
    refused_rates(|p| plan(p).into.retain(|code| *code == 978), {
        "group 1: ingest, instruction 0 (FieldMoney): no rates are kept to currency 840"
    });
    refused_rates(
        |p| p.code[start + convert].b = 3,
        &format!("{}: it converts from currency 3, which is not known", at(convert, Op::Convert)),
    );
    refused_rates(
        |p| p.rates = None,
        &format!("{}: no rates are kept to currency 978", at(convert, Op::Convert)),
    );
}

#[test]
fn what_is_wrong_with_a_pair_is_said() {
    let refused = |change: fn(&mut Program), expected: &str| {
        refused_of(lower(&pairs(), &Tokenizer::default()).unwrap(), change, expected);
    };
    refused(|p| p.tables[0].first = 9, "table 0: there is no entity 9");
    refused(|p| p.tables[0].second = 2, "table 0: there is no entity 2");
    refused(|p| p.tables[0].record_words = 0, "table 0: nothing is kept in it");
    refused(
        |p| p.tables[0].record_words = 31,
        "table 0: a record of 31 words is not a multiple of 8 up to 1024",
    );
    refused(|p| p.tables.clear(), "group 3: there is no table 2");
    refused(|p| p.groups[3].table = NONE, "group 3: there is no table 65535");
    refused(|p| p.groups[3].table = 1, "group 3: it has two key fields, and table 1 takes one");
    refused(|p| p.groups[3].second_role = NONE, "group 3: it has one key field, and table 2 takes two");
    refused(|p| p.groups[3].second_role = 0, "group 3: field 0 is not a key of entity 1");
    refused(|p| p.groups[3].second_role = 2, "group 3: field 2 is not a key of entity 1");
    refused(|p| p.groups[3].second_role = 77, "group 3: there is no field 77");
    refused(|p| p.groups[3].record_word = 3, "group 3: its block 3..37 is outside its record of 40 words");
    refused(|p| p.groups[1].table = 2, "group 1: it has one key field, and table 2 takes two");
    refused(|p| p.events[0].keys[2].table = 3, "event 0: key 2: there is no table 3");
    refused(|p| p.events[0].keys[2].table = 0, "event 0: key 2 has not as many fields as table 0 has keys");
    refused(
        |p| p.events[0].keys[2].second = None,
        "event 0: key 2 has not as many fields as table 2 has keys",
    );
    refused(|p| p.events[0].keys[2].second = Some(p.events[0].keys[2].first), {
        "event 0: the second of key 2 is no key field of entity 1"
    });
    refused(|p| p.events[0].keys[2].first.word = 60, "event 0: key 2 is no key field of entity 0");
    refused(|p| p.events[0].keys.extend_from_within(2..3), "event 0: key 3 is there twice");
    refused(|p| p.events[0].inserts[2].key = 0, {
        "event 0: a row of group 3 is put under another key than its role"
    });
    refused(|p| p.events[1].targets[1].key = 0, "event 1: group 3 is looked up by a key of another table");
    refused(|p| p.events[0].windows.last_mut().unwrap().key = 1, {
        "event 0: feature 6 is looked up by a key of another table"
    });
}

#[test]
fn what_is_wrong_with_a_frame_is_said() {
    use program::{Frame as F, Period};
    let framed = |frame: F, expected: &str| {
        refused(|p| p.features[1].frame = frame, &format!("feature 1: {expected}"));
    };
    framed(F::Last(0), "a window of 0 µs delayed by 0 µs is not possible");
    framed(F::Every(i64::MAX), "a window of 9223372036854775807 µs delayed by 0 µs is not possible");
    framed(F::Events(0, HOUR), "0 events are not 1 to 10000");
    framed(F::Events(10_001, HOUR), "10001 events are not 1 to 10000");
    framed(F::This(Period::Hour, 1), "there is no time zone 1");
    framed(F::This(Period::Day, 0), "its window is longer than its rows are kept");
    framed(F::Session(0, HOUR), "a gap of 0 µs within 3600000000 µs is not possible");
    framed(F::Session(HOUR, HOUR), "a gap of 3600000000 µs within 3600000000 µs is not possible");
    refused(|p| p.features[3].frame = F::Events(5, HOUR), {
        "feature 3: its rows have no order: there is no id column"
    });
    let against = |frame| Some(Against { frame, delay_us: 0 });
    refused(|p| p.features[1].against = against(F::Last(25 * HOUR)), {
        "feature 1: its window is longer than its rows are kept"
    });
    refused(
        |p| p.features[1].against = against(F::Events(0, HOUR)),
        "feature 1: 0 events are not 1 to 10000",
    );
    refused(
        |p| {
            p.features[1].agg = Agg::First;
            p.features[1].against = against(F::Last(HOUR));
        },
        "feature 1: First cannot be compared with itself",
    );
    refused(
        |p| {
            let whole = Term { group: 1, filter: NONE, value: NONE };
            p.features[0].agg = Agg::Ratio;
            p.features[0].terms.push(whole);
            p.features[0].frame = F::Session(1, HOUR);
        },
        "feature 0: its terms are of different groups, and its frame of one",
    );
}

#[test]
fn what_is_wrong_with_an_aggregate_is_said() {
    for (agg, argument, expected) in [
        (Agg::Percentile, 101, "Percentile does not take the argument 101"),
        (Agg::Percentile, -1, "Percentile does not take the argument -1"),
        (Agg::DecayedSum, 0, "DecayedSum does not take the argument 0"),
        (Agg::DecayedSum, i64::MAX, "DecayedSum does not take the argument 9223372036854775807"),
        (Agg::Sum, 1, "Sum does not take the argument 1"),
        (Agg::DecayedCount, 1, "a count has no value"),
        (Agg::SinceLast, 0, "a count has no value"),
        (Agg::ShareKeys, 0, "there is no column 0"),
        (Agg::SeenKey, 0, "there is no column 0"),
        (Agg::Days, 0, "there is no time zone 65535"),
    ] {
        refused(
            |p| {
                p.features[1].agg = agg;
                p.features[1].argument = argument;
            },
            &format!("feature 1: {expected}"),
        );
    }
    refused(|p| p.features[1].zone = 0, "feature 1: Sum has no time zone");
    refused(|p| p.features[3].agg = Agg::Last, "feature 3: its rows have no order: there is no id column");
    for (argument, expected) in [
        (0, "DistinctKeys does not take the argument 0"),
        (1_025, "DistinctKeys does not take the argument 1025"),
        (1_024, "its rows have no order: there is no id column"),
    ] {
        refused(
            |p| {
                p.features[3].assume = Some(Assume::Low);
                p.features[3].argument = argument;
            },
            &format!("feature 3: {expected}"),
        );
    }
    refused(|p| p.features[1].terms.clear(), "feature 1: it has 0 terms, not 1");
}

#[test]
fn an_archive_may_live_anywhere() {
    let sealed = seal(&program());
    let hash = open(sealed.clone()).unwrap().hash();
    let in_memfd = open(SealedMemfd::copy_of("policy", &sealed).unwrap()).unwrap();
    assert_eq!((in_memfd.hash(), in_memfd.bytes()), (hash, sealed.as_slice()));

    // At an odd address it is copied to a better one.
    struct Shifted(Vec<u8>);
    impl AsRef<[u8]> for Shifted {
        fn as_ref(&self) -> &[u8] {
            &self.0[1..]
        }
    }
    let shifted = open(Shifted([&[0], sealed.as_slice()].concat())).unwrap();
    assert_eq!(shifted.hash(), hash);
    assert_eq!(shifted.clone().program().name.as_str(), "card_payments");
    // And it outlives every other handle, on any thread.
    let moved = shifted.clone();
    drop(shifted);
    std::thread::spawn(move || assert_eq!(moved.program().name.as_str(), "card_payments")).join().unwrap();
}

/// With a scene around its first rule.
fn staged() -> Program {
    let mut policy = payments();
    let effective = Effective { from: Some(HOUR), until: None };
    let when = Expr::FieldMissing(FieldIx(1));
    policy.scenes.push(Scene { name: "scene".into(), event: EventIx(0), effective, when });
    policy.rules[0].within = Some(Within::Scene(SceneIx(0)));
    lower(&policy, &Tokenizer::default()).unwrap()
}

fn matching(program: &mut Program) -> &mut MatchPlan {
    &mut program.events[0].matching
}

#[test]
fn what_is_wrong_with_clauses_is_said() {
    fn refused(change: fn(&mut Program), expected: &str) {
        refused_of(staged(), change, &format!("event 0: its rules: {expected}"));
    }
    refused(|p| matching(p).operands[0].den = 0, "operand 0 has no positive denominator");
    refused(|p| matching(p).clauses[1].rule = 3, "clause 1: the event has no rule 3");
    refused(|p| matching(p).clauses[0].tests[0].operand = NONE, "clause 0: its operands do not ascend");
    refused(|p| matching(p).clauses[0].tests[1].operand = NONE, "clause 0: there is no operand 65535");
    refused(|p| matching(p).clauses[1].tests[0].cuts[0].den = 0, {
        "clause 1: a cut has no positive denominator"
    });
    refused(
        |p| {
            let cuts = &mut matching(p).clauses[1].tests[0].cuts;
            cuts.push(cuts[0]);
        },
        "clause 1: its cuts do not ascend",
    );
    refused(|p| matching(p).clauses[0].rest.as_mut().unwrap().code.len = 0, {
        "clause 0: the rest is in register 20, which nothing sets"
    });
    refused(
        |p| {
            let code = matching(p).clauses[0].rest.as_ref().unwrap().code;
            matching(p).clauses[1].rest = matching(p).clauses[0].rest.clone();
            assert!(code.len > 0);
            p.code.truncate((code.start + code.len) as usize);
            p.events[0].decide = None;
        },
        "clause 1: the rest is shared with other code",
    );
}

#[test]
fn what_is_wrong_with_tables_is_said() {
    fn refused(change: fn(&mut Program), expected: &str) {
        let mut policy = payments();
        let effective = Effective::default();
        policy.tables.push(Table { name: "table".into(), event: EventIx(0), effective, first: true });
        let rules = policy.rules.len();
        assert_eq!(rules, 3);
        policy.rules[1..].iter_mut().for_each(|row| {
            row.within = Some(Within::Table(TableIx(0)));
            row.salience = 0;
        });
        let program = lower(&policy, &Tokenizer::default()).unwrap();
        assert_eq!(program.events[0].matching.firsts, [FirstPlan { start: 1, count: 2 }]);
        refused_of(program, change, &format!("event 0: its rules: {expected}"));
    }
    refused(|p| matching(p).firsts[0].count = 0, "table 0 is empty or not behind the one before it");
    refused(|p| matching(p).firsts[0].count = 3, "table 0 ends behind the event's rules");
    refused(|p| matching(p).firsts[0].start = NONE, "table 0 ends behind the event's rules");
    refused(
        |p| matching(p).firsts.push(FirstPlan { start: 2, count: 1 }),
        "table 1 is empty or not behind the one before it",
    );
    refused(|p| p.rules[2].salience = -1, "table 0 has rows of different salience");
}

#[test]
fn what_is_skipped_is_not_known_after_it() {
    let registers = staged().registers;
    // Of two skips, one in the other, the inner one leads to where the outer one still skips.
    let (known, unsure) = (registers - 1, registers - 2);
    let instr = |op, dst, a, imm| Instr { op, dst, a, b: 0, imm };
    let nested = |p: &mut Program| {
        let conditions = p.events[0].conditions;
        let mut code = vec![
            instr(Op::Move, known, registers, 0),
            instr(Op::SkipUnlessTrue, 0, known, 3),
            instr(Op::SkipUnlessTrue, 0, known, 1),
            instr(Op::Move, unsure, registers, 0),
            instr(Op::Not, known, unsure, 0),
        ];
        code.extend_from_slice(&p.code[conditions.start as usize..][..conditions.len as usize]);
        p.events[0].conditions = Run { start: p.code.len() as u32, len: code.len() as u32 };
        p.code.extend(code);
    };
    let wrong = format!(
        "event 0: its conditions, instruction 4 (Not): its first operand is in register {unsure}, which nothing sets"
    );
    refused_of(staged(), nested, &wrong);
}

#[test]
fn literals_are_read_and_never_written() {
    let registers = staged().registers;
    let literals = staged().consts.len() as u16;
    let with = |dst, a| {
        move |p: &mut Program| {
            let code = [Instr { op: Op::Move, dst, a, b: 0, imm: 0 }];
            let conditions = p.events[0].conditions;
            let kept = p.code[conditions.start as usize..][..conditions.len as usize].to_vec();
            p.events[0].conditions = Run { start: p.code.len() as u32, len: 1 + conditions.len };
            p.code.extend(code.into_iter().chain(kept));
        }
    };
    let mut program = staged();
    with(registers - 1, registers + literals - 1)(&mut program);
    assert!(open(seal(&program)).is_ok(), "the last literal");
    let at = "event 0: its conditions, instruction 0 (Move): ";
    refused_of(
        staged(),
        with(registers, registers),
        &format!("{at}its result is register {registers} of {registers}"),
    );
    let beyond = registers + literals;
    refused_of(staged(), with(registers - 1, beyond), &{
        format!("{at}its first operand is register {beyond} of {registers}")
    });
}
