//! Expressions, by precedence: `or`, `and`, `not`, comparisons, `+ -`, `* /`, unary `-`, `in`.

use super::{DEPTH_MAX, EXPRESSION_WORDS, Parser, span};
use crate::engine::units::Currency;
use crate::policy::syntax::SyntaxKind as K;

const OR: u8 = 1;
const AND: u8 = 3;
const NOT: u8 = 5;
const COMPARE: u8 = 7;
const SUM: u8 = 9;
const PRODUCT: u8 = 11;
const NEGATE: u8 = 13;

impl Parser<'_> {
    /// One whole expression. After an error the parser is recovering.
    pub(super) fn expression(&mut self) {
        let _ = self.binding(0, 0);
    }

    /// An expression whose operators bind at least as tightly as `least`, found `depth` levels down. Returns the height
    /// of its tree.
    fn binding(&mut self, least: u8, depth: u32) -> Option<u32> {
        if depth >= DEPTH_MAX {
            self.too_deep();
            return None;
        }
        let start = self.checkpoint();
        let mut height = self.operand(depth)?;
        let mut compared = false;
        while !self.recovering {
            let Some(kind) = self.kind_at(0) else { break };
            let word = if kind == K::Ident { self.text_at(0) } else { "" };
            let strength = match (kind, word) {
                (_, "or") => OR,
                (_, "and") => AND,
                (_, "is") => COMPARE,
                (K::EqEq | K::Ne | K::Lt | K::Le | K::Gt | K::Ge, _) => COMPARE,
                (K::Plus | K::Minus, _) => SUM,
                (K::Star | K::Slash, _) => PRODUCT,
                (K::Assign, _) if least <= COMPARE => {
                    self.error(
                        "`=` does not compare".to_owned(),
                        "here".to_owned(),
                        "compare with `==`; `=` only gives a name to something".to_owned(),
                    );
                    break;
                }
                (K::FatArrow, _) if least <= COMPARE => {
                    let help = "compare with `>=`; `=>` stands between a row of a table and what it does";
                    self.error("`=>` does not compare".to_owned(), "here".to_owned(), help.to_owned());
                    break;
                }
                (K::Unknown, _) => {
                    self.unknown_operator();
                    break;
                }
                _ => break,
            };
            if strength < least {
                break;
            }
            if strength == COMPARE && compared {
                self.error(
                    "comparisons do not chain".to_owned(),
                    "a second comparison".to_owned(),
                    "join two comparisons with `and`, as in `a < b and b < c`, or use parentheses".to_owned(),
                );
                break;
            }
            compared |= strength == COMPARE;
            if word == "is" {
                self.start_at(start, K::IsMissingExpr);
                self.bump();
                self.eat_word("not");
                self.expect_word(
                    "missing",
                    "only `is missing` and `is not missing` exist; compare values with `==`",
                );
                self.finish();
                height += 1;
            } else {
                self.start_at(start, K::BinaryExpr);
                self.bump();
                let right = self.binding(strength + 1, depth + 1);
                self.finish();
                height = height.max(right?) + 1;
            }
            if depth + height >= DEPTH_MAX {
                self.too_deep();
                return None;
            }
        }
        if self.recovering { None } else { Some(height) }
    }

    fn too_deep(&mut self) {
        self.error(
            "this expression is too deep".to_owned(),
            format!("more than {DEPTH_MAX} operators or parentheses inside each other"),
            "write two rules, or give parts of it names with `let`".to_owned(),
        );
    }

    fn unknown_operator(&mut self) {
        let text = self.text_at(0);
        let help = match text {
            "&&" => "write `and`",
            "||" => "write `or`",
            "!" => "write `not`",
            "%" => "write 5 % as `0.05`",
            _ if text.starts_with('"') => {
                self.expected("an expression", "");
                return;
            }
            _ if text.chars().any(char::is_alphabetic) => {
                "a name is made of letters a–z, digits and `_`, and starts with a letter"
            }
            _ => "the operators are and, or, not, == != < <= > >=, + - * /, in, is missing",
        };
        let found = self.found();
        self.error(format!("{found} has no meaning here"), "here".to_owned(), help.to_owned());
    }

    /// A prefix operator with its operand, or a primary with its `in`.
    pub(super) fn operand(&mut self, depth: u32) -> Option<u32> {
        let strength = if self.is_word("not") {
            NOT
        } else if self.is(K::Minus) {
            NEGATE
        } else {
            return self.primary_in(depth);
        };
        self.start(K::PrefixExpr);
        self.bump();
        let inner = self.binding(strength, depth + 1);
        self.finish();
        Some(inner? + 1)
    }

    /// `PRIMARY`, `PRIMARY in NAME`, `PRIMARY not in NAME`, `PRIMARY in "zone"`.
    fn primary_in(&mut self, depth: u32) -> Option<u32> {
        let start = self.checkpoint();
        let mut height = self.primary(depth)?;
        while !self.recovering {
            let negated = self.is_word("not") && self.kind_at(1) == Some(K::Ident) && self.text_at(1) == "in";
            if !negated && !self.is_word("in") {
                break;
            }
            self.start_at(start, K::InExpr);
            if negated {
                self.bump();
            }
            self.bump();
            if self.eat(K::Number) {
                const HELP: &str = "a range of merchant categories is written `mcc in 5000 to 5999`";
                self.expect_word("to", HELP);
                self.expect(K::Number, "the last of the range", HELP);
            } else if !self.eat(K::Text) {
                self.name_ref("a currency, a list, a range or a \"time zone\"");
            }
            self.finish();
            height += 1;
            if depth + height >= DEPTH_MAX {
                self.too_deep();
                return None;
            }
        }
        if self.recovering { None } else { Some(height) }
    }

    fn primary(&mut self, depth: u32) -> Option<u32> {
        let Some(kind) = self.kind_at(0) else {
            self.expected("an expression", "complete the expression");
            return None;
        };
        match kind {
            K::Number => self.number(),
            K::Duration | K::Date | K::Text => self.literal(),
            K::LParen => return self.parentheses(depth),
            K::Ident if matches!(self.text_at(0), "true" | "false") => self.literal(),
            K::Ident if self.in_file && matches!(self.text_at(0), "TRUE" | "FALSE") => self.literal(),
            K::Ident if EXPRESSION_WORDS.contains(&self.text_at(0)) => {
                self.expected("an expression", "something to compute or compare belongs here");
            }
            K::Ident if self.at_declaration() => {
                self.expected("an expression", "complete the expression");
            }
            K::Ident if self.kind_at(1) == Some(K::LParen) => return self.call(depth),
            K::Ident if self.kind_at(1) == Some(K::Dot) => {
                self.start(K::PathExpr);
                self.bump();
                self.bump();
                self.expect(K::Ident, "a field name", "write `event.field`");
                self.finish();
            }
            K::Ident => {
                self.start(K::NameRef);
                self.bump();
                self.finish();
            }
            K::Unknown => self.unknown_operator(),
            _ => {
                self.expected("an expression", "something to compute or compare belongs here");
            }
        }
        if self.recovering { None } else { Some(1) }
    }

    fn literal(&mut self) {
        self.start(K::Literal);
        self.bump();
        self.finish();
    }

    /// A number, or money when a currency follows on the same line.
    fn number(&mut self) {
        let word =
            if self.kind_at(1) == Some(K::Ident) && !self.on_new_line(1) { self.text_at(1) } else { "" };
        if word.len() == 3 && word.bytes().all(|b| b.is_ascii_uppercase()) {
            self.start(K::MoneyLiteral);
            self.bump();
            self.bump();
            self.finish();
            return;
        }
        if matches!(word, "km" | "metres") {
            self.start(K::UnitLiteral);
            self.bump();
            self.bump();
            if word == "km"
                && self.is(K::Slash)
                && self.kind_at(1) == Some(K::Ident)
                && self.text_at(1) == "h"
            {
                self.bump();
                self.bump();
            }
            self.finish();
            return;
        }
        self.literal();
        if let Some(currency) = Currency::from_alpha(&word.to_ascii_uppercase()) {
            self.error(
                format!("`{word}` is not a currency"),
                "currencies are in capitals".to_owned(),
                format!("write `{}`", currency.alpha()),
            );
        } else if let Some(right) = match word {
            "km_h" | "kmh" | "kph" => Some("km/h"),
            "meter" | "meters" | "metre" => Some("metres"),
            "m" => Some("30 metres` or, for minutes, `30m"),
            _ => None,
        } {
            self.error(
                format!("`{word}` is not a unit"),
                "this unit".to_owned(),
                format!("write `{right}`; the units are `km`, `metres` and `km/h`"),
            );
        }
    }

    fn parentheses(&mut self, depth: u32) -> Option<u32> {
        self.start(K::ParenExpr);
        let open = self.token(0);
        self.bump();
        let inner = self.binding(0, depth + 1);
        if inner.is_some() && !self.recovering && !self.eat(K::RParen) {
            let found = self.found();
            let at = open.map_or_else(Default::default, |open| span(open.start, open.end));
            self.error_at(
                at,
                format!("this parenthesis is not closed; found {found}"),
                "opened here".to_owned(),
                "add `)`".to_owned(),
            );
        }
        self.finish();
        Some(inner? + 1)
    }

    /// `NAME(ARG, …)`; an argument may have a `where`.
    pub(super) fn call(&mut self, depth: u32) -> Option<u32> {
        let mut height = 0;
        self.start(K::CallExpr);
        self.bump();
        let open = self.token(0);
        self.bump();
        while !self.recovering && !self.is(K::RParen) {
            self.start(K::Arg);
            let value = self.binding(0, depth + 1);
            height = height.max(value.unwrap_or(0));
            if !self.recovering && self.is_word("where") {
                self.start(K::WhereClause);
                self.bump();
                let filter = self.binding(0, depth + 1);
                height = height.max(filter.unwrap_or(0));
                self.finish();
            }
            self.finish();
            if self.recovering || !self.eat(K::Comma) {
                break;
            }
        }
        if !self.recovering && !self.eat(K::RParen) {
            if self.on_new_line(0) || matches!(self.kind_at(0), Some(K::LBrace | K::RBrace)) {
                let found = self.found();
                let at = open.map_or_else(Default::default, |open| span(open.start, open.end));
                self.error_at(
                    at,
                    format!("this parenthesis is not closed; found {found}"),
                    "opened here".to_owned(),
                    "add `)`".to_owned(),
                );
            } else {
                self.expected("`,` or `)`", "arguments are separated by `,` and end with `)`");
            }
        }
        self.finish();
        if self.recovering { None } else { Some(height + 1) }
    }
}
