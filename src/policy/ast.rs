//! Typed views of the syntax tree: what each node consists of. Everything may be absent, since any source has a
//! tree; the checker only looks closely at declarations that were read without error.

use super::syntax::{SyntaxKind, SyntaxNode, SyntaxToken};
use super::typed::Span;

/// The first child of this kind.
#[must_use]
pub fn child(node: &SyntaxNode, kind: SyntaxKind) -> Option<SyntaxNode> {
    node.children().find(|child| child.kind() == kind)
}

/// All children of this kind.
pub fn children(node: &SyntaxNode, kind: SyntaxKind) -> impl Iterator<Item = SyntaxNode> {
    node.children().filter(move |child| child.kind() == kind)
}

/// The first token of this kind right inside the node.
#[must_use]
pub fn token(node: &SyntaxNode, kind: SyntaxKind) -> Option<SyntaxToken> {
    tokens(node).find(|token| token.kind() == kind)
}

/// The tokens right inside the node, trivia left out.
pub fn tokens(node: &SyntaxNode) -> impl Iterator<Item = SyntaxToken> {
    node.children_with_tokens()
        .filter_map(|element| element.into_token())
        .filter(|token| !token.kind().is_trivia())
}

/// Whether the node holds this word right inside.
#[must_use]
pub fn has_word(node: &SyntaxNode, word: &str) -> bool {
    tokens(node).any(|token| token.kind() == SyntaxKind::Ident && token.text() == word)
}

/// The first expression right inside the node.
#[must_use]
pub fn expression(node: &SyntaxNode) -> Option<SyntaxNode> {
    expressions(node).next()
}

/// The expressions right inside the node.
pub fn expressions(node: &SyntaxNode) -> impl Iterator<Item = SyntaxNode> {
    use SyntaxKind as K;
    node.children().filter(|child| {
        matches!(
            child.kind(),
            K::NameRef
                | K::PathExpr
                | K::Literal
                | K::MoneyLiteral
                | K::UnitLiteral
                | K::ParenExpr
                | K::PrefixExpr
                | K::BinaryExpr
                | K::IsMissingExpr
                | K::InExpr
                | K::CallExpr
        )
    })
}

/// The bytes of a token.
#[must_use]
pub fn token_span(token: &SyntaxToken) -> Span {
    let range = token.text_range();
    Span { start: range.start().into(), end: range.end().into() }
}

/// The bytes of a node, without trivia at its end.
#[must_use]
pub fn span(node: &SyntaxNode) -> Span {
    let range = node.text_range();
    let mut end = range.end();
    let mut last = node.last_token();
    while let Some(token) =
        last.filter(|token| token.kind().is_trivia() && token.text_range().start() > range.start())
    {
        end = token.text_range().start();
        last = token.prev_token();
    }
    Span { start: range.start().into(), end: end.into() }
}

/// The bytes from the first token of the node to the end of its line: for errors about a whole declaration.
#[must_use]
pub fn head_span(node: &SyntaxNode) -> Span {
    let first = node.first_token().map(|token| token_span(&token));
    let name =
        child(node, SyntaxKind::Name).or_else(|| child(node, SyntaxKind::NameRef)).map(|name| span(&name));
    let start = first.unwrap_or_default();
    Span { start: start.start, end: name.map_or(start.end, |name| name.end) }
}

/// A name with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub text: String,
    /// Where it is written.
    pub span: Span,
}

impl Named {
    /// Of a token.
    #[must_use]
    pub fn of(token: &SyntaxToken) -> Self {
        Self { text: token.text().to_owned(), span: token_span(token) }
    }
}

/// The name that the node declares.
#[must_use]
pub fn name(node: &SyntaxNode) -> Option<Named> {
    word(&child(node, SyntaxKind::Name)?)
}

/// The name that the node uses.
#[must_use]
pub fn name_ref(node: &SyntaxNode) -> Option<Named> {
    word(&child(node, SyntaxKind::NameRef)?)
}

/// The names that the node uses, in order.
#[must_use]
pub fn name_refs(node: &SyntaxNode) -> Vec<Named> {
    children(node, SyntaxKind::NameRef).filter_map(|name| word(&name)).collect()
}

/// The name used in a clause of this kind: of `on payment`, `payment`.
#[must_use]
pub fn clause_name(node: &SyntaxNode, clause: SyntaxKind) -> Option<Named> {
    name_ref(&child(node, clause)?)
}

/// The first word of a node.
#[must_use]
pub fn word(node: &SyntaxNode) -> Option<Named> {
    token(node, SyntaxKind::Ident).map(|token| Named::of(&token))
}

/// Both names of `EVENT.FIELD`.
#[must_use]
pub fn path(node: &SyntaxNode) -> Option<(Named, Named)> {
    let mut words = tokens(node).filter(|token| token.kind() == SyntaxKind::Ident);
    Some((Named::of(&words.next()?), Named::of(&words.next()?)))
}
