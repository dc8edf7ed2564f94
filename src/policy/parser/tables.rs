//! Scorecards and decision tables, and what both are made of: cells.

use super::Parser;
use crate::policy::syntax::SyntaxKind as K;

const CELL_HELP: &str =
    "a cell is, for example, `ecom`, `{ pos, atm }`, `>= 100 USD`, `2 to 5`, `true` or `missing`";

const FILE_HELP: &str = "for example: table limits on payment first = \"limits.csv\"";

impl Parser<'_> {
    /// `scorecard NAME on EVENT { base N, EXPR { CELL: POINTS, … }, … }`, after its word.
    pub(super) fn scorecard(&mut self) {
        const HELP: &str =
            "for example: scorecard risk on payment { base 20, channel { ecom: 10, else: 0 } }";
        self.name("the scorecard's name");
        self.clause(K::OnClause, "on", "an event", HELP);
        self.braces("scorecard", HELP, |parser| {
            if parser.is_word("base") && matches!(parser.kind_at(1), Some(K::Number | K::Minus)) {
                parser.start(K::BaseItem);
                parser.bump();
                parser.points();
                parser.finish();
                return;
            }
            parser.start(K::ScoreInput);
            parser.full_expression();
            parser.braces(
                "list of bins",
                "for example: declines_1h { missing: 5, < 2: 0, else: 10 }",
                Self::bin,
            );
            parser.finish();
        });
    }

    fn bin(&mut self) {
        self.start(K::Bin);
        if !self.eat_word("else") {
            self.cell(false);
        }
        self.expect(
            K::Colon,
            "`:` and points",
            "a bin is written `WHAT: POINTS`, as in `2 to 5: 10` or `else: 0`",
        );
        self.points();
        self.finish();
    }

    fn points(&mut self) {
        self.eat(K::Minus);
        self.expect(K::Number, "a number of points", "points are a number, as in `10`, `-5` or `2.5`");
    }

    /// `table NAME on EVENT … first|all (EXPR, …) { CELL | CELL => EFFECT, … }`, after its word.
    pub(super) fn table(&mut self) {
        const HELP: &str = "for example: table limits on payment first (channel, amount in USD) { ecom | >= 900 USD => review }";
        self.name("the table's name");
        self.clause(K::OnClause, "on", "an event", HELP);
        self.modifiers();
        if !self.eat_word("first") && !self.eat_word("all") {
            let help = "say whether the `first` row that fits fires, or `all` of them, after `mandatory`, `monitor`, \
                `salience` and `effective`";
            self.expected("`first` or `all`", help);
        }
        if self.eat(K::Assign) {
            self.expect(K::Text, "the name of a file in quotes", FILE_HELP);
            return;
        }
        self.expect(K::LParen, "`(` and the columns, or `=` and a file", HELP);
        while !self.recovering {
            self.start(K::Column);
            self.full_expression();
            self.finish();
            if !self.eat(K::Comma) {
                break;
            }
        }
        self.expect(K::RParen, "`,` or `)`", HELP);
        self.braces("table", HELP, Self::row);
    }

    fn row(&mut self) {
        const HELP: &str =
            "a row is written `CELL | CELL => EFFECT, EFFECT`, as in `ecom | >= 900 USD => review, score 70`";
        self.start(K::TableRow);
        loop {
            self.cell(true);
            if !self.eat(K::Pipe) {
                break;
            }
        }
        self.expect(K::FatArrow, "`|` or `=>`", HELP);
        while !self.recovering {
            self.effect();
            if !self.eat(K::Comma) {
                break;
            }
        }
        self.finish();
    }

    /// What is asked of a value. `any`: it may be `-`, nothing.
    pub(super) fn cell(&mut self, any: bool) {
        if self.recovering {
            return;
        }
        self.start(K::Cell);
        if any && self.is(K::Minus) && !matches!(self.kind_at(1), Some(K::Number | K::Duration))
            || self.is_word("missing")
        {
            self.bump();
        } else if self.eat(K::LBrace) {
            loop {
                self.constant();
                if !self.eat(K::Comma) {
                    break;
                }
            }
            self.expect(K::RBrace, "`,` or `}`", CELL_HELP);
        } else {
            if matches!(self.kind_at(0), Some(K::EqEq | K::Ne | K::Lt | K::Le | K::Gt | K::Ge)) {
                self.bump();
            }
            self.constant();
            if self.eat_word("to") {
                self.constant();
            }
        }
        self.finish();
    }

    fn constant(&mut self) {
        if self.recovering {
            return;
        }
        match self.kind_at(0) {
            Some(K::Number | K::Duration | K::Date | K::Minus | K::Ident) => _ = self.operand(0),
            _ => _ = self.expected("a cell", CELL_HELP),
        }
    }
}
