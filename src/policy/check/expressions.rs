//! Expressions: what each name stands for, and of what type each part is.
//!
//! One long file, because the parts call each other and most lines are messages: names and paths, literals,
//! operators, `in` and functions, in the order of a reader's questions.

use super::{Checker, literals, nearest, one_of};
use crate::engine::units::{CURRENCIES, Currency, Value};
use crate::policy::ast::{self, Named};
use crate::policy::parser::DEPTH_MAX;
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{
    Arithmetic, Compare, EntityIx, EventIx, Expr, FeatureIx, FeatureKind, FieldIx, FieldType, LetIx, Type,
};

/// How deep an expression may get when every `let` in it is written out.
const EXTENT_DEPTH_MAX: usize = 2 * DEPTH_MAX as usize;
/// How large an expression may get when every `let` in it is written out.
const EXTENT_SIZE_MAX: usize = 16_384;

/// Where an expression stands: what it may speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Let,
    Aggregate,
    Scalar,
    Rule,
    Score,
    Threshold,
    Late,
}

/// The event in context, and the place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    pub(super) event: EventIx,
    pub(super) place: Place,
}

impl Scope {
    fn features(self) -> bool {
        matches!(self.place, Place::Rule | Place::Score | Place::Threshold | Place::Late)
    }
}

/// What an expression came to.
pub(super) enum Operand {
    Value(Expr, Type),
    /// A key: only compared, looked up in lists, or missing.
    Key(FieldIx, EntityIx),
}

/// What a bare name stands for.
enum Meaning {
    Field(FieldIx),
    Let(LetIx),
    Feature(FeatureIx),
    Event(EventIx),
    Nothing,
}

/// Functions, for suggestions.
const FUNCTIONS: &[&str] = &["first_present", "max", "min", "major", "hour", "weekday"];
/// Aggregates.
pub(super) const AGGREGATES: &[&str] = &["count", "sum", "avg", "min", "max", "distinct", "ratio"];

impl Checker<'_> {
    /// A condition.
    pub(super) fn condition(&mut self, node: &SyntaxNode, scope: Scope) -> Option<Expr> {
        let (expr, ty) = self.value(node, scope, None)?;
        if ty == Type::Bool {
            return self.bounded(node, expr);
        }
        let help = match ty {
            Type::Enum(event, field) => {
                let word = self.words(event, field).first().cloned().unwrap_or_default();
                format!("compare it with a word, as in `… == {word}`")
            }
            Type::AnyMoney => "compare it, as in `amount in USD > 100 USD`".to_owned(),
            _ => "compare it with something, as in `… > 0`".to_owned(),
        };
        let message = format!("a condition is true or false; this is {}", self.type_name(ty));
        self.push(ast::span(node), message, "not a condition", help);
        None
    }

    /// A whole value of a known currency, bounded in size.
    pub(super) fn whole(&mut self, node: &SyntaxNode, scope: Scope) -> Option<(Expr, Type)> {
        let (expr, ty) = self.value(node, scope, None)?;
        if ty == Type::AnyMoney {
            self.currency_unknown(node);
            return None;
        }
        Some((self.bounded(node, expr)?, ty))
    }

    fn bounded(&mut self, node: &SyntaxNode, expr: Expr) -> Option<Expr> {
        let (depth, size) = self.extent(&expr);
        if depth <= EXTENT_DEPTH_MAX && size <= EXTENT_SIZE_MAX {
            return Some(expr);
        }
        self.push(
            ast::span(node),
            "this expression is too large when every `let` in it is written out",
            format!("more than {EXTENT_SIZE_MAX} operations, or {EXTENT_DEPTH_MAX} inside each other"),
            "let the definitions build on each other less",
        );
        None
    }

    /// Depth and size with every `let` written out.
    pub(super) fn extent(&self, expr: &Expr) -> (usize, usize) {
        let join = |parts: &mut dyn Iterator<Item = (usize, usize)>| {
            let (depth, size) = parts
                .fold((0, 1usize), |(depth, size), part| (depth.max(part.0), size.saturating_add(part.1)));
            (depth + 1, size)
        };
        match expr {
            Expr::Let(ix) => self.let_extents.get(ix.index()).copied().unwrap_or((1, 1)),
            Expr::IsMissing(a) | Expr::InCurrency(a, _) | Expr::Major(a) | Expr::Not(a) | Expr::Negate(a) => {
                join(&mut std::iter::once(self.extent(a)))
            }
            Expr::And(a, b) | Expr::Or(a, b) | Expr::Compare(_, a, b) | Expr::Arithmetic(_, a, b) => {
                join(&mut [self.extent(a), self.extent(b)].into_iter())
            }
            Expr::FirstPresent(of) | Expr::Extreme { of, .. } => join(&mut of.iter().map(|e| self.extent(e))),
            _ => (1, 1),
        }
    }

    fn currency_unknown(&mut self, node: &SyntaxNode) {
        let text = node.text().to_string();
        let text = if text.len() <= 30 { text.trim() } else { "amount" };
        self.push(
            ast::span(node),
            "the currency of this money is only known at run time",
            "may be in any currency",
            format!("convert it to one: `{text} in USD`"),
        );
    }

    /// An expression that is a value, not a key. `hint` is the enum a bare word may belong to.
    pub(super) fn value(
        &mut self,
        node: &SyntaxNode,
        scope: Scope,
        hint: Option<Type>,
    ) -> Option<(Expr, Type)> {
        match self.operand(node, scope, hint)? {
            Operand::Value(expr, ty) => Some((expr, ty)),
            Operand::Key(_, entity) => {
                let kind = &self.policy.entities[entity.index()];
                let message = format!("a key of kind `{kind}` has no value to compute with");
                let help = "compare it with another key (`payer == payee`), look it up (`card in some_list`), or ask \
                     whether it `is missing`";
                self.push(ast::span(node), message, "a key", help);
                None
            }
        }
    }

    pub(super) fn operand(&mut self, node: &SyntaxNode, scope: Scope, hint: Option<Type>) -> Option<Operand> {
        let value = match node.kind() {
            K::ParenExpr => return self.operand(&ast::expression(node)?, scope, hint),
            K::NameRef => return self.bare_name(&ast::word(node)?, scope, hint),
            K::PathExpr => return self.path(node, scope),
            K::Literal => self.literal(node),
            K::MoneyLiteral => self.money(node),
            K::PrefixExpr => self.prefix(node, scope),
            K::BinaryExpr => self.binary(node, scope),
            K::IsMissingExpr => self.is_missing(node, scope),
            K::InExpr => self.membership(node, scope),
            K::CallExpr => self.call(node, scope),
            _ => None,
        };
        value.map(|(expr, ty)| Operand::Value(expr, ty))
    }

    fn literal(&mut self, node: &SyntaxNode) -> Option<(Expr, Type)> {
        let token = ast::tokens(node).next()?;
        let span = ast::token_span(&token);
        match token.kind() {
            K::Ident => Some((Expr::Const(Value::bool(token.text() == "true"), Type::Bool), Type::Bool)),
            K::Number => match literals::number(token.text()) {
                Ok((value, decimal)) => {
                    let ty = if decimal { Type::Decimal } else { Type::Int };
                    Some((Expr::Const(value, ty), ty))
                }
                Err((message, help)) => {
                    self.push(span, message, "", help);
                    None
                }
            },
            K::Duration => {
                let help =
                    "durations belong to `last`, `delayed` and `late after`; money is written `200 USD`";
                self.push(span, format!("`{}` is not a value", token.text()), "a duration", help);
                None
            }
            _ => {
                let help = "there are no text values; words of an enum are written without quotes: `channel == ecom`";
                self.push(span, "a text cannot be used in an expression", "a text", help);
                None
            }
        }
    }

    fn money(&mut self, node: &SyntaxNode) -> Option<(Expr, Type)> {
        let number = ast::token(node, K::Number)?;
        let currency = self.currency(&ast::word(node)?)?;
        match literals::money(number.text(), currency) {
            Ok(minor) => {
                let ty = Type::Money(currency);
                Some((Expr::Const(Value::int(minor), ty), ty))
            }
            Err((message, help)) => {
                self.push(ast::span(node), message, "this amount", help);
                None
            }
        }
    }

    fn currency(&mut self, name: &Named) -> Option<Currency> {
        let found = Currency::from_alpha(&name.text);
        if found.is_none() {
            let capitals = name.text.to_ascii_uppercase();
            let near = Currency::from_alpha(&capitals)
                .map(Currency::alpha)
                .or_else(|| nearest(&capitals, CURRENCIES.iter().map(|currency| currency.0)));
            let help = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write its ISO 4217 code in capitals, such as USD, EUR or CNY".to_owned(),
            };
            self.push(name.span, format!("there is no currency `{}`", name.text), "not known", help);
        }
        found
    }

    fn prefix(&mut self, node: &SyntaxNode, scope: Scope) -> Option<(Expr, Type)> {
        let inner = ast::expression(node)?;
        if ast::has_word(node, "not") {
            return Some((Expr::Not(Box::new(self.condition_part(&inner, scope, "not")?)), Type::Bool));
        }
        let (expr, ty) = self.value(&inner, scope, None)?;
        match ty {
            Type::Int | Type::Decimal | Type::Money(_) => Some((Expr::Negate(Box::new(expr)), ty)),
            Type::AnyMoney => {
                self.currency_unknown(&inner);
                None
            }
            _ => {
                let message = format!("`-` changes the sign of a number; this is {}", self.type_name(ty));
                self.push(ast::span(&inner), message, "not a number", "write `not` before a condition");
                None
            }
        }
    }

    fn condition_part(&mut self, node: &SyntaxNode, scope: Scope, operator: &str) -> Option<Expr> {
        let (expr, ty) = self.value(node, scope, None)?;
        if ty == Type::Bool {
            return Some(expr);
        }
        let message = format!("`{operator}` takes conditions; this is {}", self.type_name(ty));
        self.push(
            ast::span(node),
            message,
            "not a condition",
            "compare it with something, as in `… > 0` or `… == word`",
        );
        None
    }

    fn binary(&mut self, node: &SyntaxNode, scope: Scope) -> Option<(Expr, Type)> {
        let mut sides = ast::expressions(node);
        let (left, right) = (sides.next()?, sides.next()?);
        let operator = ast::tokens(node).next()?;
        match operator.text() {
            word @ ("and" | "or") => {
                let left = self.condition_part(&left, scope, word);
                let right = self.condition_part(&right, scope, word);
                let (left, right) = (Box::new(left?), Box::new(right?));
                Some((if word == "and" { Expr::And(left, right) } else { Expr::Or(left, right) }, Type::Bool))
            }
            symbol => match operator.kind() {
                K::Plus => self.arithmetic(Arithmetic::Add, symbol, node, &left, &right, scope),
                K::Minus => self.arithmetic(Arithmetic::Sub, symbol, node, &left, &right, scope),
                K::Star => self.arithmetic(Arithmetic::Mul, symbol, node, &left, &right, scope),
                K::Slash => self.arithmetic(Arithmetic::Div, symbol, node, &left, &right, scope),
                K::EqEq => self.comparison(Compare::Eq, symbol, node, &left, &right, scope),
                K::Ne => self.comparison(Compare::Ne, symbol, node, &left, &right, scope),
                K::Lt => self.comparison(Compare::Lt, symbol, node, &left, &right, scope),
                K::Le => self.comparison(Compare::Le, symbol, node, &left, &right, scope),
                K::Gt => self.comparison(Compare::Gt, symbol, node, &left, &right, scope),
                K::Ge => self.comparison(Compare::Ge, symbol, node, &left, &right, scope),
                _ => None,
            },
        }
    }

    fn arithmetic(
        &mut self,
        op: Arithmetic,
        symbol: &str,
        node: &SyntaxNode,
        left: &SyntaxNode,
        right: &SyntaxNode,
        scope: Scope,
    ) -> Option<(Expr, Type)> {
        use Arithmetic::{Add, Div, Mul, Sub};
        use Type::{AnyMoney, Decimal, Int, Money};
        let a = self.value(left, scope, None);
        let b = self.value(right, scope, None);
        let ((a, a_type), (b, b_type)) = (a?, b?);
        for (side, ty) in [(left, a_type), (right, b_type)] {
            if ty == AnyMoney {
                self.currency_unknown(side);
                return None;
            }
        }
        if op == Div && matches!(b, Expr::Const(Value { num: 0, .. }, _)) {
            self.push(
                ast::span(right),
                "this divides by zero",
                "always zero",
                "what is divided by zero is missing",
            );
            return None;
        }
        let whole = a_type == Int && b_type == Int;
        let ty = match (op, a_type, b_type) {
            (Div, Int | Decimal, Int | Decimal) => Decimal,
            (_, Int | Decimal, Int | Decimal) => {
                if whole {
                    Int
                } else {
                    Decimal
                }
            }
            (Add | Sub, Money(x), Money(y)) if x == y => Money(x),
            (Div, Money(x), Money(y)) if x == y => Decimal,
            (Mul | Div, Money(x), Int | Decimal) | (Mul, Int | Decimal, Money(x)) => Money(x),
            _ => {
                let help = match (a_type, b_type) {
                    (Money(x), Money(y)) if x != y => format!("convert one side: `in {}`", x.alpha()),
                    (Money(_), Money(_)) => {
                        "money is added to and subtracted from money, and multiplied by numbers".to_owned()
                    }
                    (Money(x), _) | (_, Money(x)) if matches!(op, Add | Sub) => {
                        format!("write the amount with its currency, as in `100 {}`", x.alpha())
                    }
                    _ => "`+ - * /` compute with numbers and money".to_owned(),
                };
                let message =
                    format!("`{symbol}` between {} and {}", self.type_name(a_type), self.type_name(b_type));
                self.push(ast::span(node), message, "these do not go together", help);
                return None;
            }
        };
        Some((Expr::Arithmetic(op, Box::new(a), Box::new(b)), ty))
    }

    fn comparison(
        &mut self,
        op: Compare,
        symbol: &str,
        node: &SyntaxNode,
        left: &SyntaxNode,
        right: &SyntaxNode,
        scope: Scope,
    ) -> Option<(Expr, Type)> {
        let (bare_left, bare_right) = (left.kind() == K::NameRef, right.kind() == K::NameRef);
        // A bare name may be a word of the enum on the other side: that side is looked at first.
        let right_first =
            bare_left && (!bare_right || !self.names_enum(left, scope) && self.names_enum(right, scope));
        let (first, second) = if right_first { (right, left) } else { (left, right) };
        let a = self.operand(first, scope, None);
        if a.is_none() && second.kind() == K::NameRef {
            return None;
        }
        let hint = match &a {
            Some(Operand::Value(_, ty @ Type::Enum(..))) => Some(*ty),
            _ => None,
        };
        let b = self.operand(second, scope, hint);
        let (a, b) = (a?, b?);
        let (a, b) = if right_first { (b, a) } else { (a, b) };
        match (a, b) {
            (Operand::Key(x, x_kind), Operand::Key(y, y_kind)) => {
                self.same_key(op, symbol, node, (x, x_kind), (y, y_kind))
            }
            (Operand::Value(a, a_type), Operand::Value(b, b_type)) => {
                for (side, ty) in [(left, a_type), (right, b_type)] {
                    if ty == Type::AnyMoney {
                        self.currency_unknown(side);
                        return None;
                    }
                }
                self.comparable(op, symbol, node, a_type, b_type)?;
                Some((Expr::Compare(op, Box::new(a), Box::new(b)), Type::Bool))
            }
            (Operand::Key(_, entity), _) | (_, Operand::Key(_, entity)) => {
                let kind = &self.policy.entities[entity.index()];
                let message = format!("a key of kind `{kind}` is compared with something that is not a key");
                let help = "compare it with another key of its kind, or put the values into a list: `card in some_list`";
                self.push(ast::span(node), message, "these do not go together", help);
                None
            }
        }
    }

    fn same_key(
        &mut self,
        op: Compare,
        symbol: &str,
        node: &SyntaxNode,
        (x, x_kind): (FieldIx, EntityIx),
        (y, y_kind): (FieldIx, EntityIx),
    ) -> Option<(Expr, Type)> {
        let same = Expr::SameKey(x, y);
        match op {
            _ if x_kind != y_kind => {
                let (x, y) = (&self.policy.entities[x_kind.index()], &self.policy.entities[y_kind.index()]);
                let message = format!("a key of kind `{x}` is compared with one of kind `{y}`");
                self.push(ast::span(node), message, "never equal", "compare keys of one kind");
                None
            }
            Compare::Eq => Some((same, Type::Bool)),
            Compare::Ne => Some((Expr::Not(Box::new(same)), Type::Bool)),
            _ => {
                self.push(
                    ast::span(node),
                    format!("keys have no order; `{symbol}` cannot compare them"),
                    "two keys",
                    "use `==` or `!=`",
                );
                None
            }
        }
    }

    fn comparable(&mut self, op: Compare, symbol: &str, node: &SyntaxNode, a: Type, b: Type) -> Option<()> {
        use Type::{Bool, Decimal, Enum, Int, Money};
        let ordered = !matches!(op, Compare::Eq | Compare::Ne);
        let help = match (a, b) {
            (Int | Decimal, Int | Decimal) => return Some(()),
            (Money(x), Money(y)) if x == y => return Some(()),
            (Bool, Bool) if !ordered => return Some(()),
            (Enum(e, f), Enum(g, h)) if self.words(e, f) == self.words(g, h) => {
                if !ordered {
                    return Some(());
                }
                "words of an enum have no order; use `==` or `!=`".to_owned()
            }
            (Bool, Bool) => "conditions have no order; use `==`, `!=`, `and`, `or`".to_owned(),
            (Money(x), Money(y)) => format!(
                "convert one side: `… in {}`, or write the amount in {}",
                x.alpha(),
                if x == y { y.alpha() } else { x.alpha() }
            ),
            (Money(x), _) | (_, Money(x)) => {
                format!("write the amount with its currency, as in `200 {}`", x.alpha())
            }
            (Enum(e, f), _) | (_, Enum(e, f)) => {
                let words: Vec<&str> = self.words(e, f).iter().map(String::as_str).collect();
                format!("compare it with one of its words; {}", one_of(&words))
            }
            (Bool, _) | (_, Bool) => {
                "a condition needs no comparison; use it as it is, or with `not`".to_owned()
            }
            // AnyMoney was reported before.
            _ => String::new(),
        };
        let message = format!("`{symbol}` between {} and {}", self.type_name(a), self.type_name(b));
        self.push(ast::span(node), message, "these do not compare", help);
        None
    }

    /// Whether a bare name stands for an enum value here (reports nothing).
    fn names_enum(&self, node: &SyntaxNode, scope: Scope) -> bool {
        let Some(name) = ast::word(node) else { return false };
        let ty = match self.meaning(&name.text, scope) {
            Meaning::Field(field) => {
                return matches!(self.field_type(scope.event, field), Some(FieldType::Enum(_)));
            }
            Meaning::Let(ix) => self.policy.lets[ix.index()].ty,
            Meaning::Feature(ix) => self.policy.features[ix.index()].ty,
            _ => return false,
        };
        matches!(ty, Type::Enum(..))
    }

    fn meaning(&self, name: &str, scope: Scope) -> Meaning {
        if let Some(field) = self.fields[scope.event.index()].get(name) {
            return Meaning::Field(*field);
        }
        if let Some(ix) = self.lets.get(&(scope.event, name.to_owned())) {
            return Meaning::Let(*ix);
        }
        if let Some(ix) = self.features.get(name) {
            return Meaning::Feature(*ix);
        }
        self.events.get(name).map_or(Meaning::Nothing, |event| Meaning::Event(*event))
    }

    fn bare_name(&mut self, name: &Named, scope: Scope, hint: Option<Type>) -> Option<Operand> {
        let value = |expr, ty| Some(Operand::Value(expr, ty));
        if let Some(ty @ Type::Enum(event, field)) = hint
            && let Some(ordinal) = self.words(event, field).iter().position(|word| *word == name.text)
        {
            let both = match self.meaning(&name.text, scope) {
                Meaning::Field(other) => self.field_type(scope.event, other) == self.field_type(event, field),
                _ => false,
            };
            if both {
                let message = format!("`{}` is both a field and a word of this enum", name.text);
                self.push(name.span, message, "which one?", "rename the field, or the word");
                return None;
            }
            return value(Expr::Const(Value::int(ordinal as i64), ty), ty);
        }
        match name.text.as_str() {
            "score" => return self.final_score(name, scope),
            "rule_scores" => return self.rule_scores(name, scope, Expr::RuleScoresMax),
            _ => {}
        }
        match self.meaning(&name.text, scope) {
            Meaning::Field(field) => self.field(scope.event, field),
            Meaning::Let(ix) => value(Expr::Let(ix), self.policy.lets[ix.index()].ty),
            Meaning::Feature(ix) => self.feature_use(ix, name, scope),
            Meaning::Event(event) => {
                let message = format!("`{}` is an event, not a value", name.text);
                let field = self.event(event).fields.first().map_or("field", |field| field.name.as_str());
                let help = if self.event(event).amends == Some(scope.event) {
                    format!(
                        "name one of its fields, as in `{0}.{field}`, or ask whether `{0} is missing`",
                        name.text
                    )
                } else if event == scope.event {
                    format!("name one of its fields, as in `{field}`")
                } else {
                    "count it with a feature".to_owned()
                };
                self.push(name.span, message, "an event", help);
                None
            }
            Meaning::Nothing => {
                self.unknown_value(name, scope, hint);
                None
            }
        }
    }

    fn final_score(&mut self, name: &Named, scope: Scope) -> Option<Operand> {
        if scope.place == Place::Threshold {
            return Some(Operand::Value(Expr::Score, Type::Int));
        }
        let help = match scope.place {
            Place::Score => "the score is being computed here; it can use `rule_scores`, features and fields",
            Place::Late => "a late payment falls back without a score; use its fields",
            _ => "use `score` in `decide`, as in `block when score >= 90`",
        };
        self.push(name.span, "the score is only known in the thresholds of `decide`", "not known here", help);
        None
    }

    fn rule_scores(&mut self, name: &Named, scope: Scope, expr: Expr) -> Option<Operand> {
        if scope.place == Place::Score {
            return Some(Operand::Value(expr, Type::Int));
        }
        let help = "in thresholds use `score`; the scores of the rules are joined in `decide`: `score = max(rule_scores)`";
        self.push(name.span, "`rule_scores` is only known in the score of `decide`", "not known here", help);
        None
    }

    fn field(&self, event: EventIx, field: FieldIx) -> Option<Operand> {
        let ty = match self.field_type(event, field)? {
            FieldType::Bool => Type::Bool,
            FieldType::Int => Type::Int,
            FieldType::Decimal => Type::Decimal,
            FieldType::Money => Type::AnyMoney,
            FieldType::Enum(_) => Type::Enum(event, field),
            FieldType::Entity(entity) => return Some(Operand::Key(field, *entity)),
        };
        Some(Operand::Value(Expr::Field(field), ty))
    }

    fn feature_use(&mut self, ix: FeatureIx, name: &Named, scope: Scope) -> Option<Operand> {
        if !scope.features() {
            self.cyclic(name, scope);
            return None;
        }
        let feature = &self.policy.features[ix.index()];
        let ty = feature.ty;
        let event = self.event_name(scope.event);
        match &feature.kind {
            FeatureKind::Scalar { event: own, .. } if *own == scope.event => {}
            FeatureKind::Scalar { event: own, .. } => {
                let own = self.event_name(*own);
                let message =
                    format!("the feature `{}` is computed from `{own}`, not from `{event}`", name.text);
                self.push(name.span, message, "of another event", format!("use it in rules on `{own}`"));
                return None;
            }
            FeatureKind::Window(window) => {
                if !window.judged_by.iter().any(|(judged, _)| *judged == scope.event) {
                    let entity = window.entity;
                    let kind = self.policy.entities[entity.index()].clone();
                    let roles: Vec<String> = self.roles(scope.event, entity);
                    let message = format!("the feature `{}` cannot be looked up for `{event}`", name.text);
                    let (label, help) = if roles.is_empty() {
                        if !self.incomplete[scope.event.index()] {
                            (
                                format!("`{event}` has no field of kind `{kind}`"),
                                format!(
                                    "add a field of kind `{kind}` to `{event}`, or use a feature by another kind"
                                ),
                            )
                        } else {
                            return None;
                        }
                    } else {
                        (
                            format!("`{event}` has {} fields of kind `{kind}`", roles.len()),
                            format!("say which one in the feature: `by {kind} via {event}.{}`", roles[0]),
                        )
                    };
                    self.push(name.span, message, label, help);
                    return None;
                }
            }
        }
        Some(Operand::Value(Expr::Feature(ix), ty))
    }

    /// Reports a feature where features cannot be used.
    fn cyclic(&mut self, name: &Named, scope: Scope) {
        let place = match scope.place {
            Place::Aggregate => "inside an aggregate",
            Place::Let => "in a `let`",
            _ => "in another feature",
        };
        let message = format!("the feature `{}` is used {place}, which would be cyclic", name.text);
        let help =
            "features are computed from events alone; combine features in a rule's `when`, or in `decide`";
        self.push(name.span, message, "a feature", help);
    }

    fn unknown_value(&mut self, name: &Named, scope: Scope, hint: Option<Type>) {
        if !scope.features() && hint.is_none() && self.feature_names.contains(&name.text) {
            self.cyclic(name, scope);
            return;
        }
        if self.incomplete[scope.event.index()] || self.is_full() {
            return;
        }
        let event = self.event_name(scope.event);
        if matches!(name.text.as_str(), "missing" | "null" | "nil" | "none" | "unknown") && hint.is_none() {
            let help = "ask `… is missing` or `… is not missing`";
            self.push(name.span, format!("there is no value `{}`", name.text), "not a value", help);
            return;
        }
        if let Some(Type::Enum(owner, field)) = hint {
            let words = self.words(owner, field).to_vec();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let field = self.event(owner).fields[field.index()].name.clone();
            self.unknown(name, &format!("word of `{field}`"), &words, "");
            return;
        }
        if let Some(other) = self.let_events.get(&name.text).copied() {
            let other = self.event_name(other);
            let message = format!("`{}` is defined on `{other}`, not on `{event}`", name.text);
            self.push(
                name.span,
                message,
                "of another event",
                format!("define it for `{event}` too, under another name"),
            );
            return;
        }
        if self.lists.contains_key(&name.text) {
            let message = format!("`{}` is a list, not a value", name.text);
            self.push(
                name.span,
                message,
                "a list",
                format!("ask whether a key is in it: `… in {}`", name.text),
            );
            return;
        }
        let own = self.event(scope.event).fields.iter();
        let word_of = own.clone().enumerate().find_map(|(at, field)| {
            let words = self.words(scope.event, FieldIx(at as u16));
            words.contains(&name.text).then(|| field.name.clone())
        });
        if let Some(field) = word_of {
            let message = format!("`{0}` is a word of `{field}`, and stands for nothing alone", name.text);
            self.push(
                name.span,
                message,
                "a word of an enum",
                format!("compare: `{field} == {}`", name.text),
            );
            return;
        }
        let mut candidates: Vec<String> = own.map(|field| field.name.clone()).collect();
        candidates
            .extend(self.lets.keys().filter(|(on, _)| *on == scope.event).map(|(_, name)| name.clone()));
        if scope.features() {
            candidates.extend(self.policy.features.iter().map(|feature| feature.name.clone()));
        }
        candidates.extend(self.amendments(scope.event).map(|event| self.event_name(event)));
        candidates.sort();
        let candidates: Vec<&str> = candidates.iter().map(String::as_str).collect();
        let what = if scope.features() { "field, `let` or feature" } else { "field or `let`" };
        let fields: Vec<&str> = candidates.clone();
        let otherwise = format!("on `{event}`, {}", one_of(&fields));
        self.unknown(name, what, &candidates, &otherwise);
    }

    /// The kinds of events that amend this one.
    pub(super) fn amendments(&self, event: EventIx) -> impl Iterator<Item = EventIx> {
        self.policy
            .events
            .iter()
            .enumerate()
            .filter(move |(_, other)| other.amends == Some(event))
            .map(|(at, _)| EventIx(at as u16))
    }

    /// What `EVENT.FIELD` is: a field of the event in context, a key it inherited, or a field of an amendment.
    fn path(&mut self, node: &SyntaxNode, scope: Scope) -> Option<Operand> {
        let (event_name, field_name) = ast::path(node)?;
        let event = self.path_event(&event_name, scope)?;
        if event == scope.event {
            if let Some(ix) = self.lets.get(&(event, field_name.text.clone())) {
                return Some(Operand::Value(Expr::Let(*ix), self.policy.lets[ix.index()].ty));
            }
            let field = self.field_named(event, &field_name)?;
            return self.field(event, field);
        }
        if self.event(scope.event).amends == Some(event) {
            let inherited = self.inherited(scope.event, event, &field_name)?;
            return self.field(scope.event, inherited);
        }
        let field = self.own_field(event, &field_name)?;
        match self.field(event, field)? {
            Operand::Value(_, ty) => Some(Operand::Value(Expr::Amended(event, field), ty)),
            Operand::Key(..) => {
                let message = format!("a key of the amendment `{}` cannot be used here", event_name.text);
                let help =
                    "only whether it `is missing` can be asked; count the amendment itself to use its keys";
                self.push(ast::span(node), message, "a key of an amendment", help);
                None
            }
        }
    }

    /// The event before the point, when it can be spoken of in this context.
    fn path_event(&mut self, name: &Named, scope: Scope) -> Option<EventIx> {
        let event = self.event_named(name)?;
        let context = self.event(scope.event);
        if event == scope.event
            || context.amends == Some(event)
            || self.event(event).amends == Some(scope.event)
        {
            return Some(event);
        }
        let context = context.name.clone();
        let message = format!("`{}` is neither `{context}` nor an amendment of it", name.text);
        let help = match scope.place {
            Place::Aggregate => format!("one aggregate speaks of one event, here `{context}`"),
            _ => format!("`{context}` is judged here; bring other events in through a feature"),
        };
        self.push(name.span, message, "another event", help);
        None
    }

    pub(super) fn field_named(&mut self, event: EventIx, name: &Named) -> Option<FieldIx> {
        let found = self.fields[event.index()].get(&name.text).copied();
        if found.is_none() && !self.incomplete[event.index()] {
            let fields: Vec<String> =
                self.event(event).fields.iter().map(|field| field.name.clone()).collect();
            let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
            let what = format!("field of `{}` called", self.event(event).name);
            self.unknown(name, &what, &fields, "");
        }
        found
    }

    fn own_field(&mut self, event: EventIx, name: &Named) -> Option<FieldIx> {
        let field = self.field_named(event, name)?;
        if self.event(event).fields[field.index()].inherited.is_none() {
            return Some(field);
        }
        let message = format!("`{}` is a key of the amended event itself", name.text);
        self.push(name.span, message, "not a field of the amendment", format!("write `{}`", name.text));
        None
    }

    /// The copy that an amendment has of this key of the event it amends.
    pub(super) fn inherited(&mut self, amendment: EventIx, target: EventIx, name: &Named) -> Option<FieldIx> {
        let original = self.field_named(target, name)?;
        let fields = &self.event(amendment).fields;
        if let Some(at) = fields.iter().position(|field| field.inherited == Some(original)) {
            return Some(FieldIx(at as u16));
        }
        if self.incomplete[amendment.index()] {
            return None;
        }
        let (amendment, target) = (self.event_name(amendment), self.event_name(target));
        let message =
            format!("`{amendment}` carries only the keys of `{target}`, and `{}` is not a key", name.text);
        let help = format!("aggregate `{target}` instead, and speak of `{amendment}` in its `where`");
        self.push(name.span, message, "not carried by the amendment", help);
        None
    }

    fn is_missing(&mut self, node: &SyntaxNode, scope: Scope) -> Option<(Expr, Type)> {
        let inner = ast::expression(node)?;
        let missing = match inner.kind() {
            K::NameRef => {
                let name = ast::word(&inner)?;
                match self.meaning(&name.text, scope) {
                    Meaning::Field(field) => {
                        self.field_type(scope.event, field)?;
                        Some(Expr::FieldMissing(field))
                    }
                    Meaning::Event(event) if self.event(event).amends == Some(scope.event) => {
                        Some(Expr::AmendMissing(event, None))
                    }
                    _ => None,
                }
            }
            K::PathExpr => {
                let (event_name, field_name) = ast::path(&inner)?;
                let event = self.path_event(&event_name, scope)?;
                if event == scope.event {
                    if self.lets.contains_key(&(event, field_name.text.clone())) {
                        None
                    } else {
                        Some(Expr::FieldMissing(self.field_named(event, &field_name)?))
                    }
                } else if self.event(scope.event).amends == Some(event) {
                    Some(Expr::FieldMissing(self.inherited(scope.event, event, &field_name)?))
                } else {
                    Some(Expr::AmendMissing(event, Some(self.own_field(event, &field_name)?)))
                }
            }
            _ => None,
        };
        let missing = match missing {
            Some(expr) => expr,
            None => match self.value(&inner, scope, None)? {
                (_, Type::AnyMoney) => {
                    self.currency_unknown(&inner);
                    return None;
                }
                (expr, _) => Expr::IsMissing(Box::new(expr)),
            },
        };
        let expr = if ast::has_word(node, "not") { Expr::Not(Box::new(missing)) } else { missing };
        Some((expr, Type::Bool))
    }

    /// `in`: a currency, a list, or a time zone.
    fn membership(&mut self, node: &SyntaxNode, scope: Scope) -> Option<(Expr, Type)> {
        let mut parts = ast::expressions(node);
        let left = parts.next()?;
        let negated = ast::has_word(node, "not");
        if let Some(zone) = ast::token(node, K::Text) {
            return self.in_zone(node, &left, &zone, negated);
        }
        let name = ast::word(&parts.next()?)?;
        if left.kind() == K::CallExpr
            && let Some(function) =
                ast::word(&left).filter(|name| matches!(name.text.as_str(), "hour" | "weekday"))
        {
            let message = format!("the time zone of `{}` is not in quotes", function.text);
            let help = format!(
                "write `{}() in \"{}\"`, an IANA name in quotes",
                function.text,
                if name.text == "UTC" { "UTC" } else { "Europe/Paris" }
            );
            self.push(name.span, message, "not a text", help);
            return None;
        }
        match self.operand(&left, scope, None)? {
            Operand::Key(field, entity) => {
                let Some(list) = self.lists.get(&name.text).copied() else {
                    let lists: Vec<String> = self.policy.lists.iter().map(|list| list.name.clone()).collect();
                    let lists: Vec<&str> = lists.iter().map(String::as_str).collect();
                    let kind = self.policy.entities[entity.index()].clone();
                    self.unknown(
                        &name,
                        "list",
                        &lists,
                        &format!("declare it with `list {} of {kind}`", name.text),
                    );
                    return None;
                };
                let of = self.policy.lists[list.index()].entity;
                if of != entity {
                    let (of, entity) =
                        (&self.policy.entities[of.index()], &self.policy.entities[entity.index()]);
                    let message = format!(
                        "the list `{}` holds keys of kind `{of}`; this is of kind `{entity}`",
                        name.text
                    );
                    self.push(ast::span(node), message, "never in it", "use a list of the key's kind");
                    return None;
                }
                let inside = Expr::InList(field, list);
                Some((if negated { Expr::Not(Box::new(inside)) } else { inside }, Type::Bool))
            }
            Operand::Value(_, Type::Money(_) | Type::AnyMoney) if negated => {
                let help = "the currency itself cannot be asked for; `in` converts";
                self.push(ast::span(node), "`not in` asks whether a key is in a list", "this is money", help);
                None
            }
            Operand::Value(expr, Type::Money(_) | Type::AnyMoney) => {
                if self.lists.contains_key(&name.text) {
                    let message = format!("the list `{}` holds keys; this is money", name.text);
                    self.push(
                        ast::span(node),
                        message,
                        "never in it",
                        "after money, `in` names a currency: `amount in USD`",
                    );
                    return None;
                }
                let currency = self.currency(&name)?;
                Some((Expr::InCurrency(Box::new(expr), currency), Type::Money(currency)))
            }
            Operand::Value(_, ty) => {
                let message = format!("`in` follows a key or money; this is {}", self.type_name(ty));
                let help = "`card in some_list` looks a key up, `amount in USD` converts money";
                self.push(ast::span(&left), message, "neither a key nor money", help);
                None
            }
        }
    }

    fn in_zone(
        &mut self,
        node: &SyntaxNode,
        left: &SyntaxNode,
        zone: &crate::policy::syntax::SyntaxToken,
        negated: bool,
    ) -> Option<(Expr, Type)> {
        let function = ast::word(left).filter(|_| left.kind() == K::CallExpr);
        let function = match function.as_ref().map(|name| name.text.as_str()) {
            Some(name @ ("hour" | "weekday")) if !negated => name,
            _ => {
                let help = "only `hour() in \"Europe/Paris\"` and `weekday() in \"UTC\"` take a time zone in quotes; \
                     lists and currencies are written without quotes";
                self.push(
                    ast::span(node),
                    "a text after `in` is a time zone",
                    "no time of day before it",
                    help,
                );
                return None;
            }
        };
        if let Some(arg) = ast::child(left, K::Arg) {
            let help = format!("write `{function}() in \"UTC\"`");
            self.push(
                ast::span(&arg),
                format!("`{function}` takes nothing in its parentheses"),
                "not expected",
                help,
            );
            return None;
        }
        let name = literals::text(zone.text());
        let database = jiff::tz::TimeZoneDatabase::bundled();
        let canonical = database.get(&name).ok().and_then(|zone| zone.iana_name().map(str::to_owned));
        let Some(canonical) = canonical else {
            let names: Vec<String> = database.available().map(|name| name.as_str().to_owned()).collect();
            let help = match nearest(&name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => {
                    "write an IANA name such as \"Europe/Paris\", \"Asia/Shanghai\" or \"UTC\"".to_owned()
                }
            };
            self.push(ast::token_span(zone), "there is no such time zone", "not known", help);
            return None;
        };
        let expr = if function == "hour" { Expr::Hour(canonical) } else { Expr::Weekday(canonical) };
        Some((expr, Type::Int))
    }

    fn zone_missing(&mut self, node: &SyntaxNode, function: &str) {
        let message = format!("`{function}()` needs a time zone");
        let help = format!(
            "write `{function}() in \"Europe/Paris\"`, or \"UTC\"; events carry no zone of their own"
        );
        self.push(ast::span(node), message, "where?", help);
    }

    fn call(&mut self, node: &SyntaxNode, scope: Scope) -> Option<(Expr, Type)> {
        let name = ast::word(node)?;
        let args: Vec<SyntaxNode> = ast::children(node, K::Arg).collect();
        let function = name.text.as_str();
        if let Some(filter) = args.iter().find_map(|arg| ast::child(arg, K::WhereClause)) {
            let message = "`where` belongs to an aggregate, and aggregates to a feature";
            let help = "declare a feature, as in `feature n_1h = count(payment where …) by card last 1h`, and use its name";
            self.push(ast::span(&filter), message, "not possible here", help);
            return None;
        }
        let values: Vec<SyntaxNode> = args.iter().filter_map(ast::expression).collect();
        match function {
            "hour" | "weekday" => {
                self.zone_missing(node, function);
                None
            }
            "sum" if is_rule_scores(&values) => self
                .rule_scores(&ast::word(&values[0])?, scope, Expr::RuleScoresSum)
                .and_then(|operand| match operand {
                    Operand::Value(expr, ty) => Some((expr, ty)),
                    Operand::Key(..) => None,
                }),
            "max" if is_rule_scores(&values) => self.value(&values[0], scope, None),
            "max" | "min" | "first_present" => self.choice(node, function, &values, scope),
            "major" => self.major(node, &values, scope),
            "count" | "sum" | "avg" | "distinct" | "ratio" => {
                let message = format!("the aggregate `{function}` is only possible in a feature");
                let help = "declare a feature, as in `feature n_1h = count(payment) by card last 1h`, and use its name";
                self.push(ast::span(node), message, "an aggregate", help);
                None
            }
            _ => {
                let help = match nearest(function, FUNCTIONS.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the functions are {}", FUNCTIONS.join(", ")),
                };
                self.push(name.span, format!("there is no function `{function}`"), "not known", help);
                None
            }
        }
    }

    /// `max`, `min` and `first_present`: several values of one type.
    fn choice(
        &mut self,
        node: &SyntaxNode,
        function: &str,
        values: &[SyntaxNode],
        scope: Scope,
    ) -> Option<(Expr, Type)> {
        if values.len() < 2 {
            let help = match (function, scope.features()) {
                ("first_present", _) => "for example: first_present(result.approved, amount)",
                _ => {
                    "it compares its arguments with each other; over a window of events declare a feature: \
                     `feature top = max(payment.amount in USD) by card last 24h`"
                }
            };
            self.push(
                ast::span(node),
                format!("`{function}` chooses between two or more values"),
                "too few",
                help,
            );
            return None;
        }
        let checked: Vec<_> = values.iter().map(|value| self.value(value, scope, None)).collect();
        let checked = checked.into_iter().collect::<Option<Vec<_>>>()?;
        let mut ty = checked[0].1;
        for ((_, other), at) in checked.iter().zip(values) {
            ty = match (ty, *other) {
                (a, b) if a == b => a,
                (Type::Int | Type::Decimal, Type::Int | Type::Decimal) => Type::Decimal,
                (Type::Enum(e, f), Type::Enum(g, h)) if self.words(e, f) == self.words(g, h) => ty,
                (a, b) => {
                    let message = format!(
                        "`{function}` chooses between {} and {}",
                        self.type_name(a),
                        self.type_name(b)
                    );
                    let help = match (a, b) {
                        (Type::AnyMoney, Type::Money(c)) | (Type::Money(c), Type::AnyMoney) => {
                            format!("convert the other one too: `… in {}`", c.alpha())
                        }
                        _ => "all its values are of one type, and money of one currency".to_owned(),
                    };
                    self.push(ast::span(at), message, "of another type", help);
                    return None;
                }
            };
        }
        let of: Vec<Expr> = checked.into_iter().map(|(expr, _)| expr).collect();
        if function == "first_present" {
            return Some((Expr::FirstPresent(of), ty));
        }
        match ty {
            Type::Int | Type::Decimal | Type::Money(_) => {
                Some((Expr::Extreme { greatest: function == "max", of }, ty))
            }
            Type::AnyMoney => {
                self.currency_unknown(&values[0]);
                None
            }
            Type::Bool | Type::Enum(..) => {
                let message =
                    format!("`{function}` needs values with an order; this is {}", self.type_name(ty));
                self.push(
                    ast::span(&values[0]),
                    message,
                    "no order",
                    "use numbers, or money of one currency",
                );
                None
            }
        }
    }

    fn major(&mut self, node: &SyntaxNode, values: &[SyntaxNode], scope: Scope) -> Option<(Expr, Type)> {
        let [value] = values else {
            let help = "for example: major(amount in USD)";
            self.push(ast::span(node), "`major` takes one amount of money", "not one amount", help);
            return None;
        };
        match self.value(value, scope, None)? {
            (expr, Type::Money(_)) => Some((Expr::Major(Box::new(expr)), Type::Decimal)),
            (_, Type::AnyMoney) => {
                self.currency_unknown(value);
                None
            }
            (_, ty) => {
                let message = format!("`major` takes money; this is {}", self.type_name(ty));
                self.push(ast::span(value), message, "not money", "it turns 12.50 USD into the number 12.5");
                None
            }
        }
    }
}

fn is_rule_scores(values: &[SyntaxNode]) -> bool {
    matches!(values, [only] if only.kind() == K::NameRef && ast::word(only).is_some_and(|name| name.text == "rule_scores"))
}
