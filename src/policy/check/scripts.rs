//! `test` blocks: what happens in them, and what is expected.

use super::expressions::{Place, Scope};
use super::{Checker, literals};
use crate::engine::program::{MODEL_DEN, PrefixPlan};
use crate::engine::units::codes::Country;
use crate::engine::units::{Action, DECIMAL_DEN, TIME_END, Time, Value};
use crate::engine::wire::RATE_PART_MAX;
use crate::policy::ast::{self, Named};
use crate::policy::entries;
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode, SyntaxToken};
use crate::policy::test::script::{
    Expectation, Given, GivenRate, Judged, Stubs, TEST_EVENTS_MAX, TEST_START, Test, TestEvent,
};
use crate::policy::typed::{Compare, EventIx, Expr, FeatureKind, FieldIx, FieldType, LetIx, Span, Type};
use crate::token::Tokenizer;
use jiff::tz::TimeZone;
use std::collections::HashMap;

/// An event as a test writes it, at no time yet.
#[derive(Clone)]
struct Written {
    event: EventIx,
    values: Vec<Option<Given>>,
}

/// What a test has named and said so far.
struct Script {
    named: HashMap<String, Written>,
    /// Names whose events were refused.
    refused: Vec<String>,
    test: Test,
}

impl Checker<'_> {
    pub(super) fn test(&mut self, node: &SyntaxNode) {
        let Some(name) = ast::token(node, K::Text) else { return };
        let span = ast::token_span(&name);
        let name = literals::text(name.text());
        if name.is_empty() {
            self.push(span, "the name of a test is empty", "no name", "say in a few words what it shows");
        } else if self.tests.iter().any(|test| test.name == name) {
            let help = "give one of the two another name, so that each can be run alone";
            self.push(span, format!("the test \"{name}\" is declared twice"), "declared again here", help);
        }
        let test = Test { name, span, stubs: Stubs::default(), rates: Vec::new(), events: Vec::new() };
        let mut script = Script { named: HashMap::new(), refused: Vec::new(), test };
        let mut judged = false;
        for item in node.children() {
            match item.kind() {
                K::TestLet => self.test_let(&item, &mut script),
                K::StubItem => _ = self.stub(&item, &mut script.test.stubs),
                K::GivenRate => script.test.rates.extend(self.given_rate(&item)),
                K::GivenItem | K::WhenItem => {
                    judged |= item.kind() == K::WhenItem;
                    _ = self.happening(&item, &mut script);
                }
                _ => {}
            }
        }
        if !judged {
            let help = "write what should come out: `when p at 5m then block`";
            self.push(span, "this test expects nothing", "no `when … then …` in it", help);
        }
        if script.test.events.len() > TEST_EVENTS_MAX {
            let help = "count less in the features that it is about, or stub them";
            let message = format!("this test has more than {TEST_EVENTS_MAX} events");
            self.push(span, message, "too long", help);
        }
        self.tests.push(script.test);
    }

    fn test_let(&mut self, node: &SyntaxNode, script: &mut Script) {
        let (Some(name), Some(event)) = (ast::name(node), ast::child(node, K::TestEvent)) else { return };
        let taken = script.named.contains_key(&name.text) || script.refused.contains(&name.text);
        if taken || self.events.contains_key(&name.text) {
            let (message, label) = if taken {
                (format!("`{}` is declared twice", name.text), "declared again here")
            } else {
                (format!("`{}` is already the name of an event", name.text), "the name of an event")
            };
            self.push(name.span, message, label, "choose another name");
            return;
        }
        match self.written(&event, script) {
            Some(written) => _ = script.named.insert(name.text, written),
            None => script.refused.push(name.text),
        }
    }

    /// `EVENT { … }`, `NAME`, `NAME with { … }`.
    fn written(&mut self, node: &SyntaxNode, script: &Script) -> Option<Written> {
        let name = ast::name_ref(node)?;
        if script.refused.contains(&name.text) {
            return None;
        }
        let mut written = match (script.named.get(&name.text), self.events.get(&name.text)) {
            (Some(written), _) => written.clone(),
            (None, Some(event)) => {
                Written { event: *event, values: vec![None; self.event(*event).fields.len()] }
            }
            (None, None) => {
                let mut names: Vec<String> =
                    self.policy.events.iter().map(|event| event.name.clone()).collect();
                names.extend(script.named.keys().cloned());
                names.sort_unstable();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let otherwise =
                    if names.is_empty() { "declare it with `event NAME { field: type }`" } else { "" };
                self.unknown(&name, "event, or `let` of this test,", &names, otherwise);
                return None;
            }
        };
        let mut refused = false;
        let mut seen: Vec<FieldIx> = Vec::new();
        for field in
            ast::child(node, K::TestFields).iter().flat_map(|fields| ast::children(fields, K::TestField))
        {
            let given = self.given_field(&field, written.event, &mut seen);
            match given {
                Some((field, value)) => written.values[field.index()] = value,
                None => refused = true,
            }
        }
        (!refused).then_some(written)
    }

    fn given_field(
        &mut self,
        node: &SyntaxNode,
        event: EventIx,
        seen: &mut Vec<FieldIx>,
    ) -> Option<(FieldIx, Option<Given>)> {
        let name = ast::name(node)?;
        let field = self.own_field(event, &name)?;
        if seen.contains(&field) {
            let message = format!("`{}` is there twice", name.text);
            self.push(name.span, message, "again here", "remove one of the two");
            return None;
        }
        seen.push(field);
        let value = ast::child(node, K::TestValue)?;
        let tokens: Vec<SyntaxToken> = ast::tokens(&value).collect();
        if let [token] = &tokens[..]
            && token.text() == "missing"
        {
            return Some((field, None));
        }
        let ty = self.field_type(event, field)?.clone();
        let given = self.given_value(&value, &tokens, &name, event, &ty)?;
        Some((field, Some(given)))
    }

    /// A value of this type as a test writes it.
    fn given_value(
        &mut self,
        node: &SyntaxNode,
        tokens: &[SyntaxToken],
        name: &Named,
        event: EventIx,
        ty: &FieldType,
    ) -> Option<Given> {
        let (negative, rest) = match tokens {
            [first, rest @ ..] if first.kind() == K::Minus => (true, rest),
            _ => (false, tokens),
        };
        let sign = |number: i64| if negative { -number } else { number };
        let kinds: Vec<K> = rest.iter().map(SyntaxToken::kind).collect();
        let span = ast::span(node);
        let number = match (ty, &kinds[..]) {
            (FieldType::Bool, [K::Ident]) if !negative && matches!(rest[0].text(), "true" | "false") => {
                i64::from(rest[0].text() == "true")
            }
            (FieldType::Int | FieldType::Decimal, [K::Number]) => {
                let den = if *ty == FieldType::Int { 1 } else { DECIMAL_DEN };
                let value = match literals::number(rest[0].text()) {
                    Ok((value, _)) => value,
                    Err((message, help)) => return self.wrong_value(span, message, help),
                };
                let scaled = i128::from(value.num) * i128::from(den);
                let whole = scaled % i128::from(value.den) == 0;
                let number = i64::try_from(scaled / i128::from(value.den)).ok().filter(|_| whole);
                match number {
                    Some(number) => sign(number),
                    None if den == 1 => {
                        let message = format!("`{}` is a whole number", name.text);
                        return self.wrong_value(
                            span,
                            message,
                            "leave out the digits after the point".to_owned(),
                        );
                    }
                    None => {
                        let message = format!("`{}` has at most six digits after the point", name.text);
                        return self.wrong_value(span, message, "leave out what is more".to_owned());
                    }
                }
            }
            (FieldType::Money, [K::Number, K::Ident]) => {
                let currency = self.currency(&Named::of(&rest[1]))?;
                return match literals::money(rest[0].text(), currency) {
                    Ok(minor) => Some(Given::Money(sign(minor), currency)),
                    Err((message, help)) => {
                        self.push(span, message, "this amount", help);
                        None
                    }
                };
            }
            (FieldType::Enum(words), [K::Ident]) if !negative => {
                let word = Named::of(&rest[0]);
                let place = words.iter().position(|known| *known == word.text);
                let Some(place) = place else {
                    let words: Vec<&str> = words.iter().map(String::as_str).collect();
                    self.unknown(&word, &format!("word of `{}`", name.text), &words, "");
                    return None;
                };
                place as i64
            }
            (FieldType::Entity(kind), [K::Ident | K::Text]) if !negative => {
                let text = match rest[0].kind() {
                    K::Text => literals::text(rest[0].text()),
                    _ => rest[0].text().to_owned(),
                };
                let kind = self.policy.entities[kind.index()].clone();
                if Tokenizer::default().key(&kind, &text).is_err() {
                    let help =
                        "write any other word: what stands for a card in a test need not look like one";
                    return self.wrong_value(
                        span,
                        "a key cannot be a raw card number".to_owned(),
                        help.to_owned(),
                    );
                }
                if text.is_empty() {
                    let help = "leave the field out, or write `missing`, for a key that is not there";
                    return self.wrong_value(span, "a key cannot be empty".to_owned(), help.to_owned());
                }
                return Some(Given::Key(text));
            }
            (FieldType::Text(bytes), [K::Text]) if !negative => {
                let text = literals::text(rest[0].text());
                let read = entries::words_of_text(&text);
                return match read {
                    Ok(_) if text.len() > usize::from(*bytes) => {
                        let message = format!("`{}` has at most {bytes} bytes", name.text);
                        self.wrong_value(span, message, "write a shorter text".to_owned())
                    }
                    Ok(_) => Some(Given::Text(text)),
                    Err((message, help)) => self.wrong_value(span, message, help),
                };
            }
            (FieldType::Ip, [K::Text]) if !negative => {
                return match entries::prefix(&literals::text(rest[0].text())) {
                    Ok(prefix) if prefix.bits == PrefixPlan::ALL_BITS => Some(Given::Address(prefix.address)),
                    Ok(_) => {
                        let help = "write one address, as in \"10.1.2.3\"".to_owned();
                        self.wrong_value(span, "a prefix is many addresses".to_owned(), help)
                    }
                    Err((message, help)) => self.wrong_value(span, message, help),
                };
            }
            (FieldType::Geo, _) if tokens.first().is_some_and(|first| first.kind() == K::LParen) => {
                return self.given_place(span, tokens);
            }
            (FieldType::Country, [K::Ident]) if !negative => match Country::from_alpha(rest[0].text()) {
                Some(country) => i64::from(country.0),
                None => {
                    let message = format!("there is no country `{}`", rest[0].text());
                    let help = "write its two letters by ISO 3166-1 in capitals, such as DE, US or CN";
                    return self.wrong_value(span, message, help.to_owned());
                }
            },
            (FieldType::Currency, [K::Ident]) if !negative => {
                i64::from(self.currency(&Named::of(&rest[0]))?.0)
            }
            (FieldType::Mcc, [K::Number]) if !negative => self.mcc(&rest[0])?,
            (FieldType::Bin, [K::Number]) if !negative => self.bin(&rest[0])?,
            (FieldType::Duration, [K::Duration]) => sign(self.test_duration(&rest[0])?),
            (FieldType::Time, [K::Date]) if !negative => self.instant(&rest[0], &TimeZone::UTC)?,
            (FieldType::Time, [K::Duration]) if !negative => {
                TEST_START.0.saturating_add(self.test_duration(&rest[0])?)
            }
            _ => {
                let (what, example) = match ty {
                    FieldType::Bool => ("true or false", "true".to_owned()),
                    FieldType::Int => ("a whole number", "3".to_owned()),
                    FieldType::Decimal => ("a decimal number", "0.25".to_owned()),
                    FieldType::Money => ("money", "250 USD".to_owned()),
                    FieldType::Enum(words) => {
                        ("one of its words", words.first().cloned().unwrap_or_default())
                    }
                    FieldType::Entity(_) => ("a key", "k1".to_owned()),
                    FieldType::Geo => ("a place", "(52.52, 13.405)".to_owned()),
                    FieldType::Country => ("a country", "CN".to_owned()),
                    FieldType::Currency => ("a currency", "USD".to_owned()),
                    FieldType::Mcc => ("a merchant category", "5411".to_owned()),
                    FieldType::Bin => ("the leading digits of a card", "411111".to_owned()),
                    FieldType::Time => {
                        ("a time: a date in UTC, or counted from the start of the test", "36h".to_owned())
                    }
                    FieldType::Duration => ("a duration", "5m".to_owned()),
                    FieldType::Text(_) => ("a text", "\"abc\"".to_owned()),
                    FieldType::Ip => ("an address", "\"10.1.2.3\"".to_owned()),
                };
                let message = format!("`{}.{}` is {what}", self.event_name(event), name.text);
                let help = format!("write it as `{}: {example}`", name.text);
                self.push(span, message, "of another type", help);
                return None;
            }
        };
        Some(Given::Number(number))
    }

    fn wrong_value(&mut self, span: Span, message: String, help: String) -> Option<Given> {
        self.push(span, message, "this value", help);
        None
    }

    /// `(52.52, 13.405)`.
    fn given_place(&mut self, span: Span, tokens: &[SyntaxToken]) -> Option<Given> {
        let mut degrees = Vec::with_capacity(2);
        let mut negative = false;
        for token in tokens {
            match token.kind() {
                K::Minus => negative = true,
                K::Number => {
                    let value = literals::number(token.text()).ok().map(|(value, _)| value);
                    let millionths = value.and_then(|value| {
                        let scaled = i128::from(value.num) * 1_000_000;
                        let whole = scaled % i128::from(value.den) == 0;
                        i64::try_from(scaled / i128::from(value.den)).ok().filter(|_| whole)
                    });
                    degrees.push(millionths.map(|number| if negative { -number } else { number }));
                    negative = false;
                }
                _ => {}
            }
        }
        if let [Some(latitude), Some(longitude)] = degrees[..]
            && (-90_000_000..=90_000_000).contains(&latitude)
            && (-180_000_000..=180_000_000).contains(&longitude)
        {
            let word = (latitude as i32).cast_unsigned();
            let word = u64::from(word) << 32 | u64::from((longitude as i32).cast_unsigned());
            return Some(Given::Number(word as i64));
        }
        let message = "a place is a latitude from -90 to 90 and a longitude from -180 to 180";
        let help = "write degrees with at most six digits after the point, as in (52.52, 13.405)";
        self.push(span, message, "outside", help);
        None
    }

    fn test_duration(&mut self, token: &SyntaxToken) -> Option<i64> {
        match literals::duration(token.text()) {
            Ok(us) => Some(us),
            Err((message, help)) => {
                self.push(ast::token_span(token), message, "this duration", help);
                None
            }
        }
    }

    /// The times of an `at`.
    fn times(&mut self, node: &SyntaxNode) -> Option<Vec<Time>> {
        let clause = ast::child(node, K::AtClause)?;
        let mut times = Vec::new();
        for token in ast::tokens(&clause) {
            match token.kind() {
                K::Duration => times.push(self.test_time(TEST_START, &token)?),
                K::Date => times.push(Time(self.instant(&token, &TimeZone::UTC)?)),
                _ => {}
            }
        }
        Some(times)
    }

    /// So long after a time.
    fn test_time(&mut self, from: Time, token: &SyntaxToken) -> Option<Time> {
        let time = from.0.checked_add(self.test_duration(token)?).filter(|time| *time < TIME_END.0);
        if time.is_none() {
            let help = "no policy looks back further than 400 days";
            self.push(ast::token_span(token), "no event can be of this time", "outside", help);
        }
        time.map(Time)
    }

    /// `given …` and `when …`.
    fn happening(&mut self, node: &SyntaxNode, script: &mut Script) -> Option<()> {
        let event_node = ast::child(node, K::TestEvent)?;
        let written = self.written(&event_node, script);
        let times = self.times(node);
        let mut amendments = Vec::new();
        let mut refused = false;
        for clause in ast::children(node, K::AmendedClause) {
            let at = ast::child(&clause, K::TestEvent)?;
            let amendment = self.written(&at, script);
            let (Some(amendment), Some(written)) = (amendment, &written) else {
                refused = true;
                continue;
            };
            if self.event(amendment.event).amends != Some(written.event) {
                let (amendment, event) = (self.event_name(amendment.event), self.event_name(written.event));
                let message = format!("`{amendment}` does not amend `{event}`");
                let help = format!("name an event that is declared as `event … amends {event}`");
                self.push(ast::span(&at), message, "of another event", help);
                refused = true;
                continue;
            }
            amendments.push((at, ast::token(&clause, K::Duration)?, amendment));
        }
        let judged =
            if node.kind() == K::WhenItem { Some(self.judgement(node, written.as_ref())) } else { None };
        let (written, times) = (written?, times?);
        if refused || matches!(judged, Some(None)) {
            return None;
        }
        let judged = judged.flatten();
        if judged.is_some() && times.len() > 1 {
            let message = "`when` judges one event";
            let at = ast::span(&ast::child(node, K::AtClause)?);
            let help =
                "write a `when` for each time at which a verdict is looked at, or `given` for the others";
            self.push(at, message, "several times", help);
            return None;
        }
        if let Some(amended) = self.event(written.event).amends {
            let (amendment, event) = (self.event_name(written.event), self.event_name(amended));
            let message = format!("`{amendment}` amends an event, and comes after one");
            let help = format!("write `given {event} {{ … }} at 0m amended 1s later by {amendment} {{ … }}`");
            self.push(ast::span(&event_node), message, "of which event?", help);
            return None;
        }
        self.complete(&event_node, &written)?;
        for (at, _, amendment) in &amendments {
            self.complete(at, amendment)?;
        }
        for time in times {
            let original = script.test.events.len();
            script.test.events.push(TestEvent {
                event: written.event,
                values: written.values.clone(),
                time,
                amends: None,
                judged: judged.clone(),
            });
            for (_, later, amendment) in &amendments {
                let time = self.test_time(time, later)?;
                let mut values = amendment.values.clone();
                for (value, field) in values.iter_mut().zip(&self.event(amendment.event).fields) {
                    if let Some(inherited) = field.inherited {
                        value.clone_from(&written.values[inherited.index()]);
                    }
                }
                let (event, amends) = (amendment.event, Some(original));
                script.test.events.push(TestEvent { event, values, time, amends, judged: None });
            }
        }
        Some(())
    }

    /// Reports required fields that are not there.
    fn complete(&mut self, node: &SyntaxNode, written: &Written) -> Option<()> {
        if self.incomplete[written.event.index()] {
            return None;
        }
        let event = self.event(written.event);
        let lacking: Vec<String> = event
            .fields
            .iter()
            .zip(&written.values)
            .filter(|(field, value)| !field.optional && field.inherited.is_none() && value.is_none())
            .map(|(field, _)| format!("`{}`", field.name))
            .collect();
        if lacking.is_empty() {
            return Some(());
        }
        let message = format!("this `{}` lacks {}", event.name, lacking.join(", "));
        let help = "give all fields that are declared without `?`";
        self.push(ast::span(node), message, "not all that it must have", help);
        None
    }

    /// `… [late] then …`.
    fn judgement(&mut self, node: &SyntaxNode, written: Option<&Written>) -> Option<Judged> {
        let late = ast::child(node, K::Modifier).is_some();
        let event = written.map(|written| written.event);
        if let Some(event) = event
            && self.event(event).amends.is_none()
            && !self.decided.contains(&event)
        {
            let name = self.event_name(event);
            let message = format!("`{name}` is not judged: it has no `decide`");
            let help = format!("write `given` for what only happens, or add `decide {name} {{ … }}`");
            self.push(ast::span(&ast::child(node, K::TestEvent)?), message, "never decided", help);
            return None;
        }
        let mut expectations = Vec::new();
        let mut refused = false;
        for expected in ast::children(node, K::Expectation) {
            refused |= self.expectation(&expected, event, &mut expectations).is_none();
        }
        (!refused).then(|| Judged { span: ast::span(node), late, expectations })
    }

    fn expectation(
        &mut self,
        node: &SyntaxNode,
        event: Option<EventIx>,
        expectations: &mut Vec<Expectation>,
    ) -> Option<()> {
        let action = |word: &str| Action::ALL.into_iter().find(|action| action.word() == word);
        let words: Vec<SyntaxToken> = ast::tokens(node).collect();
        let (negated, first) = match words.first()?.text() {
            "not" => (true, words.get(1).map_or("fires", SyntaxToken::text)),
            first => (false, first),
        };
        // `fires` is right inside too; the names behind it are nodes.
        match first {
            "score" => {
                let number = ast::token(node, K::Number)?;
                let how = match words.get(1)?.kind() {
                    K::Ne => Compare::Ne,
                    K::Lt => Compare::Lt,
                    K::Le => Compare::Le,
                    K::Gt => Compare::Gt,
                    K::Ge => Compare::Ge,
                    _ => Compare::Eq,
                };
                let score =
                    number.text().replace('_', "").parse().ok().filter(|score| (0..=100).contains(score));
                let Some(score) = score else {
                    let help = "an unassessed verdict is expected with `unassessed`";
                    let message = "a score is a whole number from 0 to 100";
                    self.push(ast::token_span(&number), message, "outside", help);
                    return None;
                };
                expectations.push(Expectation::Score(how, score));
            }
            "unassessed" => expectations.push(Expectation::Unassessed),
            "because" => {
                let mut reasons = Vec::new();
                for name in ast::name_refs(node) {
                    if name.text == "nothing" && !self.reasons.contains_key("nothing") {
                        continue;
                    }
                    let Some(reason) = self.reasons.get(&name.text).copied() else {
                        let known: Vec<String> =
                            self.policy.reasons.iter().map(|reason| reason.name.clone()).collect();
                        let known: Vec<&str> = known.iter().map(String::as_str).collect();
                        let otherwise = if known.is_empty() {
                            "this policy has no reasons; expect `because nothing`"
                        } else {
                            ""
                        };
                        self.unknown(&name, "reason", &known, otherwise);
                        return None;
                    };
                    reasons.push(reason);
                }
                expectations.push(Expectation::Because(reasons));
            }
            "fires" => {
                for name in ast::name_refs(node) {
                    // A table stands for all of its rows.
                    let table = self.tables.get(&name.text).copied();
                    let fires = match (table, self.rules.get(&name.text).copied()) {
                        (Some(table), _) if negated => Expectation::NotFiresTable(table),
                        (Some(table), _) => Expectation::FiresTable(table),
                        (None, Some(rule)) if negated => Expectation::NotFires(rule),
                        (None, Some(rule)) => Expectation::Fires(rule),
                        (None, None) => {
                            let rules = self.policy.rules.iter().filter(|rule| !rule.name.contains('#'));
                            let rules = rules.map(|rule| &rule.name);
                            let tables = self.policy.tables.iter().map(|table| &table.name);
                            let known: Vec<String> = rules.chain(tables).cloned().collect();
                            let known: Vec<&str> = known.iter().map(String::as_str).collect();
                            let otherwise = if known.is_empty() { "this policy has no rules" } else { "" };
                            self.unknown(&name, "rule", &known, otherwise);
                            return None;
                        }
                    };
                    let on = match &fires {
                        Expectation::Fires(rule) | Expectation::NotFires(rule) => {
                            self.policy.rules[rule.index()].event
                        }
                        Expectation::FiresTable(table) | Expectation::NotFiresTable(table) => {
                            self.policy.tables[table.index()].event
                        }
                        _ => return None,
                    };
                    if let Some(event) = event.filter(|event| *event != on) {
                        let (on, event) = (self.event_name(on), self.event_name(event));
                        let message = format!("the rule `{}` is on `{on}`, not on `{event}`", name.text);
                        let help = format!("expect a rule on `{event}`");
                        self.push(name.span, message, "of another event", help);
                        return None;
                    }
                    expectations.push(fires);
                }
            }
            word => {
                let action = action(word)?;
                let expected =
                    if negated { Expectation::NotAction(action) } else { Expectation::Action(action) };
                expectations.push(expected);
            }
        }
        Some(())
    }

    /// `stub NAME = VALUE`.
    fn stub(&mut self, node: &SyntaxNode, stubs: &mut Stubs) -> Option<()> {
        let name = ast::name_ref(node)?;
        // The name is an expression too.
        let value = ast::expressions(node).nth(1)?;
        if let Some(feature) = self.features.get(&name.text).copied() {
            let declared = &self.policy.features[feature.index()];
            let ty = declared.ty;
            let event = match &declared.kind {
                FeatureKind::Scalar { event, .. } => *event,
                FeatureKind::Window(window) => window.judged_by.first()?.0,
            };
            let value = self.stub_value(&name, &value, event, ty)?;
            if stubs.features.insert(feature, value).is_none() {
                return Some(());
            }
        } else if let Some((&(event, _), &definition)) = self.stubbed_let(&name) {
            let ty = self.policy.lets[definition.index()].ty;
            let value = self.stub_value(&name, &value, event, ty)?;
            if stubs.lets.insert(definition, value).is_none() {
                return Some(());
            }
        } else if let Some(model) = self.models.get(&name.text).copied() {
            let event = self.policy.models[model.index()].event;
            let stub = self.stub_value(&name, &value, event, Type::Decimal)?;
            let said = stub.rescaled(MODEL_DEN);
            if said.is_missing() && !stub.is_missing() {
                let help =
                    "what models say fits 64 bits in billionths: between -9_223_372_036 and 9_223_372_036";
                self.push(ast::span(&value), "no model can say this", "out of range", help);
                return None;
            }
            if stubs.models.insert(model, said).is_none() {
                return Some(());
            }
        } else {
            let mut known: Vec<String> =
                self.policy.features.iter().map(|feature| feature.name.clone()).collect();
            known.extend(self.policy.lets.iter().map(|definition| definition.name.clone()));
            known.extend(self.policy.models.iter().map(|model| model.name.clone()));
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            self.unknown(
                &name,
                "feature, `let` or model",
                &known,
                "declare one, or give events that it is computed from",
            );
            return None;
        }
        self.push(
            name.span,
            format!("`{}` is there twice", name.text),
            "again here",
            "remove one of the two",
        );
        None
    }

    /// The `let` of this name; of several events the first.
    fn stubbed_let(&self, name: &Named) -> Option<(&(EventIx, String), &LetIx)> {
        self.lets.iter().filter(|((_, let_name), _)| *let_name == name.text).min_by_key(|(_, ix)| **ix)
    }

    fn stub_value(&mut self, name: &Named, node: &SyntaxNode, event: EventIx, ty: Type) -> Option<Value> {
        if node.kind() == K::NameRef && ast::word(node).is_some_and(|word| word.text == "missing") {
            return Some(Value::MISSING);
        }
        let (negative, literal) = match node.kind() {
            K::PrefixExpr if ast::token(node, K::Minus).is_some() => (true, ast::expression(node)?),
            _ => (false, node.clone()),
        };
        let (expr, found) = self.value(&literal, Scope { event, place: Place::Scalar }, Some(ty))?;
        let fits = found == ty || (found == Type::Int && ty == Type::Decimal);
        let Expr::Const(value, _) = expr else {
            let help = "for example: stub declines_1h = 5, or stub declines_1h = missing";
            self.push(ast::span(node), "a stub is a value as it is", "computed", help);
            return None;
        };
        if !fits {
            let message =
                format!("`{}` is {}; this is {}", name.text, self.type_name(ty), self.type_name(found));
            self.push(
                ast::span(node),
                message,
                "of another type",
                "a stub has the type of what it stands for",
            );
            return None;
        }
        Some(if negative { Value { num: -value.num, ..value } } else { value })
    }

    /// `given rate FROM TO NUMBER at TIME`.
    fn given_rate(&mut self, node: &SyntaxNode) -> Option<GivenRate> {
        let names = ast::name_refs(node);
        let [from, to] = &names[..] else { return None };
        let (from, to) = (self.currency(from), self.currency(to));
        let number = ast::token(node, K::Number)?;
        let times = self.times(node)?;
        if self.policy.rates.is_none() {
            let help = "declare them: `rates \"daily\" max_age 3d`";
            self.push(ast::span(node), "this policy has no rates", "nothing takes it", help);
            return None;
        }
        let parts = literals::number(number.text()).ok().map(|(value, _)| value);
        let part = |part: i64| u64::try_from(part).ok().filter(|part| (1..=RATE_PART_MAX).contains(part));
        let parts = parts.and_then(|value| Some((part(value.num)?, part(value.den)?)));
        let Some((num, den)) = parts else {
            let help =
                "write what one unit of the first is worth in the second, above 0 and with at most 15 digits";
            self.push(ast::token_span(&number), "this is not a rate", "outside", help);
            return None;
        };
        let [time] = times[..] else {
            let help = "write one `given rate` for each time";
            self.push(
                ast::span(&ast::child(node, K::AtClause)?),
                "a rate holds from one time",
                "several",
                help,
            );
            return None;
        };
        Some(GivenRate { from: from?, to: to?, num, den, time })
    }
}
