//! A policy's text in its canonical layout. What it says stays the same, and so does every comment.
//!
//! Lines are at most [`WIDTH`] columns where they can be broken, indented by two spaces. What is in braces stays on one
//! line when it was written on one and fits; when the brace ends its line, the items keep the lines they were given.
//! Conditions are broken before `and` and `or`, what is separated by commas behind them. The names of features, `let`s,
//! reasons and lists that follow each other line by line are padded to one width, and so are the cells of a table and what
//! stands before the bins of a scorecard; their rows and inputs have a line each. One empty line is kept between
//! declarations and between items, never two.
//!
//! The layout is made from the lossless syntax tree: tokens are written in their order, with their comments, and nodes
//! only decide where lines end. A node of a kind that is not known here keeps the lines it was written in. As a
//! proof, the result is read again before it is given out: it must have the same tree.

mod page;

use super::ast;
use super::diagnostics::Diagnostic;
use super::parser::{DECLARATIONS, RESERVED, SOURCE_BYTES_MAX, parse};
use super::syntax::{SyntaxKind as K, SyntaxNode, SyntaxToken};
use super::typed::Span;
use page::Doc;
use rowan::NodeOrToken;
use std::collections::HashMap;

/// Columns that lines should not pass.
pub const WIDTH: usize = 100;

/// The names that are padded to one width are at most this long; a longer one stands out.
const PADDED_MAX: usize = 40;

/// One child of a node.
type Element = NodeOrToken<SyntaxNode, SyntaxToken>;

/// The text in its canonical layout. A text with errors of the grammar is refused with them.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    if text.len() > SOURCE_BYTES_MAX {
        let message =
            format!("this policy is {} bytes long; at most {SOURCE_BYTES_MAX} are read", text.len());
        let help = "move long lists out of the policy text";
        return Err(vec![Diagnostic::error(Span::default(), message, "", help)]);
    }
    let parsed = parse(text);
    if !parsed.errors.is_empty() {
        return Err(parsed.errors);
    }
    let formatted = page::write(&Layout::new(&parsed.root).source(&parsed.root));
    let again = parse(&formatted);
    if !again.errors.is_empty() || !same_tree(&parsed.root, &again.root) {
        let message = "this policy was not checked: its layout would change what it says";
        let help = "report this policy: formatting must not change it, and did not";
        return Err(vec![Diagnostic::error(Span::default(), message, "", help)]);
    }
    Ok(formatted)
}

/// Whether two trees are the same but for spaces and line ends.
fn same_tree(a: &SyntaxNode, b: &SyntaxNode) -> bool {
    let parts = |root: &SyntaxNode| {
        root.descendants_with_tokens()
            .filter(|element| element.kind() != K::Whitespace)
            .map(|element| {
                let text = element.as_token().map(|token| token.text().trim_end().to_owned());
                (element.kind(), text)
            })
            .filter(|(kind, _)| *kind != K::Comment)
            .collect::<Vec<_>>()
    };
    let comments = |root: &SyntaxNode| {
        root.descendants_with_tokens()
            .filter_map(NodeOrToken::into_token)
            .filter(|token| token.kind() == K::Comment)
            .map(|token| token.text().trim_end().to_owned())
            .collect::<Vec<_>>()
    };
    parts(a) == parts(b) && comments(a) == comments(b)
}

/// A comment on a line of its own.
struct Comment {
    text: String,
    /// After an empty line.
    blank: bool,
}

/// How a token stood in the source.
#[derive(Default)]
struct Standing {
    /// The first on its line.
    newline: bool,
    /// After an empty line.
    blank: bool,
    /// The comments before it, until they are written.
    before: Vec<Comment>,
    /// The comment behind it on its line.
    behind: Option<String>,
    /// Spaces to put behind it.
    padding: usize,
}

/// The tree's way onto the page.
struct Layout {
    /// Of each significant token, by its first byte.
    tokens: HashMap<u32, Standing>,
    /// The comments after the last token.
    end: Vec<Comment>,
}

impl Layout {
    fn new(root: &SyntaxNode) -> Self {
        let mut layout = Self { tokens: HashMap::new(), end: Vec::new() };
        let mut last: Option<u32> = None;
        let (mut newlines, mut newline) = (0, true);
        let mut before = Vec::new();
        for token in root.descendants_with_tokens().filter_map(NodeOrToken::into_token) {
            match token.kind() {
                K::Whitespace => {
                    newlines += token.text().matches('\n').count();
                    newline |= newlines > 0;
                }
                K::Comment => {
                    let text = token.text().trim_end().to_owned();
                    let behind = last.filter(|_| !newline).and_then(|last| layout.tokens.get_mut(&last));
                    match behind {
                        Some(standing) => standing.behind = Some(text),
                        None => before.push(Comment { text, blank: newlines > 1 }),
                    }
                    newlines = 0;
                }
                _ => {
                    let before = std::mem::take(&mut before);
                    let standing =
                        Standing { newline, blank: newlines > 1, before, behind: None, padding: 0 };
                    layout.tokens.insert(start(&token), standing);
                    last = Some(start(&token));
                    (newlines, newline) = (0, false);
                }
            }
        }
        layout.end = before;
        layout.pad(root);
        layout
    }

    fn standing(&self, token: &SyntaxToken) -> Option<&Standing> {
        self.tokens.get(&start(token))
    }

    /// Whether the token was the first on its line.
    fn on_new_line(&self, token: &SyntaxToken) -> bool {
        self.standing(token).is_some_and(|standing| standing.newline)
    }

    /// Pads the names of declarations of one kind that follow each other line by line.
    fn pad(&mut self, root: &SyntaxNode) {
        let mut run: Vec<SyntaxToken> = Vec::new();
        let mut kind = K::Root;
        for node in root.children() {
            let apart =
                node.first_token().and_then(|token| self.standing(&token).map(is_apart)).unwrap_or(true);
            if apart || node.kind() != kind {
                self.pad_run(&run);
                run.clear();
            }
            kind = node.kind();
            let padded = match kind {
                // What is behind the name of a feature on one event does not stand in one column with the others.
                K::FeatureDecl => ast::child(&node, K::OnClause).is_none(),
                _ => matches!(kind, K::LetDecl | K::ReasonDecl | K::ListDecl),
            };
            if padded {
                run.extend(ast::child(&node, K::Name).and_then(|name| ast::token(&name, K::Ident)));
            }
        }
        self.pad_run(&run);
        for node in root.descendants() {
            match node.kind() {
                K::TableDecl => self.pad_rows(&node),
                K::ScorecardDecl => self.pad_inputs(&node),
                _ => {}
            }
        }
    }

    /// Pads the cells of a table to the width of their columns.
    fn pad_rows(&mut self, table: &SyntaxNode) {
        let mut columns: Vec<Vec<(SyntaxToken, usize)>> = Vec::new();
        for row in ast::children(table, K::TableRow).filter(|row| self.is_bare(row)) {
            for (at, cell) in ast::children(&row, K::Cell).enumerate() {
                let Some(last) = last_token(&NodeOrToken::Node(cell.clone())) else { continue };
                if columns.len() == at {
                    columns.push(Vec::new());
                }
                columns[at].push((last, self.flat(&cell).chars().count()));
            }
        }
        columns.iter().for_each(|column| self.pad_to_widest(column));
    }

    /// Pads the inputs of a scorecard.
    fn pad_inputs(&mut self, scorecard: &SyntaxNode) {
        let inputs = ast::children(scorecard, K::ScoreInput).filter_map(|input| ast::expression(&input));
        let bare = inputs.filter(|input| self.is_bare(input));
        let inputs: Vec<(SyntaxToken, usize)> =
            bare.filter_map(|input| Some((input.last_token()?, self.flat(&input).chars().count()))).collect();
        self.pad_to_widest(&inputs);
    }

    fn pad_to_widest(&mut self, ends: &[(SyntaxToken, usize)]) {
        let widest = ends.iter().map(|end| end.1).filter(|width| *width <= PADDED_MAX).max().unwrap_or(0);
        for (last, width) in ends {
            if let Some(standing) = self.tokens.get_mut(&start(last)) {
                standing.padding = widest.saturating_sub(*width);
            }
        }
    }

    /// Whether no comment is inside.
    fn is_bare(&self, node: &SyntaxNode) -> bool {
        let tokens = node.descendants_with_tokens().filter_map(NodeOrToken::into_token);
        let tokens: Vec<SyntaxToken> = tokens.filter(|token| !token.kind().is_trivia()).collect();
        tokens.iter().enumerate().all(|(at, token)| {
            self.standing(token).is_none_or(|standing| {
                (at == 0 || standing.before.is_empty())
                    && (at + 1 == tokens.len() || standing.behind.is_none())
            })
        })
    }

    /// A node on one line.
    fn flat(&self, node: &SyntaxNode) -> String {
        let mut text = String::new();
        let mut last: Option<SyntaxToken> = None;
        for element in significant(node) {
            if let (Some(last), Some(first)) = (&last, first_token(&element))
                && self.is_spaced(last, &first, node.kind())
            {
                text.push(' ');
            }
            match &element {
                NodeOrToken::Node(node) => text.push_str(&self.flat(node)),
                NodeOrToken::Token(token) => text.push_str(token.text()),
            }
            last = last_token(&element);
        }
        text
    }

    fn pad_run(&mut self, names: &[SyntaxToken]) {
        let width = |name: &SyntaxToken| name.text().len();
        let widest = names.iter().map(width).filter(|width| *width <= PADDED_MAX).max().unwrap_or(0);
        for name in names {
            if let Some(standing) = self.tokens.get_mut(&start(name)) {
                standing.padding = widest.saturating_sub(width(name));
            }
        }
    }

    /// The whole source.
    fn source(&mut self, root: &SyntaxNode) -> Vec<Doc> {
        let mut docs = Vec::new();
        for element in significant(root) {
            self.lead(&element, &mut docs);
            docs.extend(self.element(&element));
            docs.push(Doc::Hard);
        }
        for comment in std::mem::take(&mut self.end) {
            put_comment(comment, &mut docs);
        }
        docs
    }

    /// What stands before an item that starts a line: empty line, comments.
    fn lead(&mut self, element: &Element, docs: &mut Vec<Doc>) {
        let Some(standing) = first_token(element).and_then(|token| self.tokens.get_mut(&start(&token)))
        else {
            return;
        };
        for comment in std::mem::take(&mut standing.before) {
            put_comment(comment, docs);
        }
        if standing.blank {
            docs.push(Doc::Blank);
        }
    }

    fn element(&mut self, element: &Element) -> Vec<Doc> {
        match element {
            NodeOrToken::Node(node) => self.node(node),
            NodeOrToken::Token(token) => self.token(token),
        }
    }

    /// A token with its comments.
    fn token(&mut self, token: &SyntaxToken) -> Vec<Doc> {
        let mut docs = Vec::new();
        let Some(standing) = self.tokens.get_mut(&start(token)) else { return docs };
        for comment in std::mem::take(&mut standing.before) {
            docs.push(Doc::Alone(comment.text));
        }
        docs.push(Doc::Text(token.text().to_owned()));
        docs.push(Doc::Text(" ".repeat(standing.padding)));
        docs.extend(standing.behind.take().map(Doc::Behind));
        docs
    }

    fn node(&mut self, node: &SyntaxNode) -> Vec<Doc> {
        match node.kind() {
            K::BinaryExpr => self.binary(node),
            K::CallExpr => self.call(node),
            K::Arg => self.argument(node),
            K::FeatureDecl => self.feature(node),
            K::ModelDecl => self.model(node),
            K::Cell => self.cell(node),
            _ => self.sequence(&significant(node), node.kind()),
        }
    }

    /// A cell is never broken, so that those of a column stay in it.
    fn cell(&mut self, node: &SyntaxNode) -> Vec<Doc> {
        let last = last_token(&NodeOrToken::Node(node.clone()));
        let standing = last.as_ref().and_then(|last| self.standing(last));
        let first = node.first_token().and_then(|first| self.standing(&first));
        let is_commented = standing.is_none_or(|standing| standing.behind.is_some())
            || first.is_none_or(|standing| !standing.before.is_empty());
        match standing {
            Some(standing) if !is_commented && self.is_bare(node) => {
                vec![Doc::Text(self.flat(node)), Doc::Text(" ".repeat(standing.padding))]
            }
            _ => self.sequence(&significant(node), node.kind()),
        }
    }

    /// One after the other; braces with what is in them.
    fn sequence(&mut self, elements: &[Element], parent: K) -> Vec<Doc> {
        let mut docs = Vec::new();
        let mut last: Option<SyntaxToken> = None;
        let mut at = 0;
        while let Some(element) = elements.get(at) {
            let first = first_token(element);
            let (mut piece, mut breaks) = (Vec::new(), false);
            if let (Some(last), Some(first)) = (&last, &first) {
                if !is_known(parent) && self.on_new_line(first) {
                    breaks = true;
                    piece.push(Doc::Hard);
                } else if last.kind() == K::Comma {
                    breaks = true;
                    piece.push(line_before(first, Doc::Fill));
                } else if self.is_spaced(last, first, parent) {
                    piece.push(Doc::Text(" ".to_owned()));
                }
            }
            if is_token(element, K::LBrace) {
                let close = closing(elements, at);
                piece.extend(self.braces(&elements[at..=close], parent));
                docs.extend(piece);
                last = elements[close].as_token().cloned();
                at = close + 1;
                continue;
            }
            piece.extend(self.element(element));
            // What goes on on another line is further in.
            if breaks {
                docs.push(Doc::Indent(piece));
            } else {
                docs.extend(piece);
            }
            last = last_token(element);
            at += 1;
        }
        docs
    }

    /// Whether there is a space between two tokens that follow each other on a line.
    fn is_spaced(&self, last: &SyntaxToken, first: &SyntaxToken, parent: K) -> bool {
        match (last.kind(), first.kind()) {
            (_, K::Comma | K::RParen | K::Colon | K::Question | K::Dot) | (K::LParen | K::Dot, _) => false,
            (K::Minus, K::Minus) => true,
            (_, K::LParen) if matches!(parent, K::CallExpr | K::TypeRef | K::CalibratedClause) => false,
            (K::Minus, _)
                if matches!(
                    parent,
                    K::PrefixExpr | K::Modifier | K::Effect | K::BaseItem | K::Bin | K::SignedNumber
                ) =>
            {
                false
            }
            (K::Slash, _) | (_, K::Slash) if parent == K::UnitLiteral => false,
            (K::Minus, _) | (_, K::LParen) if !is_known(parent) => {
                last.text_range().end() != first.text_range().start()
            }
            _ => true,
        }
    }

    /// `{ … }`: on one line if it was and fits, else item by item.
    fn braces(&mut self, elements: &[Element], parent: K) -> Vec<Doc> {
        let (Some(open), Some(close)) = (elements.first(), elements.last()) else { return Vec::new() };
        let items = self.items(&elements[1..elements.len().max(2) - 1], parent);
        let starts_line =
            |element: &Element| first_token(element).is_some_and(|token| self.on_new_line(&token));
        // Written on several lines, or needing them.
        let opened = is_lined(parent)
            || elements.get(1).is_some_and(starts_line)
            || items
                .iter()
                .enumerate()
                .any(|(at, item)| at > 0 && !item.after_comma && parent != K::RuleDecl);
        let mut docs = self.element(open);
        let mut inside = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let Some(first) = item.elements.first().and_then(first_token) else { continue };
            let new_line = self.on_new_line(&first);
            inside.push(match (at, opened) {
                (1.., true) if new_line && parent != K::RuleDecl => Doc::Hard,
                (0, _) if new_line => Doc::Line,
                _ if is_lined(parent) => line_before(&first, Doc::Hard),
                (0, _) | (_, false) if parent == K::ScoreInput => line_before(&first, Doc::Line),
                (0, _) => Doc::Line,
                (_, false) if !is_filled(parent) => Doc::Line,
                _ if parent == K::RuleDecl => Doc::Line,
                _ => line_before(&first, Doc::Fill),
            });
            if opened && at > 0 && new_line {
                self.lead(&item.elements[0], &mut inside);
            } else if let Some(standing) = self.tokens.get_mut(&start(&first)) {
                let comments = std::mem::take(&mut standing.before);
                inside.extend(comments.into_iter().map(|comment| Doc::Alone(comment.text)));
            }
            let item = self.sequence(&item.elements, parent);
            inside.push(Doc::Group { broken: false, inside: item });
        }
        // Comments before the closing brace belong to what is in it.
        if let Some(standing) = first_token(close).and_then(|token| self.tokens.get_mut(&start(&token))) {
            let mut first = items.is_empty();
            for comment in std::mem::take(&mut standing.before) {
                if comment.blank && !first {
                    inside.push(Doc::Blank);
                }
                inside.push(Doc::Alone(comment.text));
                first = false;
            }
        }
        if inside.is_empty() {
            docs.extend(self.element(close));
            return docs;
        }
        docs.push(Doc::Indent(inside));
        docs.push(Doc::Line);
        docs.extend(self.element(close));
        vec![Doc::Group { broken: opened, inside: docs }]
    }

    /// What is in braces, item by item: they end with a comma, or with the line. A rule has two: `when` and `then`.
    fn items<'e>(&self, elements: &'e [Element], parent: K) -> Vec<BraceItem> {
        let mut items: Vec<BraceItem> = Vec::new();
        let mut after_comma = false;
        let mut fresh = true;
        let mut rest: &'e [Element] = elements;
        while let Some((element, after)) = rest.split_first() {
            let starts = if parent == K::RuleDecl {
                element.as_token().is_some_and(|token| token.text() == "then")
            } else {
                let comma = is_token(element, K::Comma);
                !comma && (after_comma || first_token(element).is_some_and(|token| self.on_new_line(&token)))
            };
            if fresh || starts {
                items.push(BraceItem { after_comma, elements: Vec::new() });
                fresh = false;
            }
            // Braces inside an unknown node stay with what they follow.
            let taken = if is_token(element, K::LBrace) { closing(rest, 0) + 1 } else { 1 };
            if let Some(item) = items.last_mut() {
                item.elements.extend_from_slice(&rest[..taken]);
            }
            after_comma = is_token(element, K::Comma);
            rest = if taken == 1 { after } else { &rest[taken..] };
        }
        items
    }

    /// `a and b and c`: broken before each operator, or before none.
    fn binary(&mut self, node: &SyntaxNode) -> Vec<Doc> {
        let Some(strength) = operator(node).map(|token| strength(&token)) else {
            return self.sequence(&significant(node), node.kind());
        };
        if strength == Strength::Compare {
            return self.sequence(&significant(node), node.kind());
        }
        // The left spine of one strength, from its deepest node up.
        let mut spine = vec![node.clone()];
        while let Some(left) = spine.last().and_then(ast::expression) {
            let same = left.kind() == K::BinaryExpr
                && operator(&left).is_some_and(|token| self::strength(&token) == strength);
            if !same {
                break;
            }
            spine.push(left);
        }
        let mut docs = Vec::new();
        let mut rest = Vec::new();
        for part in spine.iter().rev() {
            let elements = significant(part);
            // Of all but the deepest, the left side is written already.
            if let (true, Some(left)) = (docs.is_empty(), elements.first()) {
                docs.extend(self.element(left));
            }
            for element in elements.iter().skip(1) {
                let is_operator = element.as_token().is_some();
                rest.push(if is_operator { Doc::Line } else { Doc::Text(" ".to_owned()) });
                rest.extend(self.element(element));
            }
        }
        docs.push(Doc::Indent(rest));
        vec![Doc::Group { broken: false, inside: docs }]
    }

    /// `f(a, b)`: several arguments that do not fit have a line each.
    fn call(&mut self, node: &SyntaxNode) -> Vec<Doc> {
        let elements = significant(node);
        if ast::children(node, K::Arg).count() < 2 {
            return self.sequence(&elements, K::CallExpr);
        }
        let mut docs = Vec::new();
        let mut arguments = Vec::new();
        let mut last = K::Root;
        for element in &elements {
            if is_token(element, K::RParen) {
                docs.push(Doc::Indent(std::mem::take(&mut arguments)));
                docs.push(Doc::Soft);
            }
            match last {
                K::LParen => arguments
                    .push(first_token(element).map_or(Doc::Soft, |first| line_before(&first, Doc::Soft))),
                K::Comma => arguments
                    .push(first_token(element).map_or(Doc::Line, |first| line_before(&first, Doc::Line))),
                _ => {}
            }
            let inside = matches!(element.kind(), K::Arg | K::Comma);
            let written = self.element(element);
            if inside {
                arguments.extend(written);
            } else {
                docs.extend(written);
            }
            last = element.kind();
        }
        vec![Doc::Group { broken: false, inside: docs }]
    }

    /// `VALUE where CONDITION`.
    fn argument(&mut self, node: &SyntaxNode) -> Vec<Doc> {
        let elements = significant(node);
        let mut docs = Vec::new();
        for (at, element) in elements.iter().enumerate() {
            let written = self.element(element);
            if at == 0 {
                docs.extend(written);
            } else {
                let mut further = vec![Doc::Line];
                further.extend(written);
                docs.push(Doc::Indent(further));
            }
        }
        vec![Doc::Group { broken: false, inside: docs }]
    }

    /// `model NAME … = "FILE" (EXPR, …) calibrated …`: several inputs that do not fit have a line each, as arguments have, and
    /// what calibrates them follows their closing parenthesis.
    fn model(&mut self, node: &SyntaxNode) -> Vec<Doc> {
        let elements = significant(node);
        let open = elements.iter().position(|element| is_token(element, K::LParen)).unwrap_or(elements.len());
        let close =
            elements.iter().position(|element| is_token(element, K::RParen)).unwrap_or(elements.len());
        let (head, rest) = elements.split_at(open);
        let mut docs = self.sequence(head, node.kind());
        let (inputs, clauses) = rest.split_at(close.saturating_sub(open).min(rest.len()));
        if let Some((open, inputs)) = inputs.split_first() {
            docs.push(Doc::Text(" ".to_owned()));
            docs.extend(self.element(open));
            let mut inside = Vec::new();
            for (at, element) in inputs.iter().enumerate() {
                if !is_token(element, K::Comma) {
                    let line = if at == 0 { Doc::Soft } else { Doc::Line };
                    inside.push(first_token(element).map_or(Doc::Soft, |first| line_before(&first, line)));
                }
                inside.extend(self.element(element));
            }
            docs.push(Doc::Indent(inside));
            docs.push(Doc::Soft);
        }
        for (at, element) in clauses.iter().enumerate() {
            if at > 0 {
                docs.push(Doc::Text(" ".to_owned()));
            }
            docs.extend(self.element(element));
        }
        vec![Doc::Group { broken: false, inside: docs }]
    }

    /// `feature NAME = EXPR CLAUSE …`: the clauses go to a line of their own together.
    fn feature(&mut self, node: &SyntaxNode) -> Vec<Doc> {
        let elements = significant(node);
        let value = elements.iter().position(|element| is_token(element, K::Assign)).map_or(0, |at| at + 2);
        let (head, clauses) = elements.split_at(value.min(elements.len()));
        let mut docs = self.sequence(head, node.kind());
        let mut further = Vec::new();
        for (at, clause) in clauses.iter().enumerate() {
            further.push(if at == 0 { Doc::Line } else { Doc::Fill });
            further.extend(self.element(clause));
        }
        docs.push(Doc::Indent(further));
        vec![Doc::Group { broken: false, inside: docs }]
    }
}

/// One item in braces, with the comma that ends it.
struct BraceItem {
    /// A comma is before it. Else only the end of a line is.
    after_comma: bool,
    elements: Vec<Element>,
}

/// How tightly operators bind, as far as the layout cares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strength {
    Or,
    And,
    Compare,
    Sum,
    Product,
}

fn operator(node: &SyntaxNode) -> Option<SyntaxToken> {
    ast::tokens(node).next()
}

fn strength(operator: &SyntaxToken) -> Strength {
    match operator.kind() {
        K::Plus | K::Minus => Strength::Sum,
        K::Star | K::Slash => Strength::Product,
        K::Ident if operator.text() == "or" => Strength::Or,
        K::Ident => Strength::And,
        _ => Strength::Compare,
    }
}

/// The children of a node that are not trivia.
fn significant(node: &SyntaxNode) -> Vec<Element> {
    node.children_with_tokens().filter(|element| !element.kind().is_trivia()).collect()
}

fn start(token: &SyntaxToken) -> u32 {
    token.text_range().start().into()
}

fn first_token(element: &Element) -> Option<SyntaxToken> {
    match element {
        NodeOrToken::Token(token) => Some(token.clone()),
        NodeOrToken::Node(node) => node.first_token(),
    }
}

fn last_token(element: &Element) -> Option<SyntaxToken> {
    match element {
        NodeOrToken::Token(token) => Some(token.clone()),
        NodeOrToken::Node(node) => node.last_token(),
    }
}

fn is_token(element: &Element, kind: K) -> bool {
    element.kind() == kind
}

/// The brace that closes the one at `open`, or the last element.
fn closing(elements: &[Element], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, element) in elements.iter().enumerate().skip(open) {
        match element.kind() {
            K::LBrace => depth += 1,
            K::RBrace => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    elements.len() - 1
}

/// Whether the token stands apart from what is before it: by an empty line or a comment.
fn is_apart(standing: &Standing) -> bool {
    standing.blank || !standing.before.is_empty()
}

fn put_comment(comment: Comment, docs: &mut Vec<Doc>) {
    if comment.blank {
        docs.push(Doc::Blank);
    }
    docs.push(Doc::Alone(comment.text));
}

/// A place to break at, unless the parser would take what follows for a declaration if it started a line.
fn line_before(first: &SyntaxToken, line: Doc) -> Doc {
    let word = first.text();
    let is_declaration = (DECLARATIONS.contains(&word) || RESERVED.contains(&word))
        && next_significant(first).is_some_and(|next| matches!(next.kind(), K::Ident | K::Text));
    match line {
        Doc::Soft if is_declaration => Doc::Text(String::new()),
        _ if is_declaration => Doc::Text(" ".to_owned()),
        line => line,
    }
}

fn next_significant(token: &SyntaxToken) -> Option<SyntaxToken> {
    std::iter::successors(token.next_token(), SyntaxToken::next_token).find(|token| !token.kind().is_trivia())
}

/// Whether what is in the braces of this node fills lines, rather than having a line each, when one line is too short.
fn is_filled(kind: K) -> bool {
    matches!(kind, K::TypeRef | K::ListDecl | K::CalibratedClause)
}

/// Whether what is in the braces of this node has a line each, however it was written.
fn is_lined(kind: K) -> bool {
    matches!(kind, K::ScorecardDecl | K::TableDecl)
}

/// Whether lines mean nothing in nodes of this kind, outside of braces. Those of other kinds keep their lines.
fn is_known(kind: K) -> bool {
    matches!(
        kind,
        K::Root
            | K::PolicyDecl
            | K::UseDecl
            | K::EntityDecl
            | K::ReasonDecl
            | K::ReasonItem
            | K::EventDecl
            | K::AmendsClause
            | K::FieldDecl
            | K::TypeRef
            | K::ListDecl
            | K::ListEntry
            | K::OfClause
            | K::RatesDecl
            | K::LetDecl
            | K::FeatureDecl
            | K::ByClause
            | K::ViaClause
            | K::LastClause
            | K::EveryClause
            | K::ThisClause
            | K::SessionClause
            | K::ZoneClause
            | K::AgainstClause
            | K::HalfLifeClause
            | K::DelayedClause
            | K::AssumeClause
            | K::ScorecardDecl
            | K::BaseItem
            | K::ScoreInput
            | K::Bin
            | K::TableDecl
            | K::Column
            | K::TableRow
            | K::Cell
            | K::ModelDecl
            | K::ModelInput
            | K::CalibratedClause
            | K::CalibrationPoint
            | K::SignedNumber
            | K::SceneDecl
            | K::EffectiveClause
            | K::RuleDecl
            | K::Modifier
            | K::WhenClause
            | K::Effect
            | K::DecideDecl
            | K::ScoreItem
            | K::Threshold
            | K::UnassessedItem
            | K::LateItem
            | K::OnClause
            | K::WhereClause
            | K::Name
            | K::NameRef
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
            | K::Arg
    )
}
