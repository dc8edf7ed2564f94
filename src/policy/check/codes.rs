//! Codes as written: merchant categories and the leading digits of cards.

use super::{Checker, literals};
use crate::engine::units::codes::Bin;
use crate::policy::ast;
use crate::policy::syntax::SyntaxToken;

impl Checker<'_> {
    /// The number of a merchant category.
    pub(super) fn mcc(&mut self, token: &SyntaxToken) -> Option<i64> {
        let number = literals::mcc(token.text());
        if number.is_none() {
            let message = "a merchant category is four digits";
            let help = "write all four, as in `5411` or `0742`; a range of them is `mcc in 5000 to 5999`";
            self.push(ast::token_span(token), message, "not a category", help);
        }
        number
    }

    /// The numbers of a range of merchant categories, both ends included.
    pub(super) fn mcc_range(&mut self, first: &SyntaxToken, last: &SyntaxToken) -> Option<(i64, i64)> {
        let (start, end) = (self.mcc(first), self.mcc(last));
        let (start, end) = (start?, end?);
        if start > end {
            let message = "this range ends before it starts";
            let help = format!("write `{} to {}`", last.text(), first.text());
            self.push(ast::token_span(last), message, "less than its start", help);
            return None;
        }
        Some((start, end))
    }

    /// The number of the leading digits of a card.
    pub(super) fn bin(&mut self, token: &SyntaxToken) -> Option<i64> {
        let bin = Bin::from_digits(token.text());
        if bin.is_none() {
            let message = "the leading digits of a card are 6 to 8 digits";
            let help = "write them as in `411111` or `41111122`; never the whole number of a card";
            self.push(ast::token_span(token), message, "not 6 to 8 digits", help);
        }
        bin.map(|bin| i64::from(bin.0))
    }
}
