//! Declarations and what they consist of.

use super::{DECLARATIONS, Parser, RESERVED, span};
use crate::policy::syntax::SyntaxKind as K;
use std::collections::HashSet;

/// The words that windows start with.
const FRAMES: &[&str] = &["last", "every", "this", "session"];
const PERIODS: &[&str] = &["hour", "day", "week", "month"];
const FRAME_HELP: &str = "the windows are `last 24h`, `last 10 events within 7d`, `every 1h`, \
    `this day in \"Europe/Paris\"` and `session gap 10m within 1d`";

const ACTIONS: &[&str] = &["allow", "challenge", "review", "block"];

impl Parser<'_> {
    /// The whole source. Returns where the declarations with errors in them start.
    pub(super) fn source(&mut self) -> HashSet<u32> {
        let mut broken = HashSet::new();
        self.builder.start_node(K::Root.into());
        while !self.at_end() {
            let (at, errors) = (self.at, self.errors_seen);
            let start = self.token(0).map_or(0, |token| token.start);
            self.declaration();
            self.recover(Self::at_any_declaration);
            if self.at == at {
                self.start(K::Error);
                self.bump();
                self.finish();
            }
            if self.errors_seen > errors {
                broken.insert(span(start, start).start);
            }
        }
        self.trivia();
        self.finish();
        broken
    }

    /// Whether a declaration starts here, at the top level.
    fn at_any_declaration(&self) -> bool {
        self.is(K::Ident)
            && (DECLARATIONS.contains(&self.text_at(0)) || RESERVED.contains(&self.text_at(0)))
            && self.on_new_line(0)
    }

    fn declaration(&mut self) {
        let word = if self.is(K::Ident) { self.text_at(0) } else { "" };
        let (kind, body): (K, fn(&mut Self)) = match word {
            "policy" => (K::PolicyDecl, Self::policy),
            "use" => (K::UseDecl, Self::uses),
            "rates" => (K::RatesDecl, Self::rates),
            "entity" => (K::EntityDecl, Self::entity),
            "reason" => (K::ReasonDecl, Self::reason),
            "queue" => (K::QueueDecl, Self::queue),
            "event" => (K::EventDecl, Self::event),
            "list" => (K::ListDecl, Self::list),
            "let" => (K::LetDecl, Self::definition),
            "feature" => (K::FeatureDecl, Self::feature),
            "scorecard" => (K::ScorecardDecl, Self::scorecard),
            "table" => (K::TableDecl, Self::table),
            "model" => (K::ModelDecl, Self::model),
            "scene" => (K::SceneDecl, Self::scene),
            "rule" => (K::RuleDecl, Self::rule),
            "decide" => (K::DecideDecl, Self::decide),
            "test" => (K::TestDecl, Self::test),
            word if RESERVED.contains(&word) => (K::ReservedDecl, Self::reserved),
            word => return self.not_a_declaration(word),
        };
        self.start(kind);
        if kind == K::ReservedDecl {
            body(self);
        } else {
            self.bump();
            body(self);
            // What is left belongs to this declaration, in error.
            if !self.recovering && !self.at_end() && !self.on_new_line(0) {
                let found = self.found();
                self.error(
                    format!("{found} does not belong to this declaration"),
                    "expected the end of the declaration".to_owned(),
                    "start the next declaration on a new line".to_owned(),
                );
            }
            self.recover(Self::at_any_declaration);
        }
        self.finish();
    }

    fn not_a_declaration(&mut self, word: &str) {
        let help = match super::super::suggest::nearest(word, DECLARATIONS.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.is(K::RBrace) => "there is one `}` too many".to_owned(),
            None => format!("a declaration starts with one of: {}", DECLARATIONS.join(", ")),
        };
        let found = self.found();
        self.at_start_error(format!("expected a declaration, found {found}"), "not a declaration", help);
    }

    /// Reports an error at the next token even when it is the first on its line.
    pub(super) fn at_start_error(&mut self, message: String, label: &str, help: String) {
        let at = self.token(0).map_or_else(Default::default, |token| span(token.start, token.end));
        self.error_at(at, message, label.to_owned(), help);
    }

    /// `policy NAME revision N`, after its word. So with all of these.
    fn policy(&mut self) {
        const HELP: &str = "a policy starts with, for example, `policy card_payments revision 1`";
        self.name("the policy's name");
        self.expect_word("revision", HELP);
        self.expect(K::Number, "the revision number", HELP);
    }

    fn uses(&mut self) {
        self.expect(K::Text, "a file in quotes", "for example: use \"cards.policy\"");
    }

    fn rates(&mut self) {
        const HELP: &str = "for example: rates \"daily\" max_age 3d";
        self.expect(K::Text, "the name of the rates in quotes", HELP);
        self.expect_word("max_age", HELP);
        self.expect(K::Duration, "a duration", HELP);
    }

    fn entity(&mut self) {
        loop {
            self.name("the name of an entity kind");
            if !self.eat(K::Comma) {
                break;
            }
        }
    }

    fn reason(&mut self) {
        const HELP: &str = "for example: reason VELOCITY 17 { analyst \"too many\", withhold, iso \"59\" }";
        self.name("the reason's name");
        self.expect(K::Number, "the reason's number", HELP);
        self.braces("reason", HELP, |parser| {
            let word = parser.text_at(0);
            parser.start(K::ReasonItem);
            match word {
                "analyst" | "customer" | "iso" => {
                    parser.bump();
                    parser.expect(K::Text, "a text in quotes", HELP);
                }
                "withhold" => parser.bump(),
                _ => {
                    parser.expected("`analyst`, `customer`, `withhold` or `iso`", HELP);
                }
            }
            parser.finish();
        });
    }

    fn queue(&mut self) {
        self.name("the queue's name");
        self.expect(K::Number, "the queue's number", "for example: queue fraud_desk 3");
    }

    fn event(&mut self) {
        self.name("the event's name");
        if !self.recovering && self.is_word("amends") {
            self.start(K::AmendsClause);
            self.bump();
            self.name_ref("the event it amends");
            self.finish();
        }
        self.braces("event", "for example: event login { owner: account, device: device? }", |parser| {
            parser.start(K::FieldDecl);
            parser.name("a field's name");
            parser.expect(K::Colon, "`:` and a type", "a field is written `name: type`, or `name: type?`");
            parser.field_type();
            parser.finish();
        });
    }

    fn field_type(&mut self) {
        if self.recovering {
            return;
        }
        self.start(K::TypeRef);
        if self.is_word("enum") {
            self.bump();
            self.braces("enum", "an enum lists its words: enum { pos, ecom }", |parser| {
                parser.name("a word of the enum");
            });
        } else {
            self.name_ref("a type");
            if !self.recovering && self.eat(K::LParen) {
                const HELP: &str = "a text of at most 64 bytes is written `text(64)`";
                self.expect(K::Number, "how many bytes it may have", HELP);
                self.expect(K::RParen, "`)`", HELP);
            }
        }
        self.eat(K::Question);
        self.finish();
    }

    fn list(&mut self) {
        const HELP: &str = "for example: list blocked_devices of device { \"d1\", \"d2\" }";
        self.name("the list's name");
        self.clause(K::OfClause, "of", "what it is of", HELP);
        if !self.recovering && self.eat(K::Assign) {
            self.expect(
                K::Text,
                "the name of a file in quotes",
                "for example: list blocked of device = \"blocked.csv\"",
            );
            return;
        }
        if !self.recovering && self.is(K::LBrace) {
            self.braces("list", HELP, |parser| {
                parser.start(K::ListEntry);
                parser.list_entry();
                parser.finish();
            });
        }
    }

    /// `VALUE [until DATE] [owner "…"] [reason "…"]`.
    fn list_entry(&mut self) {
        const HELP: &str =
            "keys, texts and addresses are in quotes, numbers and codes are not: \"d1\", 5411, CN";
        self.eat(K::Minus);
        if !(self.eat(K::Number) || self.eat(K::Text) || self.eat(K::Ident)) {
            self.expected("an entry", HELP);
            return;
        }
        while !self.recovering && self.is(K::Ident) && !self.on_new_line(0) {
            let (kind, what) = match self.text_at(0) {
                "until" => (K::Date, "a date, as in 2026-12-31"),
                "owner" => (K::Text, "who wants it there, in quotes"),
                "reason" => (K::Text, "why it is there, in quotes"),
                _ => break,
            };
            self.bump();
            self.expect(kind, what, "an entry may say `until 2026-12-31 owner \"…\" reason \"…\"`");
        }
    }

    fn definition(&mut self) {
        const HELP: &str = "for example: let spent on payment = amount in USD";
        self.name("a name");
        self.clause(K::OnClause, "on", "an event", HELP);
        self.expect(K::Assign, "`=` and an expression", HELP);
        self.full_expression();
    }

    fn feature(&mut self) {
        const HELP: &str = "a feature is an aggregate, as in `feature n_1h = count(payment) by card last 1h`, or says \
            `on EVENT` and computes from that event alone";
        self.name("the feature's name");
        if !self.recovering && self.is_word("on") {
            self.clause(K::OnClause, "on", "an event", HELP);
        }
        self.expect(K::Assign, "`=`", HELP);
        self.full_expression();
        while !self.recovering && self.is(K::Ident) && !self.at_declaration() {
            match self.text_at(0) {
                "by" => self.by(),
                "via" => self.via(),
                word if FRAMES.contains(&word) => self.frame(),
                "in" => {
                    self.start(K::ZoneClause);
                    self.bump();
                    self.expect(
                        K::Text,
                        "a time zone in quotes",
                        "for example: this day in \"Europe/Paris\"",
                    );
                    self.finish();
                }
                "half_life" => self.period(K::HalfLifeClause, "the half-life"),
                "against" => self.against(),
                "delayed" => self.period(K::DelayedClause, "the delay"),
                "assume" => {
                    self.start(K::AssumeClause);
                    self.bump();
                    if !self.eat_word("high") && !self.eat_word("low") {
                        self.expected("`high` or `low`", "write `assume high` or `assume low`");
                    }
                    self.finish();
                }
                word @ ("first" | "calendar" | "today" | "current" | "since" | "tumbling" | "hopping"
                | "sliding" | "over") => {
                    let help = match word {
                        "today" | "calendar" | "current" => {
                            "the day so far is `this day in \"Europe/Paris\"`"
                        }
                        "tumbling" => {
                            "tumbling windows are `every 1h`, calendar periods `this day in \"UTC\"`"
                        }
                        _ => FRAME_HELP,
                    };
                    self.at_start_error(
                        format!("there is no window `{word}`"),
                        "not a window",
                        help.to_owned(),
                    );
                }
                _ if self.on_new_line(0) => break,
                _ => {
                    self.expected(
                        "`by`, `via`, a window, `delayed` or `assume`",
                        "for example: count(payment) by card last 1h",
                    );
                }
            }
        }
    }

    fn by(&mut self) {
        const HELP: &str = "for example: by card, or, for a pair of keys, by (card, merchant)";
        self.start(K::ByClause);
        self.bump();
        if self.eat(K::LParen) {
            loop {
                self.name_ref("an entity kind");
                if !self.eat(K::Comma) {
                    break;
                }
            }
            self.expect(K::RParen, "`)`", HELP);
        } else if self.name_ref("an entity kind") && self.is(K::Comma) && !self.on_new_line(0) {
            self.expected(
                "the window",
                "a pair of keys is written in parentheses, as in `by (card, merchant)`",
            );
        }
        self.finish();
    }

    /// `last T`, `last N events within T`, `every T`, `this PERIOD`, `session gap T within T`.
    fn frame(&mut self) {
        match self.text_at(0) {
            "every" => self.period(K::EveryClause, "the length of the window"),
            "this" => {
                self.start(K::ThisClause);
                self.bump();
                if !PERIODS.iter().any(|period| self.eat_word(period)) {
                    self.expected(
                        "`hour`, `day`, `week` or `month`",
                        "for example: this day in \"Europe/Paris\"",
                    );
                }
                self.finish();
            }
            "session" => {
                const HELP: &str = "for example: session gap 10m within 1d";
                self.start(K::SessionClause);
                self.bump();
                if self.expect_word("gap", HELP) {
                    self.duration("the longest gap");
                    self.expect_word("within", HELP);
                    self.duration("the longest session");
                }
                self.finish();
            }
            _ => {
                self.start(K::LastClause);
                self.bump();
                if self.is(K::Number) && self.text_at(1).starts_with("event") {
                    const HELP: &str = "for example: last 10 events within 30d";
                    self.bump();
                    self.expect_word("events", HELP);
                    self.expect_word("within", HELP);
                    self.duration("how far they reach back at most");
                } else {
                    self.duration("the length of the window");
                }
                self.finish();
            }
        }
    }

    /// `against FRAME [delayed T]`.
    fn against(&mut self) {
        self.start(K::AgainstClause);
        self.bump();
        if self.is(K::Ident) && FRAMES.contains(&self.text_at(0)) {
            self.frame();
            if !self.recovering && self.is_word("delayed") {
                self.period(K::DelayedClause, "the delay");
            }
        } else {
            self.expected("a window", "for example: last 1h against last 1h delayed 1d");
        }
        self.finish();
    }

    fn via(&mut self) {
        const HELP: &str = "for example: via payment.payer, login.owner";
        self.start(K::ViaClause);
        self.bump();
        loop {
            if self.recovering {
                break;
            }
            self.start(K::PathExpr);
            let there = self.expect(K::Ident, "an event and a field", HELP)
                && self.expect(K::Dot, "`.` and a field", HELP)
                && self.expect(K::Ident, "a field", HELP);
            self.finish();
            if !there || !self.eat(K::Comma) {
                break;
            }
        }
        self.finish();
    }

    fn period(&mut self, kind: K, what: &str) {
        self.start(kind);
        self.bump();
        self.duration(what);
        self.finish();
    }

    fn duration(&mut self, what: &str) {
        self.expect(
            K::Duration,
            what,
            "a duration is a number and its unit without a space: 500us, 10ms, 30s, 5m, 24h, 7d, 2w",
        );
    }

    fn rule(&mut self) {
        const HELP: &str = "for example: rule velocity on payment { when declines_1h >= 5 then block, score 90, reason VELOCITY }";
        self.name("the rule's name");
        self.clause(K::OnClause, "on", "an event", HELP);
        self.rule_body(HELP);
    }

    /// `scene NAME on EVENT when EXPR { rule NAME { … } … }`: its rules have no `on` of their own.
    fn scene(&mut self) {
        const HELP: &str =
            "for example: scene online on payment when channel == ecom { rule far { when … then … } }";
        self.name("the scene's name");
        self.clause(K::OnClause, "on", "an event", HELP);
        if !self.recovering && self.is_word("effective") {
            self.effective();
        }
        self.when(HELP);
        if !self.open_brace(HELP) {
            return;
        }
        while !self.at_end() && !self.is(K::RBrace) {
            if !self.is_word("rule") {
                // At the beginning of a line it is what comes after a scene that was not closed.
                if self.at_declaration() && self.is_outermost() {
                    break;
                }
                let help = "a scene holds rules, and nothing else: `rule NAME { when … then … }`";
                let found = self.found();
                self.at_start_error(format!("expected a rule, found {found}"), "not a rule", help.to_owned());
                self.recovering = false;
                self.start(K::Error);
                self.bump();
                self.finish();
                self.recovering = true;
                self.recover(|parser| {
                    parser.is_word("rule") && parser.on_new_line(0) || parser.is(K::RBrace)
                });
                continue;
            }
            self.start(K::RuleDecl);
            self.bump();
            self.name("the rule's name");
            if !self.recovering && self.is_word("on") {
                let help = "a rule of a scene is on the event of the scene: leave `on` out, or close the scene before it";
                self.expected("`{`", help);
            }
            self.rule_body("for example: rule far { when travel > 900 km/h then score 60 }");
            self.recover(|parser| parser.is_word("rule") && parser.on_new_line(0) || parser.is(K::RBrace));
            self.finish();
        }
        self.expect(K::RBrace, "`}`", "close the scene with `}`");
    }

    /// What follows the name and the event of a rule.
    fn rule_body(&mut self, help: &str) {
        self.modifiers();
        self.rule_braces(help);
    }

    /// `mandatory`, `monitor`, `salience N`, `effective …`, in any order.
    pub(super) fn modifiers(&mut self) {
        while !self.recovering && self.is(K::Ident) {
            match self.text_at(0) {
                "mandatory" | "monitor" => {
                    self.start(K::Modifier);
                    self.bump();
                    self.finish();
                }
                "salience" => {
                    self.start(K::Modifier);
                    self.bump();
                    self.eat(K::Minus);
                    self.expect(K::Number, "a whole number", "for example: salience 10");
                    self.finish();
                }
                "effective" => self.effective(),
                _ => break,
            }
        }
    }

    fn rule_braces(&mut self, help: &str) {
        if !self.open_brace(help) {
            return;
        }
        self.when(help);
        let lost = self.recovering;
        self.recover(|parser| parser.is_word("then") || parser.is(K::RBrace));
        if lost && !self.is_word("then") {
            self.recovering = true;
        } else if self.expect_word("then", help) {
            self.effects();
        }
        self.recover(|parser| parser.is(K::RBrace));
        self.expect(K::RBrace, "`}`", "close the rule with `}`");
    }

    /// `effective [from DATE] [until DATE] [in "zone"]`.
    fn effective(&mut self) {
        const HELP: &str =
            "for example: effective from 2026-01-31 until 2026-03-01T08:30 in \"Europe/Paris\"";
        self.start(K::EffectiveClause);
        self.bump();
        if !self.is_word("from") && !self.is_word("until") {
            self.expected("`from` or `until`", HELP);
        }
        for word in ["from", "until"] {
            if self.eat_word(word) {
                self.expect(K::Date, "a date", HELP);
            }
        }
        if self.eat_word("in") {
            self.expect(K::Text, "a time zone in quotes", HELP);
        }
        self.finish();
    }

    fn when(&mut self, help: &str) {
        if self.recovering {
            return;
        }
        self.start(K::WhenClause);
        if self.expect_word("when", help) {
            self.expression();
        }
        self.finish();
    }

    fn effects(&mut self) {
        loop {
            self.effect();
            self.recover(|parser| parser.is(K::Comma) || parser.is(K::RBrace));
            if self.eat(K::Comma) {
                continue;
            }
            if self.at_end() || self.is(K::RBrace) || self.at_declaration() {
                break;
            }
            self.expected("`,` or `}`", "effects are separated by `,`");
            self.recover(|parser| parser.is(K::Comma) || parser.is(K::RBrace));
            if !self.eat(K::Comma) {
                break;
            }
        }
    }

    pub(super) fn effect(&mut self) {
        const HELP: &str = "the effects are block, review, challenge, allow, `score N`, `reason NAME`, `alert QUEUE` and `allow over RULE`";
        self.start(K::Effect);
        match if self.is(K::Ident) { self.text_at(0) } else { "" } {
            "allow" => {
                self.bump();
                if self.eat_word("over") {
                    self.name_ref("the name of a rule");
                    while !self.recovering
                        && self.is(K::Comma)
                        && self.kind_at(1) == Some(K::Ident)
                        && !self.at_effect(1)
                    {
                        self.bump();
                        self.name_ref("the name of a rule");
                    }
                }
            }
            "block" | "review" | "challenge" => self.bump(),
            "score" => {
                self.bump();
                self.eat(K::Minus);
                self.expect(
                    K::Number,
                    "a score",
                    "a score is a whole number from 0 to 100, as in `score 90`",
                );
            }
            "reason" => {
                self.bump();
                self.name_ref("the name of a reason");
            }
            "alert" => {
                self.bump();
                self.name_ref("the name of a queue");
            }
            word @ ("penalty" | "add" | "remove" | "notify") => {
                self.error(
                    format!("the effect `{word}` is not there yet"),
                    "not there yet".to_owned(),
                    HELP.to_owned(),
                );
            }
            word => {
                const WORDS: &[&str] = &["block", "review", "challenge", "allow", "score", "reason", "alert"];
                match super::super::suggest::nearest(word, WORDS.iter().copied()) {
                    Some(near) => self.expected("an effect", &format!("did you mean `{near}`?")),
                    None => self.expected("an effect", HELP),
                };
            }
        }
        self.finish();
    }

    /// Whether an effect starts `ahead` tokens from here, as opposed to the name of a rule.
    fn at_effect(&self, ahead: usize) -> bool {
        let follows = self.kind_at(ahead + 1);
        match self.text_at(ahead) {
            "score" => matches!(follows, Some(K::Number | K::Minus)),
            "reason" | "alert" | "penalty" | "add" | "remove" | "notify" => follows == Some(K::Ident),
            word => ACTIONS.contains(&word),
        }
    }

    fn decide(&mut self) {
        const HELP: &str = "for example: decide payment { score = max(rule_scores), block when score >= 90, unassessed review }";
        self.name_ref("an event");
        self.braces("decide", HELP, |parser| {
            match if parser.is(K::Ident) { parser.text_at(0) } else { "" } {
                "score" => {
                    parser.start(K::ScoreItem);
                    parser.bump();
                    parser.expect(K::Assign, "`=`", HELP);
                    parser.full_expression();
                    parser.finish();
                }
                "unassessed" => {
                    parser.start(K::UnassessedItem);
                    parser.bump();
                    parser.action();
                    parser.finish();
                }
                "late" => parser.late(),
                word if ACTIONS.contains(&word) => parser.threshold(),
                _ => {
                    parser.expected("`score`, `unassessed`, `late after` or an action", HELP);
                }
            }
        });
    }

    fn late(&mut self) {
        const HELP: &str = "for example: late after 500us { allow when amount in USD < 50 USD, else review }";
        self.start(K::LateItem);
        self.bump();
        self.expect_word("after", HELP);
        self.duration("an age");
        self.braces("late", HELP, |parser| {
            if parser.is_word("else") {
                parser.start(K::Threshold);
                parser.bump();
                parser.action();
                parser.finish();
            } else {
                parser.threshold();
            }
        });
        self.finish();
    }

    fn threshold(&mut self) {
        self.start(K::Threshold);
        self.action();
        self.when("for example: block when score >= 90");
        self.finish();
    }

    /// One of the action words.
    pub(super) fn action(&mut self) {
        if self.recovering {
            return;
        }
        if self.is(K::Ident) && ACTIONS.contains(&self.text_at(0)) {
            self.bump();
        } else {
            self.expected("an action", "the actions are allow, challenge, review and block");
        }
    }

    pub(super) fn full_expression(&mut self) {
        if !self.recovering {
            self.expression();
        }
    }

    /// `WORD NAME`.
    pub(super) fn clause(&mut self, kind: K, word: &str, what: &str, help: &str) {
        if self.recovering {
            return;
        }
        self.start(kind);
        if self.expect_word(word, help) {
            self.name_ref(what);
        }
        self.finish();
    }

    /// `{`. When what came before it went wrong, what is in the braces can still be read.
    fn open_brace(&mut self, help: &str) -> bool {
        let lost = self.recovering;
        self.recover(|parser| parser.is(K::LBrace) || parser.is(K::RBrace));
        if lost && !self.is(K::LBrace) {
            self.recovering = true;
            return false;
        }
        self.expect(K::LBrace, "`{`", help)
    }

    /// `{ item, item … }`, items separated by commas or line ends. An item that goes wrong is skipped.
    pub(super) fn braces(&mut self, what: &str, help: &str, item: impl Fn(&mut Self)) {
        if !self.open_brace(help) {
            return;
        }
        let first = self.at;
        let open = self.at.checked_sub(1).map(|last| self.tokens[self.significant[last]]);
        while !self.at_end() && !self.is(K::RBrace) && !self.at_declaration() {
            let at = self.at;
            if self.is(K::Comma) {
                self.at_start_error(
                    "a comma without an item before it".to_owned(),
                    "nothing before this",
                    "remove it".to_owned(),
                );
                self.recovering = false;
                self.bump();
                continue;
            }
            item(self);
            self.recover(|parser| parser.is(K::Comma) || parser.is(K::RBrace) || parser.on_new_line(0));
            let separated = self.eat(K::Comma) || self.is(K::RBrace) || self.on_new_line(0);
            if !separated {
                self.expected("`,` or a new line", help);
                self.recover(|parser| parser.is(K::Comma) || parser.is(K::RBrace) || parser.on_new_line(0));
                self.eat(K::Comma);
            }
            if self.at == at {
                self.start(K::Error);
                self.bump();
                self.finish();
            }
        }
        // An open text has swallowed the closing brace of its line, and was reported.
        let swallowed = self.significant[first.min(self.at)..self.at].iter().any(|&token| {
            let token = self.tokens[token];
            token.kind == K::Unknown && self.text[token.start..].starts_with('"')
        });
        if !self.eat(K::RBrace) && !swallowed {
            let at = open.map_or_else(Default::default, |open| span(open.start, open.end));
            let found = self.found();
            self.error_at(
                at,
                format!("this {what} is not closed; found {found}"),
                "opened here".to_owned(),
                "add `}`".to_owned(),
            );
        }
    }

    /// Whether the next token is at the very beginning of its line.
    fn is_outermost(&self) -> bool {
        self.token(0).is_some_and(|token| {
            token.start == 0 || self.text.as_bytes().get(token.start - 1) == Some(&b'\n')
        })
    }

    /// A declaration of a kind that does not exist yet: refused, and skipped with everything in its braces.
    fn reserved(&mut self) {
        let word = self.text_at(0);
        let message = format!("`{word}` is not there yet");
        let help = match word {
            "pattern" => "count the steps with features: `count(EVENT) by ENTITY last DURATION`",
            "penalty" => "count past events with a feature, and write a rule on it",
            _ => {
                "the declarations are: policy, use, rates, entity, reason, queue, event, list, let, feature, scorecard, model, scene, table, rule, decide, test"
            }
        };
        self.at_start_error(message, "reserved for later", help.to_owned());
        self.recovering = false;
        self.bump();
        if self.is(K::Ident) && !self.on_new_line(0) {
            self.name("a name");
        }
        self.recovering = false;
        let mut depth = 0u32;
        while !self.at_end() {
            if (depth == 0 || self.is_outermost()) && self.at_any_declaration() {
                break;
            }
            match self.kind_at(0) {
                Some(K::LBrace) => depth += 1,
                Some(K::RBrace) => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.bump();
        }
    }
}
