//! The operators' desk: what is asked of a running appliance over its control socket.
//!
//! One JSON object a line comes in ([`Request`]), one goes out. A policy that is deployed is compiled here, against what the one
//! that is running has stored; validated, and made ready; then the engine thread takes it over between two bursts. Nothing
//! here is ever waited for by the data path.

pub mod deployments;
pub mod lists;
pub(crate) mod socket;

use std::fmt::Display;
use std::path::PathBuf;

use rkyv::rancor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::asks::{Answer, Ask, Asking, Given, TakeOver};
use crate::engine::budget::Budget;
use crate::engine::lists::{EDITED_LISTS_MAX, EDITS_MAX, Edit};
use crate::engine::orders::{self, KILLS_MAX, Order};
use crate::engine::program::{Program, SEMANTICS_VERSION};
use crate::engine::units::entries::has_card_number;
use crate::engine::units::{Action, Time};
use crate::engine::{Limits, Loaded, Successor, first_word};
use crate::hot_loop::Deadlines;
use crate::journal::{self, Epoch, NOTE_BYTES_MAX, Ordered};
use crate::log::Log;
use crate::os::memfd::SealedMemfd;
use crate::os::{clock, memory};
use crate::policy::diagnostics::mask;
use crate::policy::lower::{Base, lower_onto};
use crate::policy::{Diagnostic, Sources, archive, test};
use crate::replay::abbreviated;
use crate::token::Tokenizer;
use deployments::{Deployed, Deployments, Texts};
use lists::ListEdit;

/// What can be asked. The field `do` says what; unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What runs, what was ordered, what ran before.
    Status,
    /// Compile a policy and let it take over.
    Deploy {
        /// The policy.
        texts: Texts,
        /// Whether features may begin without the events that were not kept for them.
        #[serde(default)]
        cold: bool,
        /// Only say what would come of it.
        #[serde(default)]
        dry_run: bool,
    },
    /// Let the policy that ran before the last deployment take over again.
    Rollback,
    /// A rule is not to fire, for so many seconds from now; 0 lifts that.
    KillRule {
        /// Its name.
        rule: String,
        /// How long, in seconds.
        seconds: u64,
        /// Who orders it.
        owner: String,
        /// Why.
        reason: String,
    },
    /// All judged events are to be answered with an action, for so many seconds from now; 0 lifts that.
    KillAll {
        /// `allow`, `challenge`, `review` or `block`.
        action: String,
        /// How long, in seconds.
        seconds: u64,
        /// Who orders it.
        owner: String,
        /// Why.
        reason: String,
    },
    /// What is in a list.
    List {
        /// Its name.
        list: String,
        /// Only what was edited.
        #[serde(default)]
        edits: bool,
        /// From which number on; the answer says with which to go on.
        #[serde(default)]
        from: usize,
    },
    /// An entry of a list is to be in it, or not.
    EditList(ListEdit),
}

/// The longest that something can be killed for, in seconds: a year and a day.
const SECONDS_MAX: u64 = 366 * 86_400;

/// An order that holds, as it is told.
#[derive(Clone, Debug)]
struct Standing {
    order: Order,
    note: String,
}

/// The orders that hold, so that they can be told. The engine has its own.
#[derive(Debug, Default)]
pub(crate) struct StandingOrders {
    kills: Vec<Standing>,
    edits: lists::Edits,
}

/// What the desk needs to know of the appliance.
pub(crate) struct Place {
    pub(crate) journal_dir: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) memory_bytes_max: Option<u64>,
    pub(crate) touch_memory: bool,
    /// Hash of the configured policy, in hexadecimal.
    pub(crate) configured: String,
}

/// See the module.
pub(crate) struct Desk {
    place: Place,
    asking: Asking,
    deployments: Deployments,
    current: Loaded,
    /// What was to take over when it was last asked.
    next: Option<Loaded>,
    orders: StandingOrders,
    log: Log,
}

/// A refusal: what is wrong, what to do, and details for machines.
struct Refused {
    error: String,
    help: String,
    more: Option<(&'static str, Value)>,
}

impl Refused {
    fn new(error: impl Display, help: impl Display) -> Self {
        Self { error: error.to_string(), help: help.to_string(), more: None }
    }
}

/// The hash of a program, in hexadecimal.
#[must_use]
pub fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Desk {
    pub(crate) fn new(
        place: Place,
        asking: Asking,
        deployments: Deployments,
        current: Loaded,
        orders: StandingOrders,
        log: Log,
    ) -> Self {
        Self { place, asking, deployments, current, next: None, orders, log }
    }

    /// Does what is asked by a user, and answers.
    pub(crate) fn handle(&mut self, request: Request, by: u32) -> Value {
        self.take_late_answers();
        let answered = match request {
            request
                if self.asking.is_owed() && !matches!(request, Request::Status | Request::List { .. }) =>
            {
                Err(Refused::new(
                    "the engine thread has not done yet what it was asked before: the journal may be full",
                    "see to the disk, and ask again",
                ))
            }
            Request::Status => Ok(self.status()),
            Request::Deploy { texts, cold, dry_run } => self.deploy(&texts, cold, dry_run, by),
            Request::Rollback => self.roll_back(by),
            Request::KillRule { rule, seconds, owner, reason } => {
                self.kill_rule(&rule, seconds, &owner, &reason, by)
            }
            Request::KillAll { action, seconds, owner, reason } => {
                self.kill_all(&action, seconds, &owner, &reason, by)
            }
            Request::List { list, edits, from } => self.list(&list, edits, from),
            Request::EditList(edit) => self.edit_list(&edit, by),
        };
        answered.unwrap_or_else(|Refused { error, help, more }| {
            // It may repeat what was asked.
            let (error, help) = (mask(&error), mask(&help));
            self.log.warn(format_args!("user {by} was refused: {}", error.lines().next().unwrap_or("")));
            let mut answer = json!({ "ok": false, "error": error, "help": help });
            if let Some((name, value)) = more {
                answer[name] = value;
            }
            answer
        })
    }

    /// Learns what the engine thread did after the desk had stopped waiting for it.
    fn take_late_answers(&mut self) {
        while let Some(Answer { ask, done, .. }) = self.asking.late() {
            match ask {
                Ask::TakeOver(_) if done => {
                    if let Some(next) = self.next.take() {
                        self.current = next;
                    }
                }
                Ask::Order(given) if done => {
                    let Given { order, at, note } = &*given;
                    self.orders.remember(&Ordered { order: *order, given: *at, note });
                }
                _ => {}
            }
        }
    }

    fn status(&self) -> Value {
        let program = self.current.program();
        let hash = hex(&self.current.hash());
        let deployed = self.deployments.find(&hash);
        let now = clock::realtime_us();
        let standing = self.orders.kills.iter().filter(|standing| until(&standing.order).0 > now);
        let orders: Vec<Value> = standing.map(Standing::json).collect();
        json!({
            "ok": true,
            "policy": program.name.as_str(),
            "revision": program.revision.to_native(),
            "hash": hash,
            "configured": self.place.configured,
            "deployed_at": deployed.map(|deployed| deployed.at.clone()),
            "deployed_by": deployed.map(|deployed| deployed.by),
            "before": deployed.and_then(|deployed| deployed.before.clone()),
            "rules": program.rules.len(),
            "features": program.features.len(),
            "orders": orders,
            "list_edits": self.orders.edits.values().filter(|standing| until(&standing.order).0 > now).count(),
        })
    }

    fn deploy(&mut self, texts: &Texts, cold: bool, dry_run: bool, by: u32) -> Result<Value, Refused> {
        let before = Some(hex(&self.current.hash()));
        self.take_over(texts, cold, dry_run, before, by)
    }

    fn roll_back(&mut self, by: u32) -> Result<Value, Refused> {
        let hash = hex(&self.current.hash());
        let nothing =
            || Refused::new("nothing was deployed to go back from", "deploy the policy that should run");
        let entry = self.deployments.find(&hash).ok_or_else(nothing)?;
        let before = entry.before.clone().ok_or_else(nothing)?;
        let texts = self.deployments.texts(&before).map_err(|error| {
            Refused::new(
                format!("the policy before is not to be had: {error}"),
                "deploy it from its own file",
            )
        })?;
        let further = self.deployments.find(&before).and_then(|entry| entry.before.clone());
        // What it had is still kept; what it never had begins as it would have.
        self.take_over(&texts, true, false, further, by)
    }

    /// Everything that can go wrong is done before the engine thread is asked.
    fn take_over(
        &mut self,
        texts: &Texts,
        cold: bool,
        dry_run: bool,
        before: Option<String>,
        by: u32,
    ) -> Result<Value, Refused> {
        let sources = texts.read();
        let wrong = |found: &[Diagnostic]| Refused {
            error: format!("the policy is refused:\n{}", sources.render(found)),
            help: "correct it, and deploy it again".to_owned(),
            more: Some((
                "diagnostics",
                sources
                    .json(found)
                    .lines()
                    .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                    .collect(),
            )),
        };
        let (policy, tests) = sources.check_with_tests().map_err(|found| wrong(&found))?;
        let running: Program =
            rkyv::deserialize::<Program, rancor::Error>(self.current.program()).map_err(|error| {
                Refused::new(format!("the running program cannot be read: {error}"), "restart the appliance")
            })?;
        let base = Base { program: &running, hash: first_word(&self.current.hash()) };
        let onto = lower_onto(&policy, &Tokenizer::default(), Some(&base)).map_err(|found| {
            // It is rarely one place that is at fault.
            Refused::new(found.message, found.help)
        })?;
        let begins: Vec<Value> =
            onto.cold.iter().map(|cold| json!({ "feature": cold.feature, "why": cold.why })).collect();
        if !onto.cold.is_empty() && !cold {
            let lines = onto.cold.iter().map(|cold| format!("\n  {}: {}", cold.feature, cold.why));
            return Err(Refused {
                error: format!("what some features ask for was not kept:{}", lines.collect::<String>()),
                help: "with --cold they begin now; verdicts that they bear on are flagged inexact until their windows are full"
                    .to_owned(),
                more: Some(("cold", begins.into())),
            });
        }
        let reports = test::run(&policy, &tests, "").map_err(|found| wrong(&[*found]))?;
        if reports.iter().any(|report| !report.failures.is_empty()) {
            let error = format!("its tests fail:\n{}", test::text(&sources, &policy.name, &reports));
            return Err(Refused::new(
                error,
                "correct the policy or its tests; `tollctl policy test` runs them",
            ));
        }
        let budget = Budget::new(self.current.program(), &self.place.limits)
            .map_err(|error| Refused::new(error.message, "lower the limits"))?;
        let sealed = archive::seal(&onto.program);
        let memory = SealedMemfd::copy_of("tollgate-policy", &sealed).map_err(|error| {
            Refused::new(format!("cannot hold the policy in memory: {error}"), "free some memory")
        })?;
        let loaded = archive::open(memory).map_err(|error| {
            Refused::new(format!("the compiled policy is not valid: {error}"), "report this")
        })?;
        let more = Budget::new(loaded.program(), &self.place.limits)
            .map_err(|error| Refused::new(error.message, "lower the limits"))?;
        if let Some(refusal) = self.place.memory_bytes_max.and_then(|max| more.refusal(max)) {
            return Err(Refused::new(refusal, "or restart with the policy, so that nothing is kept twice"));
        }
        let hash = loaded.hash();
        if hash == self.current.hash() {
            return Err(Refused::new(
                "this policy is running already",
                "change its revision if it should be told apart",
            ));
        }
        let program = loaded.program();
        let mut answer = json!({
            "ok": true,
            "policy": program.name.as_str(),
            "revision": program.revision.to_native(),
            "hash": hex(&hash),
            "cold": begins,
            "recent": onto.recent,
            "tests": reports.len(),
            "warnings": self.warnings(&sources),
            "tables_added": onto.program.tables.len() - running.tables.len(),
            "memory_added_bytes": more.total_bytes().saturating_sub(budget.total_bytes()),
        });
        if dry_run {
            answer["dry_run"] = true.into();
            return Ok(answer);
        }
        let mut successor = Successor::new(&self.current, loaded.clone(), &self.place.limits)
            .map_err(|error| Refused::new(error, "restart the appliance with this policy"))?;
        if self.place.touch_memory {
            successor.each_block(memory::touch).map_err(|error| {
                Refused::new(
                    format!("there is not enough memory for what is added: {error}"),
                    "free some memory",
                )
            })?;
        }
        self.keep(&hash, &sealed, texts, before, program_name(&loaded), by).map_err(|error| {
            Refused::new(format!("the policy cannot be kept beside the journal: {error}"), "see to the disk")
        })?;
        let epoch = Epoch {
            semantics: SEMANTICS_VERSION,
            policy_hash: hash,
            layout_hash: program.layout_hash,
            limits: self.place.limits,
            started: Time(clock::realtime_us()),
            took_over: true,
        };
        let deadlines = Deadlines::new(program);
        let ask = Ask::TakeOver(Box::new(TakeOver { successor, deadlines, epoch }));
        self.next = Some(loaded.clone());
        let Some(asked) = self.asking.ask(ask).filter(|asked| asked.done) else {
            return Err(Refused::new(
                "the engine thread did not take it over",
                "see whether the appliance is running well",
            ));
        };
        drop(asked.ask);
        self.current = loaded;
        for warning in answer["warnings"].as_array().into_iter().flatten() {
            self.log.warn(format_args!("{}", warning.as_str().unwrap_or_default()));
        }
        answer["after_seq"] = asked.seq.into();
        self.log.info(format_args!(
            "policy {} revision {} (hash {}) took over after decision {}, deployed by user {by}",
            answer["policy"],
            answer["revision"],
            abbreviated(&hash),
            asked.seq
        ));
        Ok(answer)
    }

    /// What is hardly meant in a policy that is deployed.
    fn warnings(&self, sources: &Sources) -> Vec<String> {
        let now = clock::realtime_us();
        let notes = self.orders.kills.iter().filter(|standing| until(&standing.order).0 > now);
        let killed = notes.filter_map(|standing| serde_json::from_str::<Value>(&standing.note).ok());
        let rows = killed
            .filter_map(|note| note["rule"].as_str().filter(|rule| rule.contains('#')).map(str::to_owned));
        let moved = rows.map(|row| {
            format!("{row} is killed by its number: see whether it is still the row that is meant")
        });
        sources.warnings().into_iter().chain(moved).collect()
    }

    fn keep(
        &mut self,
        hash: &[u8; 32],
        sealed: &[u8],
        texts: &Texts,
        before: Option<String>,
        (policy, revision): (String, u32),
        by: u32,
    ) -> std::io::Result<()> {
        journal::store_policy(&self.place.journal_dir, hash, sealed).map_err(std::io::Error::other)?;
        self.deployments.store_texts(&hex(hash), texts)?;
        self.deployments.add(Deployed {
            hash: hex(hash),
            policy,
            revision,
            configured: self.place.configured.clone(),
            before,
            at: jiff::Timestamp::now().to_string(),
            by,
        })
    }

    fn kill_rule(
        &mut self,
        rule: &str,
        seconds: u64,
        owner: &str,
        reason: &str,
        by: u32,
    ) -> Result<Value, Refused> {
        let known = self.current.program().rules.iter().any(|known| known.name.as_str() == rule);
        if !known {
            let names = self.current.program().rules.iter().map(|rule| rule.name.as_str());
            let help = crate::policy::nearest(rule, names).map_or_else(
                || "`tollctl policy status` tells what runs".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(Refused::new(format!("the policy that is running has no rule `{rule}`"), help));
        }
        let until = deadline(seconds)?;
        let order = Order::KillRule { rule: orders::name(rule), until };
        self.order(order, &json!({ "rule": rule, "owner": owner, "reason": reason, "by": by }))
    }

    fn kill_all(
        &mut self,
        action: &str,
        seconds: u64,
        owner: &str,
        reason: &str,
        by: u32,
    ) -> Result<Value, Refused> {
        let Some(action) = Action::from_word(action) else {
            return Err(Refused::new(
                format!("there is no action `{action}`"),
                "allow, challenge, review or block",
            ));
        };
        let until = deadline(seconds)?;
        self.order(Order::KillAll { action, until }, &json!({ "owner": owner, "reason": reason, "by": by }))
    }

    fn order(&mut self, order: Order, noted: &Value) -> Result<Value, Refused> {
        let note = noted.to_string();
        if ["owner", "reason"].iter().any(|name| note.contains(&format!("\"{name}\":\"\""))) {
            return Err(Refused::new("an order names its owner and its reason", "say both"));
        }
        let said = |name: &str| -> String { noted[name].as_str().unwrap_or_default().to_owned() };
        if has_card_number(&said("owner")) || has_card_number(&said("reason")) {
            let error = "what is noted of the order holds what could be a raw card number";
            return Err(Refused::new(error, "leave it out of owner and reason"));
        }
        if note.len() > NOTE_BYTES_MAX {
            let error =
                format!("owner, reason and rule take {} bytes, more than {NOTE_BYTES_MAX}", note.len());
            return Err(Refused::new(error, "say it shorter"));
        }
        let at = Time(clock::realtime_us());
        let ask = Ask::Order(Box::new(Given { order, at, note: note.clone() }));
        let Some(asked) = self.asking.ask(ask) else {
            return Err(Refused::new(
                "the engine thread did not answer",
                "see whether the appliance is running well",
            ));
        };
        if !asked.done {
            return Err(match order {
                Order::List { .. } => Refused::new(
                    format!("lists have {EDITS_MAX} edits, or {EDITED_LISTS_MAX} of them were edited"),
                    "deploy the policy with what is in its lists now, and forget the edits",
                ),
                _ => Refused::new(format!("{KILLS_MAX} rules are killed already"), "lift some of that first"),
            });
        }
        self.orders.remember(&Ordered { order, given: at, note: &note });
        let lifted = until(&order) <= at;
        let what = match order {
            Order::KillRule { .. } if lifted => "a rule may fire again",
            Order::KillRule { .. } => "a rule is killed",
            Order::KillAll { .. } if lifted => "all are answered by the policy again",
            Order::KillAll { .. } => "all are answered alike",
            Order::List { edit: Edit::Add, .. } => "an entry is in a list",
            Order::List { edit: Edit::Remove, .. } => "an entry is in a list no more",
            Order::List { edit: Edit::Forget, .. } => "an edit of a list is forgotten",
        };
        let end = if lifted { Value::Null } else { lists::until_text(until(&order).0) };
        let of = ["rule", "list"].iter().find_map(|name| noted[name].as_str()).unwrap_or("everything");
        let until = end.as_str().map_or_else(String::new, |end| format!(" until {end}"));
        // An entry may be a key's text, which is in no log.
        self.log.warn(format_args!(
            "ordered after decision {} by user {}: {what} ({of}){until}; {}: {}",
            asked.seq,
            noted["by"],
            said("owner"),
            said("reason")
        ));
        Ok(json!({ "ok": true, "after_seq": asked.seq, "until": end }))
    }
}

impl StandingOrders {
    /// Takes note of an order that the journal holds.
    pub(crate) fn remember(&mut self, ordered: &Ordered<'_>) {
        if let Order::List { list, entry, edit, until } = ordered.order {
            if self.edits.len() >= EDITS_MAX {
                self.edits.retain(|_, standing| self::until(&standing.order) > ordered.given);
            }
            let standing = Standing { order: ordered.order, note: ordered.note.to_owned() };
            match edit {
                Edit::Add | Edit::Remove if until > ordered.given => {
                    _ = self.edits.insert((list, entry), standing);
                }
                _ => _ = self.edits.remove(&(list, entry)),
            }
            return;
        }
        let same = |standing: &Standing| match (standing.order, ordered.order) {
            (Order::KillRule { rule, .. }, Order::KillRule { rule: other, .. }) => rule == other,
            (Order::KillAll { .. }, Order::KillAll { .. }) => true,
            _ => false,
        };
        self.kills.retain(|standing| !same(standing) && until(&standing.order) > ordered.given);
        if until(&ordered.order) > ordered.given {
            self.kills.push(Standing { order: ordered.order, note: ordered.note.to_owned() });
        }
    }
}

impl Standing {
    fn json(&self) -> Value {
        let note: Value = serde_json::from_str(&self.note).unwrap_or_else(|_| self.note.as_str().into());
        let (what, until) = match self.order {
            Order::KillRule { until, .. } => ("kill_rule", until),
            Order::KillAll { until, .. } => ("kill_all", until),
            Order::List { until, .. } => ("list", until),
        };
        let action = match self.order {
            Order::KillAll { action, .. } => Some(action.word()),
            Order::KillRule { .. } | Order::List { .. } => None,
        };
        json!({ "order": what, "action": action, "until": time_text(until), "note": note })
    }
}

fn program_name(loaded: &Loaded) -> (String, u32) {
    let program = loaded.program();
    (program.name.as_str().to_owned(), program.revision.to_native())
}

fn until(order: &Order) -> Time {
    match order {
        Order::KillRule { until, .. } | Order::KillAll { until, .. } | Order::List { until, .. } => *until,
    }
}

fn deadline(seconds: u64) -> Result<Time, Refused> {
    if seconds > SECONDS_MAX {
        return Err(Refused::new(
            format!("{seconds} seconds are more than a year"),
            "what should not come back is taken out of the policy",
        ));
    }
    Ok(Time(if seconds == 0 { 0 } else { clock::realtime_us() + seconds as i64 * 1_000_000 }))
}

fn time_text(time: Time) -> String {
    jiff::Timestamp::from_microsecond(time.0).map_or_else(|_| time.0.to_string(), |time| time.to_string())
}

/// Reads the policy that the journal says is running, if it was deployed onto the configured one; and where it was
/// not, why the configured one runs.
pub(crate) fn resume(
    deployments: &Deployments,
    dir: &std::path::Path,
    configured: &str,
    last: Option<&Epoch>,
) -> Result<Option<Vec<u8>>, String> {
    let Some(last) = last else { return Ok(None) };
    let hash = hex(&last.policy_hash);
    match deployments.find(&hash) {
        None => Ok(None),
        Some(entry) if entry.configured != configured => Err(format!(
            "policy {} revision {} was deployed, but the configured policy has changed since: the configured one runs",
            entry.policy, entry.revision
        )),
        Some(entry) => {
            let path = journal::policy_path(dir, &last.policy_hash);
            std::fs::read(&path).map(Some).map_err(|error| {
                format!(
                    "policy {} revision {} was deployed, but {} cannot be read ({error}): the configured one runs",
                    entry.policy,
                    entry.revision,
                    path.display()
                )
            })
        }
    }
}
