//! Expressions: what each name stands for, and of what type each part is.
//!
//! Here are literals and operators; [`names`](super::names) finds what a name stands for, and
//! [`functions`](super::functions) has `in`, `is missing` and what is called with parentheses.

use super::{Checker, literals, nearest, one_of};
use crate::engine::units::{CURRENCIES, Currency, Value};
use crate::policy::ast::{self, Named};
use crate::policy::diagnostics::Fix;
use crate::policy::parser::DEPTH_MAX;
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode, SyntaxToken};
use crate::policy::typed::{
    Arithmetic, Compare, EntityIx, EventIx, Expr, FeatureIx, FieldIx, FieldType, LetIx, ModelIx, Span, Type,
};
use jiff::tz::TimeZone;

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
    /// Of a model.
    Input,
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
    pub(super) fn features(self) -> bool {
        matches!(self.place, Place::Input | Place::Rule | Place::Score | Place::Threshold | Place::Late)
    }
}

/// What an expression came to.
pub(super) enum Operand {
    Value(Expr, Type),
    /// A key: only compared, looked up in lists, or missing.
    Key(FieldIx, EntityIx),
    /// A place: only measured, or missing.
    Place,
    /// A text: only compared, looked up in lists, or missing.
    Text(FieldIx),
    /// An address: the same.
    Address(FieldIx),
    /// A text in quotes: only compared with what is written so.
    Written(SyntaxToken),
}

/// What a bare name stands for.
pub(super) enum Meaning {
    Field(FieldIx),
    Let(LetIx),
    Feature(FeatureIx),
    Model(ModelIx),
    Event(EventIx),
    Nothing,
}

/// Functions, for suggestions.
pub(super) const FUNCTIONS: &[&str] =
    &["first_present", "max", "min", "major", "currency", "now", "hour", "weekday", "starts_with"];
/// Aggregates.
pub(super) const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "distinct",
    "ratio",
    "stddev",
    "first",
    "last",
    "share",
    "percentile",
    "change",
    "decayed_count",
    "decayed_sum",
    "since_last",
    "since_first",
    "distance",
    "speed",
    "seen",
    "days",
];

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

    pub(super) fn bounded(&mut self, node: &SyntaxNode, expr: Expr) -> Option<Expr> {
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

    /// Whether an amendment is mentioned, here or in a `let`.
    pub(super) fn mentions_amendment(&self, expr: &Expr) -> bool {
        self.mentions(expr, &|expr| matches!(expr, Expr::Amended(..) | Expr::AmendMissing(..)))
    }

    /// Whether a model has a part in it.
    pub(super) fn mentions_model(&self, expr: &Expr) -> bool {
        self.mentions(expr, &|expr| matches!(expr, Expr::Model(_)))
    }

    fn mentions(&self, expr: &Expr, is_it: &dyn Fn(&Expr) -> bool) -> bool {
        let inside = |expr: &Expr| self.mentions(expr, is_it);
        match expr {
            _ if is_it(expr) => true,
            Expr::Let(ix) => inside(&self.policy.lets[ix.index()].expr),
            Expr::IsMissing(a)
            | Expr::Listed(a, _)
            | Expr::InCurrency(a, _)
            | Expr::Major(a)
            | Expr::CurrencyOf(a)
            | Expr::Not(a)
            | Expr::Negate(a) => inside(a),
            Expr::And(a, b) | Expr::Or(a, b) | Expr::Compare(_, a, b) | Expr::Arithmetic(_, a, b) => {
                inside(a) || inside(b)
            }
            Expr::FirstPresent(of) | Expr::Extreme { of, .. } => of.iter().any(inside),
            Expr::Choose { branches, otherwise } => {
                let mut all = branches.iter().flat_map(|(when, value)| [when, value]).chain([&**otherwise]);
                all.any(inside)
            }
            _ => false,
        }
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
            Expr::IsMissing(a)
            | Expr::Listed(a, _)
            | Expr::InCurrency(a, _)
            | Expr::Major(a)
            | Expr::CurrencyOf(a)
            | Expr::Not(a)
            | Expr::Negate(a) => join(&mut std::iter::once(self.extent(a))),
            Expr::And(a, b) | Expr::Or(a, b) | Expr::Compare(_, a, b) | Expr::Arithmetic(_, a, b) => {
                join(&mut [self.extent(a), self.extent(b)].into_iter())
            }
            Expr::FirstPresent(of) | Expr::Extreme { of, .. } => join(&mut of.iter().map(|e| self.extent(e))),
            Expr::Choose { branches, otherwise } => {
                let all = branches.iter().flat_map(|(when, value)| [when, value]).chain([&**otherwise]);
                join(&mut all.map(|e| self.extent(e)))
            }
            _ => (1, 1),
        }
    }

    pub(super) fn currency_unknown(&mut self, node: &SyntaxNode) {
        let text = node.text().to_string();
        let text = if text.len() <= 30 { text.trim() } else { "amount" };
        self.push(
            ast::span(node),
            "the currency of this money is only known at run time",
            "may be in any currency",
            format!("convert it to one: `{text} in USD`"),
        );
    }

    /// Money of unknown currency beside something: if that is money of a known one, it surely is meant.
    fn currency_unknown_beside(&mut self, node: &SyntaxNode, other: Type) {
        let (Type::Money(currency), K::NameRef | K::PathExpr | K::CallExpr | K::ParenExpr) =
            (other, node.kind())
        else {
            self.currency_unknown(node);
            return;
        };
        let at = ast::span(node);
        let (message, help) = (
            "the currency of this money is only known at run time".to_owned(),
            format!("convert it: `{} in {}`", node.text().to_string().trim(), currency.alpha()),
        );
        let fix = Fix {
            span: Span { start: at.end, end: at.end },
            replacement: format!(" in {}", currency.alpha()),
        };
        self.push_fixed(at, message, "may be in any currency", help, fix);
    }

    /// A bare number compared with money: an amount that lacks its currency.
    fn number_beside_money(
        &mut self,
        symbol: &str,
        node: &SyntaxNode,
        (a, b): (Type, Type),
        number: &SyntaxNode,
        currency: Currency,
    ) {
        let message = format!("`{symbol}` between {} and {}", self.type_name(a), self.type_name(b));
        let alpha = currency.alpha();
        let help =
            format!("write the amount with its currency: `{} {alpha}`", number.text().to_string().trim());
        let end = ast::span(number).end;
        let fix = Fix { span: Span { start: end, end }, replacement: format!(" {alpha}") };
        self.push_fixed(ast::span(node), message, "these do not compare", help, fix);
    }

    /// An expression that is a value, not a key. `hint` is the type that a bare word or digits may be of.
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
            Operand::Place => {
                self.place_as_value(node);
                None
            }
            Operand::Text(_) | Operand::Address(_) => {
                self.words_as_value(node);
                None
            }
            Operand::Written(token) => {
                self.text_as_value(&token);
                None
            }
        }
    }

    fn words_as_value(&mut self, node: &SyntaxNode) {
        let help = "compare it with `==`, `!=` or `in`, look it up in a list, or ask whether it `is missing`";
        self.push(ast::span(node), "texts and addresses have no value to compute with", "not a number", help);
    }

    pub(super) fn text_as_value(&mut self, token: &SyntaxToken) {
        let help = "texts in quotes are compared with fields of type text or ip; words of an enum are written without \
             quotes: `channel == ecom`";
        self.push(ast::token_span(token), "a text cannot be used here", "a text", help);
    }

    pub(super) fn place_as_value(&mut self, node: &SyntaxNode) {
        let help = "measure it in a feature, as in `speed(payment.location) by card last 12h`, or ask whether it \
             `is missing`";
        self.push(ast::span(node), "a place has no value to compute with", "a place", help);
    }

    pub(super) fn operand(&mut self, node: &SyntaxNode, scope: Scope, hint: Option<Type>) -> Option<Operand> {
        let value = match node.kind() {
            K::ParenExpr => return self.operand(&ast::expression(node)?, scope, hint),
            K::NameRef => return self.bare_name(&ast::word(node)?, scope, hint),
            K::PathExpr => return self.path(node, scope),
            K::Literal => {
                if let Some(token) = ast::token(node, K::Text) {
                    return Some(Operand::Written(token));
                }
                self.literal(node, hint)
            }
            K::MoneyLiteral => self.money(node),
            K::UnitLiteral => self.measure(node),
            K::PrefixExpr => self.prefix(node, scope),
            K::BinaryExpr => self.binary(node, scope),
            K::IsMissingExpr => self.is_missing(node, scope),
            K::InExpr => self.membership(node, scope),
            K::CallExpr => self.call(node, scope),
            _ => None,
        };
        value.map(|(expr, ty)| Operand::Value(expr, ty))
    }

    pub(super) fn literal(&mut self, node: &SyntaxNode, hint: Option<Type>) -> Option<(Expr, Type)> {
        let token = ast::tokens(node).next()?;
        let span = ast::token_span(&token);
        match token.kind() {
            K::Ident => {
                let truth = token.text().eq_ignore_ascii_case("true");
                Some((Expr::Const(Value::bool(truth), Type::Bool), Type::Bool))
            }
            K::Number if matches!(hint, Some(Type::Mcc | Type::Bin)) => {
                let ty = hint?;
                let number = if ty == Type::Mcc { self.mcc(&token) } else { self.bin(&token) };
                Some((Expr::Const(Value::int(number?), ty), ty))
            }
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
            K::Date => {
                let at = self.instant(&token, &TimeZone::UTC)?;
                Some((Expr::Const(Value::int(at), Type::Time), Type::Time))
            }
            K::Duration => match literals::duration(token.text()) {
                Ok(us) => Some((Expr::Const(Value::int(us), Type::Duration), Type::Duration)),
                Err((message, help)) => {
                    self.push(span, message, "this duration", help);
                    None
                }
            },
            _ => {
                self.text_as_value(&token);
                None
            }
        }
    }

    pub(super) fn money(&mut self, node: &SyntaxNode) -> Option<(Expr, Type)> {
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

    /// `5 km`, `300 metres`, `900 km/h`.
    fn measure(&mut self, node: &SyntaxNode) -> Option<(Expr, Type)> {
        let number = ast::token(node, K::Number)?;
        let (ty, factor) = match ast::word(node)?.text.as_str() {
            "km" if ast::token(node, K::Slash).is_some() => (Type::Speed, 1),
            "km" => (Type::Distance, 1000),
            _ => (Type::Distance, 1),
        };
        let value = literals::number(number.text()).and_then(|(value, _)| {
            let value = Value::from_wide(i128::from(value.num) * factor, i128::from(value.den));
            if value.is_missing() { Err(literals::too_long()) } else { Ok(value) }
        });
        match value {
            Ok(value) => Some((Expr::Const(value, ty), ty)),
            Err((message, help)) => {
                self.push(ast::span(node), message, "this number", help);
                None
            }
        }
    }

    pub(super) fn currency(&mut self, name: &Named) -> Option<Currency> {
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

    pub(super) fn prefix(&mut self, node: &SyntaxNode, scope: Scope) -> Option<(Expr, Type)> {
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

    pub(super) fn condition_part(&mut self, node: &SyntaxNode, scope: Scope, operator: &str) -> Option<Expr> {
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

    pub(super) fn binary(&mut self, node: &SyntaxNode, scope: Scope) -> Option<(Expr, Type)> {
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

    pub(super) fn arithmetic(
        &mut self,
        op: Arithmetic,
        symbol: &str,
        node: &SyntaxNode,
        left: &SyntaxNode,
        right: &SyntaxNode,
        scope: Scope,
    ) -> Option<(Expr, Type)> {
        use Arithmetic::{Add, Div, Mul, Sub};
        use Type::{AnyMoney, Decimal, Duration, Int, Money, Time};
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
            (Add | Sub, Duration, Duration)
            | (Mul | Div, Duration, Int | Decimal)
            | (Mul, Int | Decimal, Duration)
            | (Sub, Time, Time) => Duration,
            (Add | Sub, Time, Duration) | (Add, Duration, Time) => Time,
            _ => {
                let help = match (a_type, b_type) {
                    (Money(x), Money(y)) if x != y => format!("convert one side: `in {}`", x.alpha()),
                    (Money(_), Money(_)) => {
                        "money is added to and subtracted from money, and multiplied by numbers".to_owned()
                    }
                    (Money(x), _) | (_, Money(x)) if matches!(op, Add | Sub) => {
                        format!("write the amount with its currency, as in `100 {}`", x.alpha())
                    }
                    (Time, _) | (_, Time) => {
                        "a time less a time is a duration, and a duration can be added to a time or subtracted"
                            .to_owned()
                    }
                    (Duration, _) | (_, Duration) => {
                        "durations are added to and subtracted from durations, and multiplied by numbers"
                            .to_owned()
                    }
                    _ => "`+ - * /` compute with numbers, money and durations".to_owned(),
                };
                let message =
                    format!("`{symbol}` between {} and {}", self.type_name(a_type), self.type_name(b_type));
                self.push(ast::span(node), message, "these do not go together", help);
                return None;
            }
        };
        Some((Expr::Arithmetic(op, Box::new(a), Box::new(b)), ty))
    }

    pub(super) fn comparison(
        &mut self,
        op: Compare,
        symbol: &str,
        node: &SyntaxNode,
        left: &SyntaxNode,
        right: &SyntaxNode,
        scope: Scope,
    ) -> Option<(Expr, Type)> {
        let is_bare = |node: &SyntaxNode| {
            node.kind() == K::NameRef || node.kind() == K::Literal && ast::token(node, K::Number).is_some()
        };
        let (bare_left, bare_right) = (is_bare(left), is_bare(right));
        // What a bare name or a number is may depend on the other side: that side is looked at first.
        let right_first =
            bare_left && (!bare_right || !self.names_coded(left, scope) && self.names_coded(right, scope));
        let (first, second) = if right_first { (right, left) } else { (left, right) };
        let a = self.operand(first, scope, None);
        if a.is_none() && second.kind() == K::NameRef {
            return None;
        }
        let hint = match &a {
            Some(Operand::Value(
                _,
                ty @ (Type::Enum(..) | Type::Country | Type::Currency | Type::Mcc | Type::Bin),
            )) => Some(*ty),
            _ => None,
        };
        let b = self.operand(second, scope, hint);
        let (a, b) = (a?, b?);
        let (a, b) = if right_first { (b, a) } else { (a, b) };
        if let Some(compared) = self.written_comparison(op, symbol, node, (&a, &b), scope) {
            return compared;
        }
        match (a, b) {
            (Operand::Key(x, x_kind), Operand::Key(y, y_kind)) => {
                self.same_key(op, symbol, node, (x, x_kind), (y, y_kind))
            }
            (Operand::Value(a, a_type), Operand::Value(b, b_type)) => {
                for (side, ty, other) in [(left, a_type, b_type), (right, b_type, a_type)] {
                    if ty == Type::AnyMoney {
                        self.currency_unknown_beside(side, other);
                        return None;
                    }
                }
                if let (Type::Money(currency), number, Type::Int | Type::Decimal)
                | (Type::Int | Type::Decimal, number, Type::Money(currency)) =
                    (a_type, if matches!(a_type, Type::Money(_)) { right } else { left }, b_type)
                    && number.kind() == K::Literal
                {
                    self.number_beside_money(symbol, node, (a_type, b_type), number, currency);
                    return None;
                }
                self.comparable(op, symbol, node, a_type, b_type)?;
                Some((Expr::Compare(op, Box::new(a), Box::new(b)), Type::Bool))
            }
            (Operand::Place, _) => {
                self.place_as_value(left);
                None
            }
            (_, Operand::Place) => {
                self.place_as_value(right);
                None
            }
            (_, Operand::Written(token)) | (Operand::Written(token), _) => {
                self.text_as_value(&token);
                None
            }
            // `written_comparison` has told what there is to tell.
            (Operand::Text(_) | Operand::Address(_), _) | (_, Operand::Text(_) | Operand::Address(_)) => None,
            (Operand::Key(_, entity), _) | (_, Operand::Key(_, entity)) => {
                let kind = &self.policy.entities[entity.index()];
                let message = format!("a key of kind `{kind}` is compared with something that is not a key");
                let help = "compare it with another key of its kind, or put the values into a list: `card in some_list`";
                self.push(ast::span(node), message, "these do not go together", help);
                None
            }
        }
    }

    pub(super) fn same_key(
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

    pub(super) fn comparable(
        &mut self,
        op: Compare,
        symbol: &str,
        node: &SyntaxNode,
        a: Type,
        b: Type,
    ) -> Option<()> {
        use Type::{
            Bin, Bool, Country, Currency, Decimal, Distance, Duration, Enum, Int, Mcc, Money, Speed, Time,
        };
        let ordered = !matches!(op, Compare::Eq | Compare::Ne);
        let help = match (a, b) {
            (Int | Decimal, Int | Decimal) => return Some(()),
            (Money(x), Money(y)) if x == y => return Some(()),
            (Duration, Duration) | (Distance, Distance) | (Speed, Speed) | (Time, Time) => return Some(()),
            (Bool, Bool) | (Country, Country) | (Currency, Currency) | (Mcc, Mcc) | (Bin, Bin)
                if !ordered =>
            {
                return Some(());
            }
            (Mcc, Mcc) => "categories have no order; write a range as `mcc in 5000 to 5999`".to_owned(),
            (Country, Country) | (Currency, Currency) | (Bin, Bin) => {
                "codes have no order; use `==`, `!=`, or `in` with a list".to_owned()
            }
            (Country, _) | (_, Country) => "write a country as its two letters, as in `… == CN`".to_owned(),
            (Currency, _) | (_, Currency) => {
                "write a currency as its three letters, as in `… == USD`".to_owned()
            }
            (Mcc, _) | (_, Mcc) => "write a category as its four digits, as in `… == 5411`".to_owned(),
            (Bin, _) | (_, Bin) => "write 6 to 8 digits, as in `… == 411111`".to_owned(),
            (Time, _) | (_, Time) => {
                "compare it with another time, as in `opened > now() - 30d` or `opened < 2026-01-31`"
                    .to_owned()
            }
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
            (Duration, _) | (_, Duration) => {
                "write a duration with its unit, as in `10m` or `24h`".to_owned()
            }
            (Distance, _) | (_, Distance) => {
                "write a distance with its unit, as in `5 km` or `300 metres`".to_owned()
            }
            (Speed, _) | (_, Speed) => "write a speed with its unit, as in `900 km/h`".to_owned(),
            // AnyMoney was reported before.
            _ => String::new(),
        };
        let message = format!("`{symbol}` between {} and {}", self.type_name(a), self.type_name(b));
        self.push(ast::span(node), message, "these do not compare", help);
        None
    }

    /// Whether a bare name stands for a value of an enum or a code here (reports nothing).
    pub(super) fn names_coded(&self, node: &SyntaxNode, scope: Scope) -> bool {
        let Some(name) = ast::word(node) else { return false };
        let ty = match self.meaning(&name.text, scope) {
            Meaning::Field(field) => {
                return matches!(
                    self.field_type(scope.event, field),
                    Some(
                        FieldType::Enum(_)
                            | FieldType::Country
                            | FieldType::Currency
                            | FieldType::Mcc
                            | FieldType::Bin
                    )
                );
            }
            Meaning::Let(ix) => self.policy.lets[ix.index()].ty,
            Meaning::Feature(ix) => self.policy.features[ix.index()].ty,
            Meaning::Model(_) => Type::Decimal,
            _ => return false,
        };
        matches!(ty, Type::Enum(..) | Type::Country | Type::Currency | Type::Mcc | Type::Bin)
    }
}
