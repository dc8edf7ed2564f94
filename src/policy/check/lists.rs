//! Lists, and what is asked of keys, texts and addresses.

use super::expressions::{Meaning, Operand, Place, Scope};
use super::{Checker, Namespace, literals};
use crate::engine::program::{ListOf, PrefixPlan};
use crate::engine::units::entries::has_card_number;
use crate::policy::ast::{self, Named};
use crate::policy::entries::{self, SAID_BYTES_MAX, Wrong};
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode, SyntaxToken};
use crate::policy::typed::{Compare, Expr, FieldIx, FieldType, List, ListEntry, ListIx, Span, Type};
use crate::token::Tokenizer;
use jiff::tz::TimeZone;
use std::collections::HashSet;

/// What lists can be of besides keys.
const KINDS: &[(&str, ListOf)] = &[
    ("text", ListOf::Text),
    ("ip", ListOf::Ip),
    ("int", ListOf::Int),
    ("country", ListOf::Country),
    ("currency", ListOf::Currency),
    ("mcc", ListOf::Mcc),
    ("bin", ListOf::Bin),
];

/// The most entries of all lists of a policy.
pub(super) const ENTRIES_MAX: usize = 1 << 17;

/// An entry as it stands in a policy or a file, with places.
#[derive(Default)]
struct WrittenEntry {
    text: String,
    at: Span,
    until: Option<i64>,
    owner: Option<(String, Span)>,
    reason: Option<(String, Span)>,
}

impl Checker<'_> {
    /// `list NAME of KIND { … }`, `list NAME of KIND = "FILE"`.
    pub(super) fn list(&mut self, node: &SyntaxNode) {
        let (Some(name), Some(kind)) = (ast::name(node), ast::clause_name(node, K::OfClause)) else { return };
        if !self.declare(Namespace::List, &name, "a list") {
            return;
        }
        let Some(of) = self.list_of(&kind) else {
            self.poisoned.insert(name.text);
            return;
        };
        let (mut entries, mut seen) = (Vec::new(), HashSet::new());
        let sheet = self.sheet_of(node, K::ListFile);
        for entry in ast::children(sheet.as_ref().unwrap_or(node), K::ListEntry) {
            let written =
                if sheet.is_some() { self.entry_of_line(&entry) } else { self.written_entry(&entry) };
            let at = written.at;
            if self.entries_left == 0 {
                let message = format!("the lists of a policy have at most {ENTRIES_MAX} entries");
                self.push(
                    at,
                    message,
                    "one too many",
                    "add further entries while the policy runs: `tollctl list add`",
                );
                break;
            }
            self.entries_left -= 1;
            let Some(read) = self.list_entry(written, of, &kind.text) else { continue };
            if !seen.insert(read.entry) {
                self.push(at, "this entry is in the list twice", "this entry", "remove one of the two");
                continue;
            }
            entries.push(read);
        }
        self.lists.insert(name.text.clone(), ListIx(self.policy.lists.len() as u16));
        self.policy.lists.push(List { name: name.text, of, entries });
    }

    fn list_of(&mut self, kind: &Named) -> Option<ListOf> {
        if let Some((_, of)) = KINDS.iter().find(|(word, _)| *word == kind.text) {
            return Some(*of);
        }
        if matches!(kind.text.as_str(), "bool" | "decimal" | "money" | "geo" | "enum" | "time" | "duration") {
            let kinds: Vec<&str> = KINDS.iter().map(|(word, _)| *word).collect();
            let message = format!("there are no lists of `{}`", kind.text);
            let help = format!("lists are of {}, or of a kind of keys", kinds.join(", "));
            self.push(kind.span, message, "not possible", help);
            return None;
        }
        self.entity_named(kind).map(|entity| ListOf::Entity(entity.0))
    }

    /// `VALUE [until DATE] [owner "…"] [reason "…"]`.
    fn written_entry(&mut self, node: &SyntaxNode) -> WrittenEntry {
        let first = ast::tokens(node).next().map_or_else(|| ast::span(node), |token| ast::token_span(&token));
        let mut written = WrittenEntry { at: first, ..WrittenEntry::default() };
        let (mut word, mut seen) = ("", false);
        for token in ast::tokens(node) {
            let at = ast::token_span(&token);
            let said = || Some((literals::text(token.text()), at));
            match (word, token.kind()) {
                ("", K::Ident) if seen && is_clause(&token) => word = clause(&token),
                ("", kind) => {
                    written.at.end = at.end;
                    seen = true;
                    match kind {
                        K::Text => written.text.push_str(&literals::text(token.text())),
                        K::Number => written.text.push_str(&token.text().replace('_', "")),
                        _ => written.text.push_str(token.text()),
                    }
                }
                ("until", K::Date) => written.until = self.instant(&token, &TimeZone::UTC),
                ("owner", K::Text) => written.owner = said(),
                ("reason", K::Text) => written.reason = said(),
                _ => {}
            }
            if !word.is_empty() && token.kind() != K::Ident {
                word = "";
            }
        }
        written
    }

    /// The same from a line of a file.
    fn entry_of_line(&mut self, node: &SyntaxNode) -> WrittenEntry {
        let first = node.children().find_map(|cell| ast::token(&cell, K::Text));
        let at = first.map_or_else(|| ast::span(node), |token| ast::token_span(&token));
        let mut written = WrittenEntry { at, ..WrittenEntry::default() };
        for cell in node.children() {
            let Some(token) = ast::token(&cell, K::Text) else { continue };
            // A quote in quotes is there twice.
            let (text, at) = (token.text().replace("\"\"", "\""), ast::token_span(&token));
            match cell.kind() {
                K::EntryCell => (written.text, written.at) = (text, at),
                K::UntilCell => {
                    written.until = entries::instant(&text);
                    if written.until.is_none() {
                        let help =
                            "write a date, as in 2026-12-31, or an instant, as in 2026-12-31T08:30:00Z";
                        self.push(at, format!("there is no date `{text}`"), "not in the calendar", help);
                    }
                }
                K::OwnerCell => written.owner = Some((text, at)),
                _ => written.reason = Some((text, at)),
            }
        }
        written
    }

    fn list_entry(&mut self, written: WrittenEntry, of: ListOf, kind: &str) -> Option<ListEntry> {
        let WrittenEntry { text, at, until, owner, reason } = written;
        for (said, at) in [&owner, &reason].into_iter().flatten() {
            let found = if said.len() > SAID_BYTES_MAX {
                Some((format!("this has more than {SAID_BYTES_MAX} bytes"), "say it shorter"))
            } else if has_card_number(said) {
                Some(("this holds what could be a raw card number".to_owned(), "leave it out"))
            } else {
                None
            };
            if let Some((message, help)) = found {
                self.push(*at, message, "this text", help);
            }
        }
        let read = entries::read(of, kind, &text, &Tokenizer::default());
        let said = |said: Option<(String, _)>| said.map(|(said, _)| said).unwrap_or_default();
        match read {
            Ok(entry) => Some(ListEntry { text, entry, until, owner: said(owner), reason: said(reason) }),
            Err((message, help)) => {
                self.push(at, message, "this entry", help);
                None
            }
        }
    }

    /// `… in LIST` of something that is neither money nor a place.
    pub(super) fn in_list(
        &mut self,
        node: &SyntaxNode,
        operand: Operand,
        name: &Named,
        negated: bool,
        scope: Scope,
    ) -> Option<(Expr, Type)> {
        let (kind, fits): (String, fn(ListOf, &Operand) -> bool) = match &operand {
            Operand::Key(_, entity) => (
                self.policy.entities[entity.index()].clone(),
                |of, operand| matches!((of, operand), (ListOf::Entity(of), Operand::Key(_, entity)) if of == entity.0),
            ),
            Operand::Text(_) => ("text".to_owned(), |of, _| of == ListOf::Text),
            Operand::Address(_) => ("ip".to_owned(), |of, _| of == ListOf::Ip),
            Operand::Value(_, ty) => {
                let (word, of) = match ty {
                    Type::Int => ("int", ListOf::Int),
                    Type::Country => ("country", ListOf::Country),
                    Type::Currency => ("currency", ListOf::Currency),
                    Type::Mcc => ("mcc", ListOf::Mcc),
                    Type::Bin => ("bin", ListOf::Bin),
                    _ => return None,
                };
                let fits: fn(ListOf, &Operand) -> bool = match of {
                    ListOf::Int => |of, _| of == ListOf::Int,
                    ListOf::Country => |of, _| of == ListOf::Country,
                    ListOf::Currency => |of, _| of == ListOf::Currency,
                    ListOf::Mcc => |of, _| of == ListOf::Mcc,
                    _ => |of, _| of == ListOf::Bin,
                };
                (word.to_owned(), fits)
            }
            Operand::Place | Operand::Written(_) => return None,
        };
        let Some(list) = self.lists.get(&name.text).copied() else {
            let lists: Vec<String> = self.policy.lists.iter().map(|list| list.name.clone()).collect();
            let lists: Vec<&str> = lists.iter().map(String::as_str).collect();
            self.unknown(name, "list", &lists, &format!("declare it with `list {} of {kind}`", name.text));
            return None;
        };
        let of = self.policy.lists[list.index()].of;
        if !fits(of, &operand) {
            let word = |kind: u16| self.policy.entities[usize::from(kind)].as_str();
            let of_word = of.word(word);
            let is_key = matches!(of, ListOf::Entity(_)) && matches!(operand, Operand::Key(..));
            let message = match is_key {
                true => format!(
                    "the list `{}` holds keys of kind `{of_word}`; this is of kind `{kind}`",
                    name.text
                ),
                false => format!("the list `{}` is of `{of_word}`; this is of type `{kind}`", name.text),
            };
            let help = if is_key { "use a list of the key's kind" } else { "use a list of its type" };
            self.push(ast::span(node), message, "never in it", help);
            return None;
        }
        let inside = match operand {
            Operand::Key(field, _) | Operand::Text(field) | Operand::Address(field) => {
                Expr::InList(field, list)
            }
            Operand::Value(value, _) => {
                let stored = matches!(scope.place, Place::Let | Place::Aggregate);
                if stored && !matches!(value, Expr::Amended(..)) && self.mentions_amendment(&value) {
                    let message = "what an amendment may change is looked up in a list";
                    let help = "look up the field itself, as in `result.country in LIST`: that is done when the amendment comes";
                    self.push(ast::span(node), message, "computed from an amendment", help);
                    return None;
                }
                Expr::Listed(Box::new(value), list)
            }
            Operand::Place | Operand::Written(_) => return None,
        };
        Some((if negated { Expr::Not(Box::new(inside)) } else { inside }, Type::Bool))
    }

    /// The field of type ip that a name stands for, if it does. Reports nothing.
    pub(super) fn address(&self, node: &SyntaxNode, scope: Scope) -> Option<FieldIx> {
        let field = match node.kind() {
            K::NameRef => match self.meaning(&ast::word(node)?.text, scope) {
                Meaning::Field(field) => field,
                _ => return None,
            },
            K::PathExpr => {
                let (event, field) = ast::path(node)?;
                let own = self.events.get(&event.text) == Some(&scope.event);
                own.then(|| self.fields[scope.event.index()].get(&field.text).copied())??
            }
            _ => return None,
        };
        matches!(self.field_type(scope.event, field), Some(FieldType::Ip)).then_some(field)
    }

    /// `… in "10.0.0.0/8"`.
    pub(super) fn in_prefix(
        &mut self,
        field: FieldIx,
        token: &SyntaxToken,
        negated: bool,
    ) -> Option<(Expr, Type)> {
        let prefix = self.said(token, entries::prefix(&literals::text(token.text())))?;
        let inside = Expr::Within(field, prefix);
        Some((if negated { Expr::Not(Box::new(inside)) } else { inside }, Type::Bool))
    }

    /// What was read from a token, or the mistake told there.
    fn said<T>(&mut self, token: &SyntaxToken, read: Result<T, Wrong>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err((message, help)) => {
                self.push(ast::token_span(token), message, "this text", help);
                None
            }
        }
    }

    /// A text or an address compared with another, or with what is written in quotes; `None` when neither side is one.
    pub(super) fn written_comparison(
        &mut self,
        op: Compare,
        symbol: &str,
        node: &SyntaxNode,
        sides: (&Operand, &Operand),
        scope: Scope,
    ) -> Option<Option<(Expr, Type)>> {
        let equal = match sides {
            (Operand::Text(a), Operand::Text(b)) => Some(Expr::SameText(*a, *b)),
            (Operand::Address(a), Operand::Address(b)) => Some(Expr::SameKey(*a, *b)),
            (Operand::Text(field), Operand::Written(token))
            | (Operand::Written(token), Operand::Text(field)) => {
                let text = literals::text(token.text());
                let read = self.said(token, entries::words_of_text(&text));
                if read.is_none() || !self.fits(*field, token, &text, scope) {
                    return Some(None);
                }
                Some(Expr::TextIs(*field, text))
            }
            (Operand::Address(field), Operand::Written(token))
            | (Operand::Written(token), Operand::Address(field)) => {
                let Some(prefix) = self.said(token, entries::prefix(&literals::text(token.text()))) else {
                    return Some(None);
                };
                if prefix.bits != PrefixPlan::ALL_BITS {
                    let help = format!("write `in {}`", token.text());
                    self.push(ast::token_span(token), "a prefix is many addresses", "not one address", help);
                    return Some(None);
                }
                Some(Expr::Within(*field, prefix))
            }
            (Operand::Text(_) | Operand::Address(_), _) | (_, Operand::Text(_) | Operand::Address(_)) => None,
            _ => return None,
        };
        let Some(equal) = equal else {
            let is_text = matches!(sides.0, Operand::Text(_)) || matches!(sides.1, Operand::Text(_));
            let (message, help) = match is_text {
                true => (
                    "a text is compared with something that is no text",
                    "write a text in quotes: `… == \"abc\"`",
                ),
                false => (
                    "an address is compared with something that is no address",
                    "write an address in quotes, as in `… == \"10.1.2.3\"` or `… in \"10.0.0.0/8\"`",
                ),
            };
            self.push(ast::span(node), message, "these do not go together", help);
            return Some(None);
        };
        Some(match op {
            Compare::Eq => Some((equal, Type::Bool)),
            Compare::Ne => Some((Expr::Not(Box::new(equal)), Type::Bool)),
            _ => {
                let message = format!("texts and addresses have no order; `{symbol}` cannot compare them");
                self.push(ast::span(node), message, "no numbers", "use `==`, `!=`, `in` or `starts_with`");
                None
            }
        })
    }

    /// Whether a text can stand in a field.
    fn fits(&mut self, field: FieldIx, token: &SyntaxToken, text: &str, scope: Scope) -> bool {
        let Some(FieldType::Text(bytes)) = self.field_type(scope.event, field).cloned() else { return false };
        if text.len() <= usize::from(bytes) {
            return true;
        }
        let name = self.event(scope.event).fields[field.index()].name.clone();
        let message = format!("`{name}` has at most {bytes} bytes; this text has {}", text.len());
        self.push(ast::token_span(token), message, "never equal", "shorten it, or declare a longer `text`");
        false
    }

    /// `starts_with(field, "abc")`.
    pub(super) fn starts_with(
        &mut self,
        node: &SyntaxNode,
        values: &[SyntaxNode],
        scope: Scope,
    ) -> Option<(Expr, Type)> {
        const HELP: &str = "for example: starts_with(email, \"test\")";
        if let [of, with] = values {
            let (of, with) = (self.operand(of, scope, None)?, self.operand(with, scope, None)?);
            if let (Operand::Text(field), Operand::Written(token)) = (of, with) {
                let text = literals::text(token.text());
                self.said(&token, entries::words_of_text(&text))?;
                return self
                    .fits(field, &token, &text, scope)
                    .then_some((Expr::TextStarts(field, text), Type::Bool));
            }
        }
        self.push(ast::span(node), "`starts_with` takes a field of type text and a text in quotes", "", HELP);
        None
    }
}

fn is_clause(token: &SyntaxToken) -> bool {
    !clause(token).is_empty()
}

fn clause(token: &SyntaxToken) -> &'static str {
    match token.text() {
        "until" => "until",
        "owner" => "owner",
        "reason" => "reason",
        _ => "",
    }
}
