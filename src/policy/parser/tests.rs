//! `test "name" { … }` and what it consists of.

use super::Parser;
use crate::policy::syntax::SyntaxKind as K;

const TEST_HELP: &str =
    "for example: test \"a blocked device\" { when payment { card: c1, amount: 5 USD } at 0m then block }";
const TIME_HELP: &str = "a time of a test is counted from its start, as in `at 0m` or `at 36h`, or is a date in UTC, as in `at 2026-01-31T08:30`";
const EXPECTATION_HELP: &str = "what can be expected is allow, challenge, review, block, `not block`, `score 90`, \
    `score >= 70`, `because REASON`, `because nothing`, `fires RULE`, `not fires RULE` and `unassessed`";

impl Parser<'_> {
    /// `test "NAME" { item … }`, after its word.
    pub(super) fn test(&mut self) {
        self.expect(K::Text, "the name of the test in quotes", TEST_HELP);
        self.in_test = true;
        self.braces("test", TEST_HELP, |parser| {
            parser.test_item();
            parser.recover(|parser| parser.is(K::RBrace) || parser.on_new_line(0));
        });
        self.in_test = false;
    }

    fn test_item(&mut self) {
        match if self.is(K::Ident) { self.text_at(0) } else { "" } {
            "let" => {
                self.start(K::TestLet);
                self.bump();
                self.name("a name");
                self.expect(K::Assign, "`=` and an event", "for example: let p = payment { card: c1 }");
                self.test_event();
                self.finish();
            }
            "stub" => {
                self.start(K::StubItem);
                self.bump();
                self.name_ref("a feature or a `let`");
                self.expect(K::Assign, "`=` and a value", "for example: stub declines_1h = 5");
                if !self.recovering {
                    self.expression();
                }
                self.finish();
            }
            "given" if self.text_at(1) == "rate" && self.kind_at(2) == Some(K::Ident) => {
                const HELP: &str = "for example: given rate EUR USD 1.08 at 0m";
                self.start(K::GivenRate);
                self.bump();
                self.bump();
                self.name_ref("a currency");
                self.name_ref("a currency");
                self.expect(K::Number, "what one of the first is worth in the second", HELP);
                self.at_clause();
                self.finish();
            }
            "given" => {
                self.start(K::GivenItem);
                self.bump();
                self.test_event();
                self.at_clause();
                self.amended_clauses();
                self.finish();
            }
            "when" => {
                self.start(K::WhenItem);
                self.bump();
                self.test_event();
                self.at_clause();
                if !self.recovering && self.is_word("late") {
                    self.start(K::Modifier);
                    self.bump();
                    self.finish();
                }
                self.amended_clauses();
                if self.expect_word("then", "for example: when p at 5m then block, because VELOCITY") {
                    self.expectations();
                }
                self.finish();
            }
            _ => {
                let found = self.found();
                self.at_start_error(
                    format!("expected `let`, `stub`, `given` or `when`, found {found}"),
                    "not part of a test",
                    TEST_HELP.to_owned(),
                );
                // It is the first on its line, where reading goes on.
                self.recovering = false;
                self.start(K::Error);
                self.bump();
                self.finish();
                self.recovering = true;
            }
        }
    }

    /// `EVENT { FIELD: VALUE, … }`, `NAME`, `NAME with { … }`.
    fn test_event(&mut self) {
        if self.recovering {
            return;
        }
        self.start(K::TestEvent);
        self.name_ref("an event, or what a `let` has named");
        self.eat_word("with");
        if !self.recovering && self.is(K::LBrace) {
            self.start(K::TestFields);
            const HELP: &str = "a field is written `card: c1` or `amount: 250 USD`";
            self.braces("event", HELP, |parser| {
                parser.start(K::TestField);
                parser.name("a field's name");
                parser.expect(K::Colon, "`:` and a value", HELP);
                parser.test_value();
                parser.finish();
            });
            self.finish();
        }
        self.finish();
    }

    /// A value as events carry it: a word, a text, a number, money, a duration, a place.
    fn test_value(&mut self) {
        if self.recovering {
            return;
        }
        self.start(K::TestValue);
        if self.eat(K::LParen) {
            const HELP: &str = "a place is written as latitude and longitude in degrees: (52.52, 13.405)";
            self.eat(K::Minus);
            self.expect(K::Number, "the latitude", HELP);
            self.expect(K::Comma, "`,` and the longitude", HELP);
            self.eat(K::Minus);
            self.expect(K::Number, "the longitude", HELP);
            self.expect(K::RParen, "`)`", HELP);
        } else if !self.eat(K::Ident) && !self.eat(K::Text) && !self.eat(K::Date) {
            self.eat(K::Minus);
            if self.eat(K::Number) {
                if self.is(K::Ident) && !self.on_new_line(0) {
                    self.bump();
                }
            } else if !self.eat(K::Duration) {
                self.expected("a value", "for example: card: c1, amount: 250 USD, channel: ecom");
            }
        }
        self.finish();
    }

    /// `at 0m, 1m`.
    fn at_clause(&mut self) {
        if self.recovering {
            return;
        }
        self.start(K::AtClause);
        if self.expect_word("at", TIME_HELP) {
            loop {
                if !self.eat(K::Date) && !self.expect(K::Duration, "a time", TIME_HELP) {
                    break;
                }
                if !self.is(K::Comma) || !matches!(self.kind_at(1), Some(K::Duration | K::Date)) {
                    break;
                }
                self.bump();
            }
        }
        self.finish();
    }

    /// `[each] amended 1s later by EVENT { … }`, any number of times.
    fn amended_clauses(&mut self) {
        const HELP: &str = "for example: amended 1s later by result { outcome: declined }";
        while !self.recovering {
            let ahead = usize::from(self.is(K::Comma));
            if !matches!(self.text_at(ahead), "each" | "amended") {
                break;
            }
            if ahead > 0 {
                self.bump();
            }
            self.start(K::AmendedClause);
            self.eat_word("each");
            self.expect_word("amended", HELP);
            self.expect(K::Duration, "how much later", HELP);
            self.expect_word("later", HELP);
            self.expect_word("by", HELP);
            self.test_event();
            self.finish();
        }
    }

    fn expectations(&mut self) {
        loop {
            self.expectation();
            if self.recovering || !self.is(K::Comma) || !self.at_expectation(1) {
                break;
            }
            self.bump();
        }
    }

    /// Whether an expectation starts `ahead` tokens from here.
    fn at_expectation(&self, ahead: usize) -> bool {
        self.kind_at(ahead) == Some(K::Ident)
            && !matches!(self.text_at(ahead), "given" | "when" | "let" | "stub")
    }

    fn expectation(&mut self) {
        if self.recovering {
            return;
        }
        self.start(K::Expectation);
        match if self.is(K::Ident) { self.text_at(0) } else { "" } {
            "allow" | "challenge" | "review" | "block" | "unassessed" => self.bump(),
            "score" => {
                self.bump();
                if matches!(self.kind_at(0), Some(K::EqEq | K::Ne | K::Lt | K::Le | K::Gt | K::Ge)) {
                    self.bump();
                }
                self.expect(K::Number, "a score", "for example: score 90, or score >= 70");
            }
            "because" => self.expected_names("a reason, or `nothing`"),
            "fires" => self.expected_names("a rule"),
            "not" => {
                self.bump();
                if self.is_word("fires") {
                    self.expected_names("a rule");
                } else {
                    self.action();
                }
            }
            _ => {
                self.expected("an expectation", EXPECTATION_HELP);
            }
        }
        self.finish();
    }

    /// A word and the names behind it, separated by commas.
    fn expected_names(&mut self, what: &str) {
        const EXPECTATIONS: &[&str] =
            &["allow", "challenge", "review", "block", "unassessed", "score", "because", "fires", "not"];
        self.bump();
        self.name_ref(what);
        while !self.recovering
            && self.is(K::Comma)
            && self.at_expectation(1)
            && !EXPECTATIONS.contains(&self.text_at(1))
        {
            self.bump();
            self.name_ref(what);
        }
    }
}
