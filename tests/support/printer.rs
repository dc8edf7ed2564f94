//! Typed policies in the policy language.
//!
//! [`text`] writes a policy as people would, [`odd`] as nobody would: with lines, spaces, comments, parentheses, units and
//! longer names wherever the language has room for them, declarations in any order. Both say the same. What has no words
//! is refused by a panic; [`sayable`](super::sayable) takes it out first.

mod expressions;
mod features;

use super::rng::Rng;
use super::sayable::keys;
use expressions::Context;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use tollgate::engine::program::ListOf;
use tollgate::engine::units::{Action, Value};
use tollgate::policy::typed::{
    Calibration, Decide, Effective, Event, Expr, Field, FieldType, Late, List, ListEntry, Model, Policy,
    Reason, Rule, Scene, SceneIx, Within,
};

/// The policy in a plain layout.
pub fn text(policy: &Policy) -> String {
    Printer { policy, page: Page::new(None) }.whole()
}

/// The policy in a layout that follows from the seed.
pub fn odd(policy: &Policy, seed: u64) -> String {
    Printer { policy, page: Page::new(Some(Rng::new(seed))) }.whole()
}

// ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Tokens with what is between them.
struct Page {
    text: String,
    /// Of an odd layout.
    rng: Option<Rng>,
    /// Nothing has to stand before the next token.
    open: bool,
}

impl Page {
    fn new(rng: Option<Rng>) -> Self {
        Self { text: String::new(), rng, open: true }
    }

    /// True in `percent` of a hundred, where the layout is odd.
    fn chance(&mut self, percent: u64) -> bool {
        self.rng.as_mut().is_some_and(|rng| rng.percent(percent))
    }

    fn pick<'a>(&mut self, usual: &'a str, others: &[&'a str]) -> &'a str {
        self.rng.as_mut().map_or(usual, |rng| *rng.pick(others))
    }

    fn shuffle<T>(&mut self, of: &mut [T]) {
        if let Some(rng) = &mut self.rng {
            rng.shuffle(of);
        }
    }

    /// Puts in a place one of those that there are.
    fn insert<T>(&mut self, of: &mut Vec<T>, item: T) {
        let at = self.rng.as_mut().map_or(of.len(), |rng| rng.below(of.len() + 1));
        of.insert(at, item);
    }

    /// What may stand between any two tokens.
    fn strange(&mut self) {
        let gaps = ["\n", "   ", " \t ", "\n\n\n    ", " // behind\n", "\n# alone\n  # twice\n\n"];
        let gap = self.pick(" ", &gaps);
        self.text.push_str(gap);
    }

    /// A token after a space, or whatever.
    fn put(&mut self, token: &str) {
        if self.chance(3) {
            self.strange();
        } else if !self.open {
            self.text.push(' ');
        }
        self.text.push_str(token);
        self.open = false;
    }

    /// Several tokens.
    fn words(&mut self, words: &str) {
        words.split(' ').for_each(|word| self.put(word));
    }

    /// A token that needs nothing before it.
    fn tight(&mut self, token: &str) {
        self.open = true;
        self.put(token);
    }

    /// A token with nothing needed behind it.
    fn opening(&mut self, token: &str) {
        self.put(token);
        self.open = true;
    }

    /// A token on the same line as the one before it.
    fn beside(&mut self, token: &str) {
        let gap = self.pick(" ", &[" ", " ", " \t"]);
        self.text.push_str(gap);
        self.text.push_str(token);
        self.open = false;
    }

    /// A text in quotes.
    fn quoted(&mut self, text: &str) {
        self.put(&quoted(text));
    }

    /// Before an item in braces that is not the first.
    fn separate(&mut self) {
        match self.pick(",", &[",", ",", "\n", ",\n", "  \n\n\n", " // so\n"]) {
            "," => self.tight(","),
            other => {
                self.text.push_str(other);
                self.open = true;
            }
        }
    }

    /// `}` after items, maybe with a comma behind the last.
    fn close(&mut self) {
        if self.chance(10) {
            self.tight(",");
        }
        self.put("}");
    }

    fn comma(&mut self, at: usize) {
        if at > 0 {
            self.tight(",");
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

// ── declarations ────────────────────────────────────────────────────────────────────────────────────────────────────

struct Printer<'p> {
    policy: &'p Policy,
    page: Page,
}

/// What a decision consists of.
enum Part<'p> {
    Score,
    Threshold(&'p (Action, Expr)),
    Unassessed,
    Late(&'p Late),
}

impl Printer<'_> {
    fn whole(mut self) -> String {
        let policy = self.policy;
        let mut kinds: Vec<Vec<String>> = Vec::new();
        if let Some(rates) = &policy.rates {
            kinds.push(vec![self.declared(|printer| {
                printer.page.put("rates");
                printer.page.quoted(&rates.name);
                printer.page.put("max_age");
                printer.duration(rates.max_age_us);
            })]);
        }
        kinds.push(self.entities());
        kinds.push(policy.events.iter().map(|of| self.declared(|printer| printer.event(of))).collect());
        kinds.push(policy.reasons.iter().map(|of| self.declared(|printer| printer.reason(of))).collect());
        let queue = |printer: &mut Self, name: &str, id: u16| {
            printer.page.words(&format!("queue {name}"));
            printer.whole_number(u64::from(id));
        };
        let queues = policy.queues.iter();
        kinds.push(queues.map(|of| self.declared(|printer| queue(printer, &of.name, of.id))).collect());
        kinds.push(policy.lists.iter().map(|of| self.declared(|printer| printer.list(of))).collect());
        let lets = policy.lets.iter().map(|of| {
            self.declared(|printer| {
                let event = printer.event_name(of.event);
                printer.page.words(&format!("let {} on {event} =", of.name));
                printer.expr(&of.expr, Context::of(of.event), 0);
            })
        });
        kinds.push(lets.collect());
        kinds.push(policy.features.iter().map(|of| self.declared(|printer| printer.feature(of))).collect());
        kinds.push(policy.models.iter().map(|of| self.declared(|printer| printer.model(of))).collect());
        kinds.push(self.rules_and_scenes());
        kinds.push(policy.decides.iter().map(|of| self.declared(|printer| printer.decide(of))).collect());
        let header = self.declared(|printer| {
            printer.page.words(&format!("policy {} revision", policy.name));
            printer.whole_number(u64::from(policy.revision));
        });
        self.ordered(header, kinds)
    }

    /// The text of one declaration.
    fn declared(&mut self, print: impl FnOnce(&mut Self)) -> String {
        self.page.open = true;
        print(self);
        std::mem::take(&mut self.page.text)
    }

    /// All declarations: those of a kind in their order, and kinds in any.
    fn ordered(&mut self, header: String, kinds: Vec<Vec<String>>) -> String {
        let mut text = header;
        let mut kinds: Vec<_> = kinds.into_iter().map(|kind| kind.into_iter().peekable()).collect();
        loop {
            kinds.retain_mut(|kind| kind.peek().is_some());
            let Some(last) = kinds.len().checked_sub(1) else { break };
            let at = self.page.rng.as_mut().map_or(0, |rng| rng.below(last + 1));
            let between = ["\n", "\n", "\n\n\n\n", " # behind it\n", "\n// alone\n\n// again\n", "\n  \t"];
            text.push_str(self.page.pick("\n", &between));
            text.push_str(&kinds[at].next().unwrap_or_default());
        }
        text.push_str(self.page.pick("\n", &["\n", "", "\n\n\n# the end", " // the end\n"]));
        text
    }

    fn entities(&mut self) -> Vec<String> {
        let mut declarations: Vec<Vec<&str>> = vec![Vec::new()];
        for entity in &self.policy.entities {
            let last = declarations.len() - 1;
            if !declarations[last].is_empty() && self.page.chance(40) {
                declarations.push(vec![entity]);
            } else {
                declarations[last].push(entity);
            }
        }
        let print = |names: Vec<&str>| {
            self.declared(|printer| {
                printer.page.put("entity");
                for (at, name) in names.iter().enumerate() {
                    printer.page.comma(at);
                    printer.page.put(name);
                }
            })
        };
        declarations.into_iter().map(print).collect()
    }

    /// Its file is called as it is.
    fn model(&mut self, model: &Model) {
        let event = self.event_name(model.event);
        self.page.words(&format!("model {} on {event}", model.name));
        if model.lazy {
            self.page.put("lazy");
        }
        self.page.put("=");
        self.page.quoted(&format!("{}.tgm", model.name));
        self.page.put("(");
        for (at, (input, _)) in model.inputs.iter().enumerate() {
            self.page.comma(at);
            self.expr(input, Context::of(model.event), 0);
        }
        self.page.tight(")");
        match &model.calibration {
            Calibration::None => {}
            Calibration::Platt(a, b) => {
                self.page.words("calibrated platt");
                self.page.tight("(");
                self.signed(*a);
                self.page.tight(",");
                self.signed(*b);
                self.page.tight(")");
            }
            Calibration::Isotonic(points) => {
                self.page.words("calibrated isotonic {");
                for (at, (told, value)) in points.iter().enumerate() {
                    if at > 0 {
                        self.page.separate();
                    }
                    self.signed(*told);
                    self.page.tight(":");
                    self.signed(*value);
                }
                self.page.close();
            }
        }
    }

    /// A number of at most one digit after the point.
    fn signed(&mut self, number: Value) {
        if number.num < 0 {
            self.page.put("-");
        }
        let (num, den) = (number.num.abs(), number.den);
        let fraction = if den == 1 { String::new() } else { format!(".{}", num % den) };
        self.page.put(&format!("{}{fraction}", num / den));
    }

    fn event(&mut self, event: &Event) {
        self.page.words(&format!("event {}", event.name));
        if let Some(target) = event.amends {
            let target = self.event_name(target);
            self.page.words(&format!("amends {target}"));
        }
        self.page.put("{");
        for (at, field) in event.fields.iter().filter(|field| field.inherited.is_none()).enumerate() {
            if at > 0 {
                self.page.separate();
            }
            self.field_declared(field);
        }
        self.page.close();
    }

    fn field_declared(&mut self, field: &Field) {
        self.page.put(&field.name);
        self.page.tight(":");
        match &field.ty {
            FieldType::Bool => self.page.put("bool"),
            FieldType::Int => self.page.put("int"),
            FieldType::Decimal => self.page.put("decimal"),
            FieldType::Money => self.page.put("money"),
            FieldType::Geo => self.page.put("geo"),
            FieldType::Country => self.page.put("country"),
            FieldType::Currency => self.page.put("currency"),
            FieldType::Mcc => self.page.put("mcc"),
            FieldType::Bin => self.page.put("bin"),
            FieldType::Time => self.page.put("time"),
            FieldType::Duration => self.page.put("duration"),
            FieldType::Ip => self.page.put("ip"),
            FieldType::Entity(kind) => self.page.put(&self.policy.entities[kind.index()]),
            FieldType::Text(bytes) => {
                self.page.put("text");
                self.page.tight("(");
                self.page.tight(&bytes.to_string());
                self.page.tight(")");
            }
            FieldType::Enum(words) => {
                self.page.words("enum {");
                for (at, word) in words.iter().enumerate() {
                    if at > 0 {
                        self.page.separate();
                    }
                    self.page.put(word);
                }
                self.page.close();
            }
        }
        if field.optional {
            self.page.tight("?");
        }
    }

    fn reason(&mut self, reason: &Reason) {
        self.page.words(&format!("reason {}", reason.name));
        self.whole_number(u64::from(reason.id));
        self.page.put("{");
        let mut items = vec![("analyst", Some(&reason.analyst))];
        let told = reason.customer.as_ref();
        self.page.insert(&mut items, (if told.is_some() { "customer" } else { "withhold" }, told));
        if let Some(iso) = &reason.iso {
            self.page.insert(&mut items, ("iso", Some(iso)));
        }
        for (at, (word, text)) in items.into_iter().enumerate() {
            if at > 0 {
                self.page.separate();
            }
            self.page.put(word);
            text.into_iter().for_each(|text| self.page.quoted(text));
        }
        self.page.close();
    }

    fn list(&mut self, list: &List) {
        let of = list.of.word(|kind| self.policy.entities[usize::from(kind)].as_str());
        self.page.words(&format!("list {} of {of}", list.name));
        if list.entries.is_empty() && !self.page.chance(50) {
            return;
        }
        self.page.put("{");
        for (at, entry) in list.entries.iter().enumerate() {
            if at > 0 {
                self.page.separate();
            }
            self.entry(list.of, entry);
        }
        if list.entries.is_empty() { self.page.put("}") } else { self.page.close() }
    }

    fn entry(&mut self, of: ListOf, entry: &ListEntry) {
        match of {
            ListOf::Entity(_) | ListOf::Text | ListOf::Ip => self.page.quoted(&entry.text),
            ListOf::Int => {
                let digits = entry.text.trim_start_matches('-');
                if digits.len() < entry.text.len() {
                    self.page.opening("-");
                }
                self.page.put(digits);
            }
            ListOf::Country | ListOf::Currency | ListOf::Mcc | ListOf::Bin => self.page.put(&entry.text),
        }
        // In any order, each beginning on the line of what is before it.
        let until = entry.until.map(|until| ("until", date(until, &TimeZone::UTC)));
        let said = |word, text: &str| (!text.is_empty()).then(|| (word, quoted(text)));
        let clauses = [until, said("owner", &entry.owner), said("reason", &entry.reason)];
        let mut clauses: Vec<_> = clauses.into_iter().flatten().collect();
        self.page.shuffle(&mut clauses);
        for (word, what) in clauses {
            self.page.beside(word);
            self.page.put(&what);
        }
    }

    // ── rules and decisions ─────────────────────────────────────────────────────────────────────────────────────

    fn rules_and_scenes(&mut self) -> Vec<String> {
        let policy = self.policy;
        let mut declarations = Vec::new();
        for (scene, rules) in runs(policy) {
            match scene {
                None => {
                    declarations.extend(rules.iter().map(|rule| self.declared(|printer| printer.rule(rule))));
                }
                Some(scene) => declarations
                    .push(self.declared(|printer| printer.scene(&policy.scenes[scene.index()], rules))),
            }
        }
        declarations
    }

    fn scene(&mut self, scene: &Scene, rules: &[Rule]) {
        let event = self.event_name(scene.event);
        self.page.words(&format!("scene {} on {event}", scene.name));
        self.effective(scene.effective);
        self.page.put("when");
        self.expr(&scene.when, Context::of(scene.event), 0);
        self.page.put("{");
        for rule in rules {
            let before = self.page.pick("\n  ", &[" ", "\n", "\n\n  ", " # the next\n"]);
            self.page.text.push_str(before);
            self.page.open = true;
            self.rule(rule);
        }
        self.page.put("}");
    }

    fn rule(&mut self, rule: &Rule) {
        self.page.words(&format!("rule {}", rule.name));
        if rule.within.is_none() {
            let event = self.event_name(rule.event);
            self.page.words(&format!("on {event}"));
        }
        let mut modifiers = vec!["effective"];
        modifiers.extend(
            [(rule.mandatory, "mandatory"), (rule.monitor, "monitor")]
                .iter()
                .filter_map(|(there, word)| there.then_some(*word)),
        );
        if rule.salience != 0 || self.page.chance(5) {
            modifiers.push("salience");
        }
        self.page.shuffle(&mut modifiers);
        for modifier in modifiers {
            match modifier {
                "effective" => self.effective(rule.effective),
                "salience" => {
                    self.page.put("salience");
                    if rule.salience < 0 {
                        self.page.opening("-");
                    }
                    self.whole_number(u64::from(rule.salience.unsigned_abs()));
                }
                word => self.page.put(word),
            }
        }
        self.page.words("{ when");
        self.expr(&rule.when, Context::of(rule.event), 0);
        self.page.put("then");
        self.effects(rule);
        self.page.put("}");
    }

    fn effects(&mut self, rule: &Rule) {
        let mut effects = Vec::new();
        for queue in &rule.alerts {
            effects.push(format!("alert {}", self.policy.queues[usize::from(*queue)].name));
        }
        if let Some(action) = rule.action {
            let over: Vec<&str> =
                rule.allow_over.iter().map(|over| self.policy.rules[over.index()].name.as_str()).collect();
            let over = if over.is_empty() { String::new() } else { format!(" over {}", over.join(" , ")) };
            self.page.insert(&mut effects, format!("{}{over}", action.word()));
        }
        if let Some(score) = rule.score {
            self.page.insert(&mut effects, format!("score {score}"));
        }
        if let Some(reason) = rule.reason {
            let reason = &self.policy.reasons[usize::from(reason)].name;
            self.page.insert(&mut effects, format!("reason {reason}"));
        }
        assert!(!effects.is_empty(), "a rule without effects has no words: {}", rule.name);
        for (at, effect) in effects.iter().enumerate() {
            self.page.comma(at);
            self.page.words(effect);
        }
    }

    /// The instants in a time zone in which they are the earlier of two and whole minutes.
    fn effective(&mut self, effective: Effective) {
        let instants = [("from", effective.from), ("until", effective.until)];
        if effective == Effective::default() {
            return;
        }
        let named = self.page.pick(
            "UTC",
            &["UTC", "America/New_York", "europe/berlin", "Asia/Kathmandu", "Australia/Lord_Howe"],
        );
        let zone = TimeZoneDatabase::bundled().get(named).expect("a time zone");
        let told = |at: i64| {
            let at = Timestamp::from_microsecond(at).expect("an instant");
            let local = zone.to_datetime(at);
            let earlier = zone.to_ambiguous_timestamp(local).earlier().expect("an instant");
            local.second() == 0 && earlier == at
        };
        let in_zone = instants.iter().filter_map(|(_, at)| *at).all(told);
        let zone = if in_zone { zone } else { TimeZone::UTC };
        self.page.put("effective");
        for (word, at) in instants {
            if let Some(at) = at {
                self.page.put(word);
                self.page.put(&date(at, &zone));
            }
        }
        if in_zone && (named != "UTC" || self.page.chance(50)) {
            self.page.put("in");
            self.page.quoted(named);
        }
    }

    fn decide(&mut self, decide: &Decide) {
        let context = Context::of(decide.event);
        let event = self.event_name(decide.event);
        self.page.words(&format!("decide {event} {{"));
        let mut parts: Vec<Part<'_>> = decide.thresholds.iter().map(Part::Threshold).collect();
        self.page.insert(&mut parts, Part::Score);
        self.page.insert(&mut parts, Part::Unassessed);
        if let Some(late) = &decide.late {
            self.page.insert(&mut parts, Part::Late(late));
        }
        for (at, part) in parts.into_iter().enumerate() {
            if at > 0 {
                self.page.separate();
            }
            match part {
                Part::Score => {
                    self.page.words("score =");
                    self.expr(&decide.score, context, 0);
                }
                Part::Threshold(threshold) => self.threshold(threshold, context),
                Part::Unassessed => self.page.words(&format!("unassessed {}", decide.unassessed.word())),
                Part::Late(late) => {
                    self.page.words("late after");
                    assert_eq!(late.after_ns % 1_000, 0, "ages are written in whole microseconds");
                    self.duration(i64::try_from(late.after_ns / 1_000).expect("an age"));
                    self.page.put("{");
                    for branch in &late.branches {
                        self.threshold(branch, context);
                        self.page.separate();
                    }
                    self.page.words(&format!("else {}", late.otherwise.word()));
                    self.page.close();
                }
            }
        }
        self.page.close();
    }

    fn threshold(&mut self, (action, when): &(Action, Expr), context: Context) {
        self.page.words(&format!("{} when", action.word()));
        self.expr(when, context, 0);
    }
}

/// An instant, to the minute, as a zone's clocks show it.
fn date(at: i64, zone: &TimeZone) -> String {
    let local = zone.to_datetime(Timestamp::from_microsecond(at).expect("an instant"));
    assert_eq!((local.second(), local.subsec_nanosecond()), (0, 0), "dates are written to the minute");
    let (date, time) = (local.date(), local.time());
    if time.hour() == 0 && time.minute() == 0 {
        return date.to_string();
    }
    format!("{date}T{:02}:{:02}", time.hour(), time.minute())
}

/// Rules that follow each other in one scene, or in none.
fn runs(policy: &Policy) -> Vec<(Option<SceneIx>, &[Rule])> {
    let runs = policy.rules.chunk_by(|a, b| a.within == b.within);
    runs.map(|run| {
        (
            run[0].within.map(|within| match within {
                Within::Scene(scene) => scene,
                Within::Table(_) => unreachable!("tables are not printed"),
            }),
            run,
        )
    })
    .collect()
}
