//! Random policies: what the program computes is what the tree says, when judged and through a row's whole life.

use super::evaluate::{Context, Held, Number, fraction, of_value};
use super::*;
use crate::engine::lists::Edits;
use crate::engine::program::{
    ArchivedBitRef, ArchivedColumnPlan, ArchivedEventPlan, ArchivedFieldKind, ArchivedGroupPlan,
    ArchivedOrigin,
};
use crate::engine::rates::Rates;
use crate::engine::units::{EventId, Key, Time};
use crate::engine::vm::{Basis, execute};
use crate::engine::wire::PRESENCE_WORD;
use crate::engine::{Loaded, Rules};
use crate::policy::typed;

/// SplitMix64: the same tests everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn number(&mut self) -> i64 {
        match self.below(12) {
            0 => i64::MAX - self.below(3) as i64,
            1 => i64::MIN + self.below(3) as i64,
            2 => self.next() as i64,
            3..5 => self.next() as i64 >> 24,
            _ => self.below(9) as i64 - 3,
        }
    }

    fn decimal(&mut self) -> i64 {
        if self.one_in(3) { self.number() } else { (self.below(41) as i64 - 20) * 250_000 }
    }

    fn time(&mut self) -> Time {
        Time((self.next() % 7_258_118_400_000_000) as i64)
    }
}

const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"];
const EUR: Currency = Currency(978);

// Fields of the event, and (after them, for the amendments) the same again.
const FLAG: FieldIx = FieldIx(0);
const COUNT: FieldIx = FieldIx(1);
const RATE: FieldIx = FieldIx(2);
const AMOUNT: FieldIx = FieldIx(3);
const OTHER: FieldIx = FieldIx(4);
const KIND: FieldIx = FieldIx(5);
const PAYER: FieldIx = FieldIx(6);
const PAYEE: FieldIx = FieldIx(7);

fn event(name: &str, amends: Option<u16>) -> Event {
    let account = FieldType::Entity(EntityIx(0));
    let mut fields = vec![
        optional("flag", FieldType::Bool),
        optional("count", FieldType::Int),
        optional("rate", FieldType::Decimal),
        optional("amount", FieldType::Money),
        optional("other", FieldType::Money),
        optional("kind", words(&["a", "b", "c"])),
        optional("payer", account.clone()),
        optional("payee", account.clone()),
    ];
    if amends.is_some() {
        fields.push(Field { inherited: Some(PAYER), ..optional("payer", account.clone()) });
        fields.push(Field { inherited: Some(PAYEE), ..optional("payee", account) });
    }
    Event { name: name.into(), amends: amends.map(EventIx), fields }
}

/// Writes random, well-typed expressions over event 0, which events 1 and 2 amend.
struct Writer<'a> {
    random: &'a mut Random,
    lets: Vec<Let>,
    features: Vec<(FeatureIx, Type)>,
}

impl Writer<'_> {
    /// Of this type, at most so deep. Amendments, lets and features wherever they fit.
    fn expr(&mut self, ty: Type, depth: usize) -> Expr {
        if self.random.one_in(8) {
            let lets: Vec<usize> = (0..self.lets.len()).filter(|index| self.lets[*index].ty == ty).collect();
            if !lets.is_empty() {
                return Expr::Let(LetIx(lets[self.random.below(lets.len())] as u16));
            }
        }
        if self.random.one_in(8) {
            let fitting: Vec<_> = self.features.iter().filter(|(_, of)| *of == ty).collect();
            if !fitting.is_empty() {
                return Expr::Feature(fitting[self.random.below(fitting.len())].0);
            }
        }
        if ty == Type::Bool {
            return self.condition(depth);
        }
        if depth == 0 || self.random.one_in(6) {
            return self.leaf(ty);
        }
        let next = depth - 1;
        match self.random.below(5) {
            0 => {
                let count = self.random.below(3);
                let mut branch = |_| (self.expr(Type::Bool, next), self.expr(ty, next));
                let branches = (0..count).map(&mut branch).collect();
                Expr::Choose { branches, otherwise: Box::new(self.expr(ty, next)) }
            }
            1 => {
                let count = 1 + self.random.below(3);
                Expr::FirstPresent((0..count).map(|_| self.expr(ty, next)).collect())
            }
            2 if !matches!(ty, Type::Enum(..)) => {
                let count = 1 + self.random.below(3);
                let of = (0..count).map(|_| self.expr(ty, next)).collect();
                Expr::Extreme { greatest: self.random.one_in(2), of }
            }
            _ => match ty {
                Type::Int => match self.random.below(4) {
                    0 => Expr::Negate(Box::new(self.expr(ty, next))),
                    operator => self.arithmetic(operator, ty, ty, next),
                },
                Type::Decimal => match self.random.below(8) {
                    0 => Expr::Negate(Box::new(self.expr(ty, next))),
                    1 => Expr::Major(Box::new(self.expr(Type::Money(USD), next))),
                    2 => self.arithmetic(0, Type::Int, Type::Int, next),
                    3 => self.arithmetic(0, Type::Money(USD), Type::Money(USD), next),
                    4 => self.arithmetic(3, ty, Type::Int, next),
                    operator => self.arithmetic(operator, ty, ty, next),
                },
                Type::Money(_) => match self.random.below(5) {
                    0 => Expr::Negate(Box::new(self.expr(ty, next))),
                    1 => self.arithmetic(3, Type::Decimal, ty, next),
                    2 => self.arithmetic(0, ty, Type::Int, next),
                    operator => self.arithmetic(operator % 2 + 1, ty, ty, next),
                },
                _ => self.leaf(ty),
            },
        }
    }

    fn arithmetic(&mut self, operator: usize, a: Type, b: Type, depth: usize) -> Expr {
        let operators = [Arithmetic::Div, Arithmetic::Add, Arithmetic::Sub, Arithmetic::Mul];
        let (a, b) = (self.expr(a, depth), self.expr(b, depth));
        Expr::Arithmetic(operators[operator % 4], Box::new(a), Box::new(b))
    }

    /// A field of the event or of an amendment.
    fn read(&mut self, field: FieldIx) -> Expr {
        match self.random.below(4) {
            amendment @ (1 | 2) => Expr::Amended(EventIx(amendment as u16), field),
            _ => Expr::Field(field),
        }
    }

    fn any_money(&mut self, depth: usize) -> Expr {
        if depth > 0 && self.random.one_in(2) {
            let count = 1 + self.random.below(3);
            return Expr::FirstPresent((0..count).map(|_| self.any_money(depth - 1)).collect());
        }
        let field = if self.random.one_in(2) { AMOUNT } else { OTHER };
        self.read(field)
    }

    fn leaf(&mut self, ty: Type) -> Expr {
        let constant = self.random.one_in(3);
        match ty {
            Type::Int if constant => int(self.random.number()),
            Type::Int if self.random.one_in(6) => {
                let zone = ZONES[self.random.below(ZONES.len())].to_owned();
                if self.random.one_in(2) { Expr::Hour(zone) } else { Expr::Weekday(zone) }
            }
            Type::Int => self.read(COUNT),
            Type::Decimal if constant => {
                let dens = [1, 2, 3, 10, 1_000_000];
                let den = dens[self.random.below(dens.len())];
                Expr::Const(Value::ratio(self.random.number(), den), ty)
            }
            Type::Decimal => self.read(RATE),
            Type::Money(_) if constant => Expr::Const(Value::int(self.random.number()), ty),
            Type::Money(currency) => Expr::InCurrency(Box::new(self.any_money(2)), currency),
            Type::Enum(..) if constant => Expr::Const(Value::int(self.random.below(3) as i64), ty),
            Type::Enum(..) => self.read(KIND),
            _ => self.read(FLAG),
        }
    }

    fn condition(&mut self, depth: usize) -> Expr {
        if depth == 0 || self.random.one_in(8) {
            let any = FieldIx(self.random.below(8) as u16);
            let amendment = EventIx(1 + self.random.below(2) as u16);
            return match self.random.below(8) {
                0 => Expr::FieldMissing(any),
                1 => Expr::AmendMissing(amendment, None),
                2 => Expr::AmendMissing(amendment, Some(any)),
                3 => Expr::InList(if self.random.one_in(2) { PAYER } else { PAYEE }, ListIx(0)),
                4 => Expr::SameKey(PAYER, PAYEE),
                5 => Expr::Const(Value::bool(self.random.one_in(2)), Type::Bool),
                _ => self.read(FLAG),
            };
        }
        let next = depth - 1;
        let kind = Type::Enum(EventIx(0), KIND);
        match self.random.below(7) {
            0 => Expr::Not(Box::new(self.expr(Type::Bool, next))),
            1 => Expr::And(Box::new(self.expr(Type::Bool, next)), Box::new(self.expr(Type::Bool, next))),
            2 => Expr::Or(Box::new(self.expr(Type::Bool, next)), Box::new(self.expr(Type::Bool, next))),
            3 => {
                let ty = [Type::Int, Type::Money(USD), Type::Bool, Type::Decimal][self.random.below(4)];
                Expr::IsMissing(Box::new(self.expr(ty, next)))
            }
            4 => {
                if self.random.one_in(3) {
                    let currency = Expr::CurrencyOf(Box::new(self.any_money(2)));
                    let wanted = Expr::Const(Value::int([840, 978][self.random.below(2)]), Type::Currency);
                    return Expr::Compare(Compare::Eq, Box::new(currency), Box::new(wanted));
                }
                let ty = [Type::Bool, kind][self.random.below(2)];
                let operator = [Compare::Eq, Compare::Ne][self.random.below(2)];
                compare(operator, self.expr(ty, next), self.expr(ty, next))
            }
            _ => {
                let number = [Type::Int, Type::Decimal];
                let (a, b) = (number[self.random.below(2)], number[self.random.below(2)]);
                let (a, b) =
                    if self.random.one_in(3) { (Type::Money(USD), Type::Money(USD)) } else { (a, b) };
                let all = [Compare::Eq, Compare::Ne, Compare::Lt, Compare::Le, Compare::Gt, Compare::Ge];
                let operator = all[self.random.below(6)];
                compare(operator, self.expr(a, next), self.expr(b, next))
            }
        }
    }
}

const TYPES: [Type; 5] =
    [Type::Bool, Type::Int, Type::Decimal, Type::Money(USD), Type::Enum(EventIx(0), KIND)];

fn list_entries() -> Vec<ListEntry> {
    (0..4).map(|entry| key_entry("account", &format!("k{entry}"))).collect()
}

/// A policy whose scalar features, rules, filters and values are all random.
pub(super) fn policy(random: &mut Random) -> Policy {
    let mut writer = Writer { random, lets: Vec::new(), features: Vec::new() };
    for index in 0..4 {
        let ty = TYPES[writer.random.below(TYPES.len())];
        let expr = writer.expr(ty, 2);
        writer.lets.push(Let { name: format!("let{index}"), event: EventIx(0), expr, ty });
    }
    let mut features = Vec::new();
    for index in 0..4 {
        let ty = TYPES[writer.random.below(TYPES.len())];
        let expr = writer.expr(ty, 4);
        features.push(Feature {
            name: format!("scalar{index}"),
            ty,
            kind: FeatureKind::Scalar { event: EventIx(0), expr },
            assume: None,
        });
    }
    for index in 0..3 {
        let ty = TYPES[1 + writer.random.below(TYPES.len() - 1)];
        let value = writer.expr(ty, 4);
        let filter = Some(writer.expr(Type::Bool, 4));
        let role = [PAYER, PAYEE][writer.random.below(2)];
        let source = Source { event: EventIx(0), role: By::One(role), filter };
        let aggregate = match index {
            0 => Aggregate::Max(source, value),
            1 => Aggregate::DistinctValues(source, value),
            _ => Aggregate::Min(source, value),
        };
        let judged_by = vec![(EventIx(0), By::One(role))];
        let frame = Frame::Last { span_us: HOUR };
        let window = Window { by: By::One(EntityIx(0)), frame, delay_us: 0, aggregate, judged_by };
        features.push(Feature {
            name: format!("window{index}"),
            ty,
            kind: FeatureKind::Window(window),
            assume: None,
        });
    }
    writer.features = (0..4).map(|index| (FeatureIx(index), features[usize::from(index)].ty)).collect();
    // Rules that stand alone, and the rows of two tables.
    let rules = (0..7).map(|index| Rule {
        name: format!("rule{index}"),
        event: EventIx(0),
        when: writer.expr(Type::Bool, 4),
        action: Some(Action::Review),
        score: Some(10),
        reason: None,
        mandatory: false,
        monitor: false,
        salience: 0,
        allow_over: Vec::new(),
        alerts: Vec::new(),
        within: [None, Some(Within::Table(TableIx(0))), Some(Within::Table(TableIx(1)))][index / 3],
        effective: Effective::default(),
    });
    let rules = rules.collect();
    let table = |first| Table {
        name: format!("table{}", u8::from(first)),
        event: EventIx(0),
        effective: Effective::default(),
        first,
    };
    let tables = vec![table(true), table(writer.random.one_in(2))];
    Policy {
        name: "random".into(),
        revision: 1,
        entities: vec!["account".into()],
        events: vec![event("payment", None), event("result", Some(0)), event("label", Some(0))],
        reasons: Vec::new(),
        lists: vec![List { name: "list".into(), of: ListOf::Entity(0), entries: list_entries() }],
        lets: writer.lets,
        features,
        queues: Vec::new(),
        models: Vec::new(),
        scenes: Vec::new(),
        tables,
        rules,
        rates: (random.below(2) == 0).then(|| typed::Rates { name: "daily".into(), max_age_us: HOUR }),
        decides: vec![Decide {
            event: EventIx(0),
            score: Expr::RuleScoresSum,
            thresholds: Vec::new(),
            unassessed: Action::Allow,
            late: None,
        }],
    }
}

/// One random event: what it holds and its words.
fn fill(random: &mut Random, plan: &ArchivedEventPlan, time: Time, keys: &[Key]) -> (Vec<Held>, Vec<u64>) {
    let mut words = crate::encode::EventWords::new(plan, EventId([random.next(), 1]), time);
    let mut held = Vec::new();
    for field in plan.fields.iter() {
        let slot = crate::encode::field(plan, &field.name).unwrap();
        let value = if random.one_in(4) {
            Held::Nothing
        } else {
            match field.kind {
                ArchivedFieldKind::Bool => Held::Number(random.below(2) as i64),
                ArchivedFieldKind::Int => Held::Number(random.number()),
                ArchivedFieldKind::Decimal => Held::Decimal(random.decimal()),
                ArchivedFieldKind::Money => {
                    Held::Money(random.number(), if random.one_in(4) { EUR } else { USD })
                }
                ArchivedFieldKind::Enum => Held::Number(random.below(3) as i64),
                ArchivedFieldKind::Rate => continue,
                ArchivedFieldKind::Entity => Held::Key(keys[random.below(keys.len())]),
                kind => unreachable!("the event has no field of kind {kind:?}"),
            }
        };
        match value {
            Held::Nothing => {}
            Held::Number(number) | Held::Decimal(number) => words.set_number(slot, number),
            Held::Money(minor, currency) => words.set_money(slot, minor, currency),
            Held::Key(key) => words.set_key(slot, key),
        }
        held.push(value);
    }
    (held, words.words().to_vec())
}

/// A row as the engine keeps it: words alone.
struct Row {
    words: Vec<u64>,
}

impl Row {
    fn bit(&self, at: &ArchivedBitRef) -> bool {
        self.words[usize::from(at.column.to_native())] >> at.bit & 1 != 0
    }

    fn set_bit(&mut self, at: &ArchivedBitRef, to: bool) {
        let word = &mut self.words[usize::from(at.column.to_native())];
        *word = *word & !(1 << at.bit) | u64::from(to) << at.bit;
    }

    fn load(&self, column: &ArchivedColumnPlan) -> Value {
        let num = self.words[usize::from(column.column.to_native())] as i64;
        if self.bit(&column.present) { Value { num, den: column.den.to_native() } } else { Value::MISSING }
    }

    fn store(&mut self, column: &ArchivedColumnPlan, value: Value) {
        self.set_bit(&column.present, !value.is_missing());
        if !value.is_missing() {
            assert_eq!(value.den, column.den.to_native(), "a column has one denominator");
            self.words[usize::from(column.column.to_native())] = value.num as u64;
        }
    }

    fn write(&mut self, group: &ArchivedGroupPlan, registers: &[Value], amending: bool) {
        for bit in group.bits.iter().filter(|bit| bit.derived || !amending) {
            self.set_bit(&bit.at, registers[usize::from(bit.register.to_native())].is_true());
        }
        for column in group.columns.iter() {
            if !amending || !matches!(column.origin, ArchivedOrigin::Own) {
                self.store(column, registers[usize::from(column.register.to_native())]);
            }
        }
    }

    fn derive(&self, loaded: &Loaded, group: &ArchivedGroupPlan, registers: &mut [Value]) {
        for amend in group.amends.iter() {
            let applied = Value::bool(self.bit(&amend.applied));
            registers[usize::from(amend.applied_register.to_native())] = applied;
        }
        execute(
            Basis { program: loaded.program(), rates: &Rates::none(), edits: &Edits::none() },
            &group.derive,
            &[],
            0,
            Time(0),
            registers,
        );
    }

    fn enter(loaded: &Loaded, group: &ArchivedGroupPlan, words: &[u64], time: Time, dirt: Value) -> Self {
        let program = loaded.program();
        let rates = Rates::reserve(program);
        let basis = Basis { program, rates: &rates, edits: &Edits::none() };
        let mut registers = program.fresh_registers();
        registers[..usize::from(program.registers.to_native())].fill(dirt);
        let mut row = Self { words: vec![0; usize::from(group.row_words.to_native())] };
        execute(basis, &group.ingest, words, words[PRESENCE_WORD], time, &mut registers);
        for column in group.columns.iter().filter(|column| matches!(column.origin, ArchivedOrigin::Amend(_)))
        {
            registers[usize::from(column.register.to_native())] = Value::MISSING;
        }
        row.derive(loaded, group, &mut registers);
        row.write(group, &registers, false);
        row
    }

    fn amend(&mut self, loaded: &Loaded, group: &ArchivedGroupPlan, kind: u16, words: &[u64], dirt: Value) {
        let Some(amend) = group.amends.iter().find(|amend| amend.event.to_native() == kind) else { return };
        let program = loaded.program();
        let rates = Rates::reserve(program);
        let basis = Basis { program, rates: &rates, edits: &Edits::none() };
        let mut registers = program.fresh_registers();
        registers[..usize::from(program.registers.to_native())].fill(dirt);
        for column in group.columns.iter().filter(|column| !matches!(column.origin, ArchivedOrigin::Derived))
        {
            registers[usize::from(column.register.to_native())] = self.load(column);
        }
        self.set_bit(&amend.applied, true);
        execute(basis, &amend.code, words, words[PRESENCE_WORD], Time(0), &mut registers);
        self.derive(loaded, group, &mut registers);
        self.write(group, &registers, true);
    }
}

/// What a column of denominator `den` holds of an exact value; `None` when it cannot be said here.
fn stored(exact: Option<Number>, den: i64) -> Option<Option<Number>> {
    let Some((num, from)) = exact else { return Some(None) };
    let scaled = num * i128::from(den);
    let (floor, rest) = (scaled.div_euclid(from), scaled.rem_euclid(from));
    let up = rest * 2 > from || (rest * 2 == from && floor % 2 != 0);
    let rounded = floor + i128::from(up);
    i64::try_from(rounded).is_ok().then(|| fraction(rounded, i128::from(den)))
}

fn run(seed: u64, policies: usize) -> usize {
    let mut random = Random(seed);
    let tokenizer = Tokenizer::default();
    let keys: Vec<Key> = (0..6).map(|key| tokenizer.key("account", &format!("k{key}")).unwrap()).collect();
    let lists = vec![keys[..list_entries().len()].to_vec()];
    let (mut evaluations, mut in_one) = (0, 0);
    for _ in 0..policies {
        let policy = policy(&mut random);
        let program = lower(&policy, &tokenizer).unwrap();
        let loaded = archive::open(archive::seal(&program)).unwrap();
        let program = loaded.program();
        // No rate has come: what is converted is missing.
        let rates = Rates::reserve(program);
        let basis = Basis { program, rates: &rates, edits: &Edits::none() };
        for _ in 0..12 {
            let time = random.time();
            let dirt = [Value::MISSING, Value::TRUE, Value::ratio(-7, 3)][random.below(3)];
            let (fields, words) = fill(&mut random, &program.events[0], time, &keys);
            let judged = Context { policy: &policy, fields: &fields, time, amendments: &[], lists: &lists };

            let mut registers = program.fresh_registers();
            registers[..usize::from(program.registers.to_native())].fill(dirt);
            let plan = &program.events[0];
            execute(basis, &plan.scalars, &words, words[PRESENCE_WORD], time, &mut registers);
            for (index, feature) in policy.features.iter().enumerate() {
                if let FeatureKind::Scalar { expr, .. } = &feature.kind {
                    assert_eq!(of_value(registers[index]), judged.number(expr), "{expr:?}\n{fields:?}");
                    evaluations += 1;
                }
            }
            let mut rules = Rules::new(&loaded, 0).unwrap();
            let features = rules.features().len();
            rules.features().copy_from_slice(&registers[..features]);
            let fired = rules.fired(&words, words[PRESENCE_WORD], time).to_vec();
            // By whichever way, the same.
            in_one += usize::from(rules.rank_all());
            assert_eq!(rules.fired(&words, words[PRESENCE_WORD], time), fired);
            for (index, rule) in policy.rules.iter().enumerate() {
                let fits = |rule: &Rule| judged.bool(&rule.when) == Some(true);
                let mut before = policy.rules[..index].iter().filter(|before| before.within == rule.within);
                let first = match rule.within {
                    Some(Within::Table(table)) => policy.tables[table.index()].first,
                    _ => false,
                };
                let expected = fits(rule) && !(first && before.any(fits));
                assert_eq!(fired.contains(&(index as u16)), expected, "{:?}\n{fields:?}", rule.when);
                evaluations += 1;
            }

            let enter = |group: &ArchivedGroupPlan| Row::enter(&loaded, group, &words, time, dirt);
            let mut rows: Vec<Row> = program.groups.iter().map(enter).collect();
            let mut amendments = vec![None, None, None];
            for step in 0..4 {
                if step > 0 {
                    let kind = 1 + random.below(2);
                    let (held, words) = fill(&mut random, &program.events[kind], time, &keys);
                    amendments[kind] = Some(held);
                    for (row, group) in rows.iter_mut().zip(program.groups.iter()) {
                        row.amend(&loaded, group, kind as u16, &words, dirt);
                    }
                }
                let kept = Context { amendments: &amendments, ..judged };
                for (index, feature) in policy.features.iter().enumerate() {
                    let FeatureKind::Window(window) = &feature.kind else { continue };
                    let (Aggregate::Max(source, value)
                    | Aggregate::Min(source, value)
                    | Aggregate::DistinctValues(source, value)) = &window.aggregate
                    else {
                        continue;
                    };
                    let term = &program.features[index].terms[0];
                    let group = usize::from(term.group.to_native());
                    let (plan, row) = (&program.groups[group], &rows[group]);
                    let bit = row.bit(&plan.bits[usize::from(term.filter.to_native())].at);
                    let filter = source.filter.as_ref().unwrap();
                    assert_eq!(
                        bit,
                        kept.bool(filter) == Some(true),
                        "{filter:?}\n{:?}\n{fields:?}\n{amendments:?}",
                        policy.lets
                    );
                    let column = &plan.columns[usize::from(term.value.to_native())];
                    if let Some(expected) = stored(kept.number(value), column.den.to_native()) {
                        let found = of_value(row.load(column));
                        assert_eq!(found, expected, "{value:?}\n{fields:?}\n{amendments:?}");
                    }
                    evaluations += 2;
                }
            }
        }
    }
    // Rules are found by either way.
    assert!(policies < in_one && in_one < 12 * policies, "{in_one} of {}", 12 * policies);
    evaluations
}

#[test]
fn programs_compute_what_the_tree_says() {
    let evaluations = run(1, 1_000);
    assert!(evaluations >= 100_000, "{evaluations}");
}
