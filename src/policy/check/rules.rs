//! Rules and decisions.

use super::expressions::{Place, Scope};
use super::{Checker, DECLARATIONS_MAX, Namespace};
use crate::engine::units::Action;
use crate::policy::ast::{self, Named};
use crate::policy::syntax::{SyntaxKind as K, SyntaxNode, SyntaxToken};
use crate::policy::typed::{Decide, EventIx, Expr, Late, Rule, RuleIx, SceneIx, TableIx, Type, Within};

impl Checker<'_> {
    /// Which events are judged, before features and rules ask.
    pub(super) fn find_decided(&mut self, root: &SyntaxNode) {
        for node in ast::children(root, K::DecideDecl) {
            let Some(event) = ast::name_ref(&node).and_then(|name| self.events.get(&name.text).copied())
            else {
                continue;
            };
            if self.event(event).amends.is_none() {
                self.decided.insert(event);
            }
        }
    }

    /// Rules first by name, because `allow over` may name a later one.
    pub(super) fn each_rule(&mut self, root: &SyntaxNode) {
        let mut declared = Vec::new();
        for node in root.children() {
            match node.kind() {
                _ if self.is_broken(&node) => {}
                K::RuleDecl => self.declare_rule(&node, None, &mut declared),
                K::TableDecl => self.table(&node, &mut declared),
                K::SceneDecl => {
                    let scene = self.scene(&node);
                    for rule in ast::children(&node, K::RuleDecl) {
                        match scene {
                            Some(scene) => self.declare_rule(&rule, Some(scene), &mut declared),
                            None => self.poisoned.extend(ast::name(&rule).map(|name| name.text)),
                        }
                    }
                }
                _ => {}
            }
            if declared.len() > DECLARATIONS_MAX {
                self.too_many(&node, DECLARATIONS_MAX);
                break;
            }
        }
        for (at, node) in declared.iter().enumerate() {
            self.rule(RuleIx(at as u16), node);
        }
    }

    fn declare_rule(&mut self, node: &SyntaxNode, scene: Option<SceneIx>, declared: &mut Vec<SyntaxNode>) {
        let Some(name) = ast::name(node) else { return };
        if declared.len() > DECLARATIONS_MAX || !self.declare(Namespace::Rule, &name, "a rule") {
            return;
        }
        let event = match scene {
            Some(scene) => Some(self.policy.scenes[scene.index()].event),
            None => {
                let Some(on) = ast::clause_name(node, K::OnClause) else { return };
                self.event_named(&on).filter(|event| self.judged(*event, &on, "rule"))
            }
        };
        let Some(event) = event else {
            self.poisoned.insert(name.text);
            return;
        };
        self.rules.insert(name.text.clone(), RuleIx(self.policy.rules.len() as u16));
        let ((mandatory, monitor), salience) = self.modifiers(node);
        let effective = self.effective(node);
        self.policy.rules.push(Rule {
            name: name.text,
            event,
            within: scene.map(Within::Scene),
            effective,
            when: Expr::Score,
            action: None,
            score: None,
            reason: None,
            mandatory,
            monitor,
            salience,
            allow_over: Vec::new(),
            alerts: Vec::new(),
        });
        declared.push(node.clone());
    }

    /// Whether a rule or table is mandatory and whether it is monitored, and its salience.
    pub(super) fn modifiers(&mut self, node: &SyntaxNode) -> ((bool, bool), i32) {
        let modifiers: Vec<SyntaxNode> = ast::children(node, K::Modifier).collect();
        let has = |word| modifiers.iter().any(|modifier| ast::has_word(modifier, word));
        ((has("mandatory"), has("monitor")), self.salience(&modifiers))
    }

    fn salience(&mut self, modifiers: &[SyntaxNode]) -> i32 {
        let mut seen: Vec<String> = Vec::new();
        let mut salience = 0;
        for modifier in modifiers {
            let Some(word) = ast::word(modifier) else { continue };
            if seen.contains(&word.text) {
                self.push(
                    ast::span(modifier),
                    format!("`{}` is there twice", word.text),
                    "again here",
                    "remove one of the two",
                );
                continue;
            }
            if let Some(number) = ast::token(modifier, K::Number) {
                match signed(modifier, &number).and_then(|value| i32::try_from(value).ok()) {
                    Some(value) => salience = value,
                    None => self.push(
                        ast::span(modifier),
                        "a salience is a whole number that fits 32 bits",
                        "not a salience",
                        "for example: salience 10; greater comes first among the reasons",
                    ),
                }
            }
            seen.push(word.text);
        }
        salience
    }

    fn rule(&mut self, ix: RuleIx, node: &SyntaxNode) {
        let event = self.policy.rules[ix.index()].event;
        let scope = Scope { event, place: Place::Rule };
        let when = ast::child(node, K::WhenClause).and_then(|clause| ast::expression(&clause));
        if let Some(when) = when.and_then(|when| self.condition(&when, scope)) {
            self.policy.rules[ix.index()].when = when;
        }
        for effect in ast::children(node, K::Effect) {
            self.effect(ix, &effect);
        }
    }

    fn effect(&mut self, ix: RuleIx, effect: &SyntaxNode) {
        let Some(word) = ast::word(effect) else { return };
        let at = ast::span(effect);
        match word.text.as_str() {
            "score" => {
                let Some(number) = ast::token(effect, K::Number) else { return };
                let score = signed(effect, &number).filter(|score| (0..=100).contains(score));
                let Some(score) = score else {
                    let help = "write a whole number from 0 to 100; the most severe is 100";
                    self.push(at, "a score is a whole number from 0 to 100", "outside", help);
                    return;
                };
                if self.policy.rules[ix.index()].score.replace(score as i16).is_some() {
                    self.push(at, "a rule gives one score", "a second one", "remove one of the two");
                }
            }
            "reason" => {
                let Some(name) = ast::name_ref(effect) else { return };
                let Some(reason) = self.reasons.get(&name.text).copied() else {
                    let names: Vec<String> =
                        self.policy.reasons.iter().map(|reason| reason.name.clone()).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let otherwise = match names.is_empty() {
                        true => format!(
                            "declare it, as in `reason {} 1 {{ analyst \"…\", withhold }}`",
                            name.text
                        ),
                        false => String::new(),
                    };
                    self.unknown(&name, "reason", &names, &otherwise);
                    return;
                };
                if self.policy.rules[ix.index()].reason.replace(reason).is_some() {
                    self.push(at, "a rule gives one reason", "a second one", "write a rule for each reason");
                }
            }
            "alert" => {
                let Some(name) = ast::name_ref(effect) else { return };
                let Some(queue) = self.queues.get(&name.text).copied() else {
                    let names: Vec<String> =
                        self.policy.queues.iter().map(|queue| queue.name.clone()).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let otherwise = match names.is_empty() {
                        true => format!("declare it, as in `queue {} 1`", name.text),
                        false => String::new(),
                    };
                    self.unknown(&name, "queue", &names, &otherwise);
                    return;
                };
                let alerts = &mut self.policy.rules[ix.index()].alerts;
                if alerts.contains(&queue) {
                    let message = format!("the queue `{}` is there twice", name.text);
                    self.push(at, message, "again here", "remove one of the two");
                } else {
                    alerts.push(queue);
                }
            }
            word => {
                let action = action(word);
                if self.policy.rules[ix.index()].action.is_some() {
                    self.push(
                        at,
                        "a rule asks for one action",
                        "a second one",
                        "keep the more severe of the two",
                    );
                    return;
                }
                self.policy.rules[ix.index()].action = action;
                self.allow_over(ix, effect);
            }
        }
    }

    fn allow_over(&mut self, ix: RuleIx, effect: &SyntaxNode) {
        for name in ast::children(effect, K::NameRef).filter_map(|name| ast::word(&name)) {
            if let Some(table) = self.tables.get(&name.text).copied() {
                self.allow_over_table(ix, &name, table);
                continue;
            }
            let Some(over) = self.rules.get(&name.text).copied() else {
                let mut names: Vec<String> = self.rules.keys().chain(self.tables.keys()).cloned().collect();
                names.sort();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.unknown(&name, "rule", &names, "");
                continue;
            };
            let (own, other) = (&self.policy.rules[ix.index()], &self.policy.rules[over.index()]);
            let (message, label, help) = if over == ix {
                let message = format!("the rule `{}` cannot be allowed over itself", name.text);
                (message, "the same rule", "name the rules that it removes when it fires")
            } else if other.mandatory {
                let message = format!("the rule `{}` is mandatory: nothing is allowed over it", name.text);
                (message, "a mandatory rule", "leave it out here, or take `mandatory` off that rule")
            } else if own.event != other.event {
                let other_event = self.event_name(other.event);
                let message = format!("the rule `{}` is on `{other_event}`", name.text);
                (message, "of another event", "a rule removes rules on its own event")
            } else if own.allow_over.contains(&over) {
                (format!("the rule `{}` is there twice", name.text), "again here", "remove one of the two")
            } else {
                self.policy.rules[ix.index()].allow_over.push(over);
                continue;
            };
            self.push(name.span, message, label, help);
        }
    }

    /// All rows of a table.
    fn allow_over_table(&mut self, ix: RuleIx, name: &Named, table: TableIx) {
        let rows = self.policy.rules.iter().enumerate();
        let rows = rows.filter(|(_, rule)| rule.within == Some(Within::Table(table)));
        let rows: Vec<RuleIx> = rows.map(|(at, _)| RuleIx(at as u16)).collect();
        let Some(first) = rows.first().map(|first| &self.policy.rules[first.index()]) else { return };
        let own = &self.policy.rules[ix.index()];
        let (message, label, help) = if rows.contains(&ix) {
            let message = format!("the table `{}` cannot be allowed over itself", name.text);
            (message, "the same table", "name the rules that this row removes when it fires")
        } else if first.mandatory {
            let message = format!("the table `{}` is mandatory: nothing is allowed over it", name.text);
            (message, "a mandatory table", "leave it out here, or take `mandatory` off that table")
        } else if own.event != first.event {
            let event = self.event_name(first.event);
            let message = format!("the table `{}` is on `{event}`", name.text);
            (message, "of another event", "a rule removes rules on its own event")
        } else if rows.iter().any(|row| own.allow_over.contains(row)) {
            (format!("the table `{}` is there twice", name.text), "again here", "remove one of the two")
        } else {
            self.policy.rules[ix.index()].allow_over.extend(rows);
            return;
        };
        self.push(name.span, message, label, help);
    }

    pub(super) fn decide(&mut self, node: &SyntaxNode) {
        let Some(name) = ast::name_ref(node) else { return };
        let Some(event) = self.event_named(&name) else { return };
        if let Some(target) = self.event(event).amends {
            let target = self.event_name(target);
            let message = format!("`{}` is an amendment; amendments are not judged", name.text);
            self.push(
                name.span,
                message,
                "amends another event",
                format!("decide `{target}`, and count `{}` with a feature", name.text),
            );
            return;
        }
        if self.policy.decides.iter().any(|decide| decide.event == event) {
            let message = format!("`{}` is decided twice", name.text);
            self.push(name.span, message, "a second `decide`", "join the two");
            return;
        }
        let score = self.decided_score(node, &name, event);
        let thresholds = ast::children(node, K::Threshold)
            .filter_map(|threshold| self.threshold(&threshold, Scope { event, place: Place::Threshold }))
            .collect();
        let unassessed = self.unassessed(node, &name);
        let late = self.late(node, event);
        self.policy.decides.push(Decide {
            event,
            score: score.unwrap_or(Expr::RuleScoresMax),
            thresholds,
            unassessed: unassessed.unwrap_or(Action::Review),
            late,
        });
    }

    fn decided_score(&mut self, node: &SyntaxNode, name: &Named, event: EventIx) -> Option<Expr> {
        let mut items = ast::children(node, K::ScoreItem);
        let Some(item) = items.next() else {
            let message = format!("the decision of `{}` has no score", name.text);
            self.push(
                name.span,
                message,
                "`score = …` is missing",
                "write, for example, `score = max(rule_scores)`",
            );
            return None;
        };
        if let Some(second) = items.next() {
            self.push(
                ast::span(&second),
                "a decision has one score",
                "a second one",
                "remove one of the two",
            );
        }
        let expression = ast::expression(&item)?;
        let (expr, ty) = self.whole(&expression, Scope { event, place: Place::Score })?;
        if matches!(ty, Type::Int | Type::Decimal) {
            return Some(expr);
        }
        let message = format!("a score is a number; this is {}", self.type_name(ty));
        let help = match ty {
            Type::Money(_) => "turn money into a number with `major(…)`",
            _ => "write, for example, `score = max(rule_scores)`",
        };
        self.push(ast::span(&expression), message, "not a number", help);
        None
    }

    fn threshold(&mut self, threshold: &SyntaxNode, scope: Scope) -> Option<(Action, Expr)> {
        let action = action(&ast::word(threshold)?.text)?;
        let when = ast::expression(&ast::child(threshold, K::WhenClause)?)?;
        Some((action, self.condition(&when, scope)?))
    }

    fn unassessed(&mut self, node: &SyntaxNode, name: &Named) -> Option<Action> {
        let mut items = ast::children(node, K::UnassessedItem);
        let Some(item) = items.next() else {
            let message =
                format!("the decision of `{}` does not say what to do without any information", name.text);
            self.push(
                name.span,
                message,
                "`unassessed ACTION` is missing",
                "write, for example, `unassessed review`",
            );
            return None;
        };
        if let Some(second) = items.next() {
            self.push(
                ast::span(&second),
                "`unassessed` is there twice",
                "again here",
                "remove one of the two",
            );
        }
        ast::tokens(&item)
            .filter(|token| token.kind() == K::Ident)
            .nth(1)
            .and_then(|token| action(token.text()))
    }

    fn late(&mut self, node: &SyntaxNode, event: EventIx) -> Option<Late> {
        let mut items = ast::children(node, K::LateItem);
        let item = items.next()?;
        if let Some(second) = items.next() {
            self.push(
                ast::head_span(&second),
                "`late after` is there twice",
                "again here",
                "keep one; its branches are tried in order",
            );
        }
        let after = self.duration(&item)?;
        let after_ns = u64::try_from(after).ok().filter(|us| *us > 0).and_then(|us| us.checked_mul(1_000));
        let Some(after_ns) = after_ns else {
            let token = ast::token(&item, K::Duration)?;
            let help = "say from which age on a payment falls back, as in `late after 500us`";
            self.push(ast::token_span(&token), "this age is zero or too long", "not an age", help);
            return None;
        };
        let (mut branches, mut otherwise) = (Vec::new(), None);
        for threshold in ast::children(&item, K::Threshold) {
            if ast::has_word(&threshold, "else") {
                let word = ast::tokens(&threshold).filter(|token| token.kind() == K::Ident).nth(1);
                if otherwise.is_some() {
                    self.push(
                        ast::span(&threshold),
                        "`else` is there twice",
                        "again here",
                        "remove one of the two",
                    );
                }
                otherwise = word.and_then(|word| action(word.text()));
                continue;
            }
            if otherwise.is_some() {
                let help = "the first branch that holds decides; put `else` last";
                self.push(ast::span(&threshold), "this branch comes after `else`", "never reached", help);
            }
            branches.extend(self.threshold(&threshold, Scope { event, place: Place::Late }));
        }
        let Some(otherwise) = otherwise else {
            let help = "end with what to do otherwise, as in `else review`";
            self.push(
                ast::head_span(&item),
                "`late after` has no `else`",
                "the last branch is missing",
                help,
            );
            return None;
        };
        Some(Late { after_ns, branches, otherwise })
    }
}

/// The action that a word of the language means.
fn action(word: &str) -> Option<Action> {
    Action::ALL.into_iter().find(|action| *action != Action::None && action.word() == word)
}

/// A whole number with the sign before it in the same node.
fn signed(node: &SyntaxNode, number: &SyntaxToken) -> Option<i64> {
    let value: i64 = number.text().replace('_', "").parse().ok()?;
    Some(if ast::token(node, K::Minus).is_some() { -value } else { value })
}
