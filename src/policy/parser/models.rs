//! Models.

use super::Parser;
use crate::policy::syntax::SyntaxKind as K;

impl Parser<'_> {
    /// `model NAME on EVENT [eager | lazy] = "FILE" (EXPR, …) [calibrated …]`, after its word.
    pub(super) fn model(&mut self) {
        const HELP: &str =
            "for example: model gbdt on payment = \"models/fraud.tgm\" (major(amount in USD), declines_1h)";
        self.name("the model's name");
        self.clause(K::OnClause, "on", "an event", HELP);
        if !self.eat_word("lazy") {
            self.eat_word("eager");
        }
        self.expect(K::Assign, "`=` and a file", HELP);
        self.expect(K::Text, "the name of a file in quotes", HELP);
        self.expect(K::LParen, "`(` and the inputs", HELP);
        while !self.recovering {
            self.start(K::ModelInput);
            self.full_expression();
            self.finish();
            if !self.eat(K::Comma) {
                break;
            }
        }
        self.expect(K::RParen, "`,` or `)`", HELP);
        if self.is_word("calibrated") {
            self.calibrated();
        }
    }

    /// `calibrated platt(A, B)`, `calibrated isotonic { TOLD: VALUE, … }`.
    fn calibrated(&mut self) {
        const HELP: &str =
            "for example: calibrated platt(-1.2, 0.3), or: calibrated isotonic { 0: 0, 0.4: 0.05, 1: 0.9 }";
        self.start(K::CalibratedClause);
        self.bump();
        if self.eat_word("platt") {
            self.expect(K::LParen, "`(` and two numbers", HELP);
            self.signed_number(HELP);
            self.expect(K::Comma, "`,` and a second number", HELP);
            self.signed_number(HELP);
            self.expect(K::RParen, "`)`", HELP);
        } else if self.eat_word("isotonic") {
            self.braces("list of points", HELP, |parser| {
                parser.start(K::CalibrationPoint);
                parser.signed_number(HELP);
                parser.expect(K::Colon, "`:` and a value", HELP);
                parser.signed_number(HELP);
                parser.finish();
            });
        } else {
            self.expected("`platt` or `isotonic`", HELP);
        }
        self.finish();
    }

    fn signed_number(&mut self, help: &str) {
        if self.recovering {
            return;
        }
        self.start(K::SignedNumber);
        self.eat(K::Minus);
        self.expect(K::Number, "a number", help);
        self.finish();
    }
}
