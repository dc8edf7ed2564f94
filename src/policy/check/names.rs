//! Names in expressions: what each one stands for where it is used, and what to say when it stands for nothing.

use super::expressions::{Meaning, Operand, Place, Scope};
use super::{Checker, one_of};
use crate::engine::units::codes::Country;
use crate::engine::units::{Currency, Value};
use crate::policy::ast::{self, Named};
use crate::policy::syntax::SyntaxNode;
use crate::policy::typed::{EventIx, Expr, FeatureIx, FeatureKind, FieldIx, FieldType, ModelIx, Type};
use std::collections::HashSet;

impl Checker<'_> {
    pub(super) fn meaning(&self, name: &str, scope: Scope) -> Meaning {
        if let Some(field) = self.fields[scope.event.index()].get(name) {
            return Meaning::Field(*field);
        }
        if let Some(ix) = self.lets.get(&(scope.event, name.to_owned())) {
            return Meaning::Let(*ix);
        }
        if let Some(ix) = self.features.get(name) {
            return Meaning::Feature(*ix);
        }
        if let Some(ix) = self.models.get(name) {
            return Meaning::Model(*ix);
        }
        self.events.get(name).map_or(Meaning::Nothing, |event| Meaning::Event(*event))
    }

    pub(super) fn bare_name(&mut self, name: &Named, scope: Scope, hint: Option<Type>) -> Option<Operand> {
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
        if let Some(ty @ (Type::Country | Type::Currency)) = hint {
            // Codes are in capitals; whatever else is written may be a name.
            let number = match ty {
                Type::Country => Country::from_alpha(&name.text).map(|country| country.0),
                _ => Currency::from_alpha(&name.text).map(|currency| currency.0),
            };
            if let Some(number) = number {
                return value(Expr::Const(Value::int(i64::from(number)), ty), ty);
            }
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
            Meaning::Model(ix) => self.model_use(ix, name, scope),
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

    pub(super) fn final_score(&mut self, name: &Named, scope: Scope) -> Option<Operand> {
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

    pub(super) fn rule_scores(&mut self, name: &Named, scope: Scope, expr: Expr) -> Option<Operand> {
        if scope.place == Place::Score {
            return Some(Operand::Value(expr, Type::Int));
        }
        let help = "in thresholds use `score`; the scores of the rules are joined in `decide`: `score = max(rule_scores)`";
        self.push(name.span, "`rule_scores` is only known in the score of `decide`", "not known here", help);
        None
    }

    pub(super) fn field(&self, event: EventIx, field: FieldIx) -> Option<Operand> {
        let declared = self.field_type(event, field)?;
        match declared {
            FieldType::Entity(entity) => return Some(Operand::Key(field, *entity)),
            FieldType::Geo => return Some(Operand::Place),
            FieldType::Text(_) => return Some(Operand::Text(field)),
            FieldType::Ip => return Some(Operand::Address(field)),
            _ => {}
        }
        let ty = declared.value_type(event, field)?;
        Some(Operand::Value(Expr::Field(field), ty))
    }

    pub(super) fn feature_use(&mut self, ix: FeatureIx, name: &Named, scope: Scope) -> Option<Operand> {
        if !scope.features() {
            self.cyclic("feature", name, scope);
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
                    let by = window.by;
                    self.not_looked_up(name, scope.event, by);
                    return None;
                }
            }
        }
        Some(Operand::Value(Expr::Feature(ix), ty))
    }

    fn model_use(&mut self, ix: ModelIx, name: &Named, scope: Scope) -> Option<Operand> {
        if scope.place == Place::Input {
            let message = format!("the model `{}` cannot be an input of another", name.text);
            let help = "join what models say in a rule's `when`, or in `decide`";
            self.push(name.span, message, "a model", help);
            return None;
        }
        if !scope.features() {
            self.cyclic("model", name, scope);
            return None;
        }
        let own = self.policy.models[ix.index()].event;
        if own != scope.event {
            let (own, event) = (self.event_name(own), self.event_name(scope.event));
            let message = format!("the model `{}` is asked about `{own}`, not about `{event}`", name.text);
            self.push(name.span, message, "of another event", format!("use it in rules on `{own}`"));
            return None;
        }
        Some(Operand::Value(Expr::Model(ix), Type::Decimal))
    }

    /// Reports a feature or a model where it cannot be used.
    pub(super) fn cyclic(&mut self, what: &'static str, name: &Named, scope: Scope) {
        let place = match scope.place {
            Place::Aggregate => "inside an aggregate",
            Place::Let => "in a `let`",
            _ => "in another feature",
        };
        let message = format!("the {what} `{}` is used {place}, which would be cyclic", name.text);
        let help = match what {
            "model" => {
                "models are asked about events that are judged; use them in a rule's `when`, or in `decide`"
            }
            _ => {
                "features are computed from events alone; combine features in a rule's `when`, or in `decide`"
            }
        };
        self.push(name.span, message, format!("a {what}"), help);
    }

    pub(super) fn unknown_value(&mut self, name: &Named, scope: Scope, hint: Option<Type>) {
        if !scope.features() && hint.is_none() {
            let is_in = |names: &HashSet<String>| names.contains(&name.text);
            let what = match (is_in(&self.feature_names), is_in(&self.model_names)) {
                (true, _) => Some("feature"),
                (_, true) => Some("model"),
                _ => None,
            };
            if let Some(what) = what {
                self.cyclic(what, name, scope);
                return;
            }
        }
        if self.incomplete[scope.event.index()] || self.is_full() {
            return;
        }
        let event = self.event_name(scope.event);
        if hint == Some(Type::Currency) {
            self.currency(name);
            return;
        }
        if hint == Some(Type::Country) {
            let capitals = name.text.to_ascii_uppercase();
            let help = match Country::from_alpha(&capitals) {
                Some(country) => format!("write `{}`, in capitals", country.alpha()),
                None => "write its two letters by ISO 3166-1 in capitals, such as DE, US or CN".to_owned(),
            };
            self.push(name.span, format!("there is no country `{}`", name.text), "not known", help);
            return;
        }
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
            candidates.extend(self.policy.models.iter().map(|model| model.name.clone()));
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
    pub(super) fn path(&mut self, node: &SyntaxNode, scope: Scope) -> Option<Operand> {
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
            Operand::Place => Some(Operand::Place),
            Operand::Text(_) | Operand::Address(_) | Operand::Written(_) => {
                let message =
                    format!("a text or address of the amendment `{}` cannot be used here", event_name.text);
                let help =
                    "only whether it `is missing` can be asked; count the amendment itself to look at it";
                self.push(ast::span(node), message, "of an amendment", help);
                None
            }
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
    pub(super) fn path_event(&mut self, name: &Named, scope: Scope) -> Option<EventIx> {
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

    pub(super) fn own_field(&mut self, event: EventIx, name: &Named) -> Option<FieldIx> {
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
}
