//! Questions and functions in expressions: `is missing`, `in`, and everything that is called with parentheses.

use super::expressions::{AGGREGATES, FUNCTIONS, Meaning, Operand, Place, Scope};
use super::{Checker, literals, nearest};
use crate::engine::units::Value;
use crate::policy::ast::{self};
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode};
use crate::policy::typed::{Compare, Expr, Type};

impl Checker<'_> {
    pub(super) fn is_missing(&mut self, node: &SyntaxNode, scope: Scope) -> Option<(Expr, Type)> {
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
    pub(super) fn membership(&mut self, node: &SyntaxNode, scope: Scope) -> Option<(Expr, Type)> {
        let mut parts = ast::expressions(node);
        let left = parts.next()?;
        let negated = ast::has_word(node, "not");
        if let Some(text) = ast::token(node, K::Text) {
            if let Some(field) = self.address(&left, scope) {
                return self.in_prefix(field, &text, negated);
            }
            return self.in_zone(node, &left, &text, negated);
        }
        if ast::token(node, K::Number).is_some() {
            return self.in_range(node, &left, negated, scope);
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
            operand @ (Operand::Key(..)
            | Operand::Text(_)
            | Operand::Address(_)
            | Operand::Value(
                _,
                Type::Int | Type::Country | Type::Currency | Type::Mcc | Type::Bin,
            )) => self.in_list(node, operand, &name, negated, scope),
            Operand::Written(token) => {
                self.text_as_value(&token);
                None
            }
            Operand::Place => {
                self.place_as_value(&left);
                None
            }
            Operand::Value(_, Type::Money(_) | Type::AnyMoney) if negated => {
                let help = "the currency itself cannot be asked for; `in` converts";
                self.push(ast::span(node), "`not in` asks whether a key is in a list", "this is money", help);
                None
            }
            Operand::Value(expr, ty @ (Type::Money(_) | Type::AnyMoney)) => {
                if self.lists.contains_key(&name.text) {
                    let message =
                        format!("there are no lists of money; `{}` holds something else", name.text);
                    self.push(
                        ast::span(node),
                        message,
                        "never in it",
                        "after money, `in` names a currency: `amount in USD`",
                    );
                    return None;
                }
                let currency = self.currency(&name)?;
                if self.policy.rates.is_some() && matches!(ty, Type::Money(from) if from != currency) {
                    self.convertible_again(node, scope, &expr)?;
                }
                Some((Expr::InCurrency(Box::new(expr), currency), Type::Money(currency)))
            }
            Operand::Value(_, ty) => {
                let message = format!(
                    "`in` looks something up in a list, or converts money; this is {}",
                    self.type_name(ty)
                );
                let help = "lists are of keys, texts, addresses, whole numbers and codes; `amount in USD` converts money";
                self.push(ast::span(&left), message, "not possible", help);
                None
            }
        }
    }

    /// `in 5000 to 5999`, both ends included.
    fn in_range(
        &mut self,
        node: &SyntaxNode,
        left: &SyntaxNode,
        negated: bool,
        scope: Scope,
    ) -> Option<(Expr, Type)> {
        let mut ends = ast::tokens(node).filter(|token| token.kind() == K::Number);
        let (first, last) = (ends.next()?, ends.next()?);
        let (value, ty) = self.value(left, scope, None)?;
        if ty != Type::Mcc {
            let message = format!("a range follows a merchant category; this is {}", self.type_name(ty));
            let help =
                "compare twice, as in `a >= 3 and a <= 5`; categories are written `mcc in 5000 to 5999`";
            self.push(ast::span(left), message, "not of type `mcc`", help);
            return None;
        }
        let (first, last) = self.mcc_range(&first, &last)?;
        let end = |how, number| {
            let number = Expr::Const(Value::int(number), Type::Mcc);
            Expr::Compare(how, Box::new(value.clone()), Box::new(number))
        };
        let inside = Expr::And(Box::new(end(Compare::Ge, first)), Box::new(end(Compare::Le, last)));
        Some((if negated { Expr::Not(Box::new(inside)) } else { inside }, Type::Bool))
    }

    /// What is stored of an event is converted when it enters, what an amendment brings when that comes: what is made of
    /// both has no one time at which it could be converted once more.
    ///
    /// And what a model has a part in is not converted at all: whether that fails would depend on whether the model is asked.
    fn convertible_again(&mut self, node: &SyntaxNode, scope: Scope, expr: &Expr) -> Option<()> {
        if self.mentions_model(expr) {
            let message = "money that a model has a part in is converted";
            let help = "convert it first, and then let the model have its part: `(amount in EUR) * risk`";
            self.push(ast::span(node), message, "already in a currency", help);
            return None;
        }
        let stored = matches!(scope.place, Place::Let | Place::Aggregate);
        if !stored || !self.mentions_amendment(expr) {
            return Some(());
        }
        let message = "money that an amendment may change is converted twice";
        let help = "convert it once, where it is read: `first_present(reversal.final, amount) in USD`";
        self.push(ast::span(node), message, "already in a currency", help);
        None
    }

    pub(super) fn in_zone(
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
        let canonical = self.zone_named(zone)?;
        let expr = if function == "hour" { Expr::Hour(canonical) } else { Expr::Weekday(canonical) };
        Some((expr, Type::Int))
    }

    /// The IANA name of a time zone in quotes.
    pub(super) fn zone_named(&mut self, zone: &crate::policy::syntax::SyntaxToken) -> Option<String> {
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
        Some(canonical)
    }

    pub(super) fn zone_missing(&mut self, node: &SyntaxNode, function: &str) {
        let message = format!("`{function}()` needs a time zone");
        let help = format!(
            "write `{function}() in \"Europe/Paris\"`, or \"UTC\"; events carry no zone of their own"
        );
        self.push(ast::span(node), message, "where?", help);
    }

    pub(super) fn call(&mut self, node: &SyntaxNode, scope: Scope) -> Option<(Expr, Type)> {
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
                    _ => None,
                }),
            "max" if is_rule_scores(&values) => self.value(&values[0], scope, None),
            "max" | "min" | "first_present" => self.choice(node, function, &values, scope),
            "major" => self.major(node, &values, scope),
            "currency" => self.currency_of(node, &values, scope),
            "starts_with" => self.starts_with(node, &values, scope),
            "now" if args.is_empty() => Some((Expr::Now, Type::Time)),
            "now" => {
                let help = "write `now()`: the time of the event itself";
                let message = "`now` takes nothing in its parentheses";
                self.push(ast::span(&args[0]), message, "not expected", help);
                None
            }
            _ if AGGREGATES.contains(&function) => {
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
    pub(super) fn choice(
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
            Type::Int
            | Type::Decimal
            | Type::Money(_)
            | Type::Duration
            | Type::Distance
            | Type::Speed
            | Type::Time => Some((Expr::Extreme { greatest: function == "max", of }, ty)),
            Type::AnyMoney => {
                self.currency_unknown(&values[0]);
                None
            }
            Type::Bool | Type::Enum(..) | Type::Country | Type::Currency | Type::Mcc | Type::Bin => {
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

    /// `currency(MONEY)`.
    fn currency_of(
        &mut self,
        node: &SyntaxNode,
        values: &[SyntaxNode],
        scope: Scope,
    ) -> Option<(Expr, Type)> {
        let [value] = values else {
            let help = "for example: currency(amount) == USD";
            self.push(ast::span(node), "`currency` takes one amount of money", "not one amount", help);
            return None;
        };
        let (message, label, help) = match self.value(value, scope, None)? {
            (expr, Type::AnyMoney) => return Some((Expr::CurrencyOf(Box::new(expr)), Type::Currency)),
            (_, Type::Money(currency)) => (
                format!("this is always in {}", currency.alpha()),
                "of one currency",
                "ask for the currency of a field of type `money`, as in `currency(amount) == USD`",
            ),
            (_, ty) => (
                format!("`currency` takes money; this is {}", self.type_name(ty)),
                "not money",
                "for example: currency(amount) == USD",
            ),
        };
        self.push(ast::span(value), message, label, help);
        None
    }

    pub(super) fn major(
        &mut self,
        node: &SyntaxNode,
        values: &[SyntaxNode],
        scope: Scope,
    ) -> Option<(Expr, Type)> {
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
