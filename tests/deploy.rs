//! Policies that take over in a running appliance, and orders of operators, over the real rings and the control socket.

mod rig;
#[path = "support/small_model.rs"]
mod small_model;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rig::{Oracle, POLICY, Rig, ask};
use serde_json::{Value, json};
use small_model::small_model;
use tollgate::engine::units::Action;
use tollgate::engine::wire::{Admission, FLAG_INEXACT};
use tollgate_ring::Client;

struct Desk {
    stream: BufReader<UnixStream>,
}

impl Desk {
    fn of(rig: &Rig) -> Self {
        let stream = UnixStream::connect(rig.runtime().join("control.sock")).expect("the control socket");
        Self { stream: BufReader::new(stream) }
    }

    fn ask(&mut self, request: &Value) -> Value {
        self.line(&request.to_string())
    }

    fn line(&mut self, line: &str) -> Value {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).expect("it listens");
        let mut answer = String::new();
        self.stream.read_line(&mut answer).expect("it answers");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    fn deploy(&mut self, text: &str, cold: bool) -> Value {
        let files = BTreeMap::from([("p.policy", text)]);
        self.ask(&json!({ "do": "deploy", "texts": { "name": "p.policy", "files": files }, "cold": cold }))
    }

    fn done(&mut self, request: &Value) -> Value {
        let answer = self.ask(request);
        assert_eq!(answer["ok"], true, "{answer}");
        answer
    }

    fn refused(answer: &Value, error: &str, help: &str) {
        assert_eq!(answer["ok"], false, "{answer}");
        let told = |name: &str| answer[name].as_str().unwrap_or("").to_owned();
        assert!(told("error").contains(error) && told("help").contains(help), "{answer}");
    }
}

/// The same policy, another revision, in which a rule always fires whose score tells which.
fn revision(number: u32) -> String {
    let always =
        format!("rule always on payment {{ when amount in USD > 0 USD then score {} }}\n", number % 40);
    let quiet =
        POLICY.replace("payments_1h > 3", "payments_1h > 3000000").replace("1000 USD", "1000000000 USD");
    quiet.replace("policy test revision 1", &format!("policy test revision {number}")) + &always
}

#[test]
fn a_thousand_policies_take_over_under_load() {
    let rounds: u32 = std::env::var("DEPLOY_ROUNDS").map_or(200, |text| text.parse().expect("a number"));
    let rig = Rig::new(&revision(1));
    let running = rig.start();
    let oracle = Oracle::new(&rig);
    let mut client = running.connect(&oracle);
    let deployed = std::sync::atomic::AtomicU32::new(1);
    let done = std::sync::atomic::AtomicBool::new(false);
    let (mut seen, mut asked) = (BTreeMap::<u32, u64>::new(), 0_u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut desk = Desk::of(&rig);
            for number in 2..2 + rounds {
                deployed.store(number, std::sync::atomic::Ordering::SeqCst);
                let answer = desk.deploy(&revision(number), false);
                assert_eq!((&answer["ok"], &answer["revision"]), (&json!(true), &json!(number)), "{answer}");
                assert_eq!(answer["cold"], json!([]));
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        let mut last = 1;
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            asked += 1;
            // A card for each three payments: features go on over take-overs.
            let outcome = ask(&mut client, &oracle.payment(asked, asked / 3 % 1_000, 10_000), 0);
            let revision = outcome.policy_revision;
            let newest = deployed.load(std::sync::atomic::Ordering::SeqCst);
            assert!(last <= revision && revision <= newest, "{last} {revision} {newest}");
            assert_eq!(outcome.score, (revision % 40) as i16, "one policy decides all of a verdict");
            assert_eq!(outcome.seq, asked, "no decision is lost");
            last = revision;
            *seen.entry(revision).or_default() += 1;
        }
    });
    // How many get a turn depends on who else wants the cores.
    assert!(seen.len() as u32 > rounds / 20, "{} of {rounds} revisions decided something", seen.len());
    // What the next start replays is proved for the last policy, and the last policy goes on.
    drop(client);
    let log = running.stop();
    assert!(log.contains("took over after decision"), "{log}");
    let again = rig.start();
    assert_eq!(again.recovered().0, asked);
    assert_eq!(again.ready["revision"], (1 + rounds).to_string());
    again.stop();
}

fn payments(
    client: &mut Client,
    oracle: &Oracle,
    ids: std::ops::Range<u64>,
    card: u64,
) -> Vec<(i16, Action, u32)> {
    let mut outcomes = Vec::new();
    for id in ids {
        let outcome = ask(client, &oracle.payment(id, card, 10_000), 0);
        outcomes.push((outcome.score, outcome.action, outcome.policy_revision));
    }
    outcomes
}

#[test]
fn features_go_on_cold_ones_are_asked_for_and_a_rollback_finds_what_it_left() {
    let rig = Rig::new(POLICY);
    let running = rig.start();
    let oracle = Oracle::new(&rig);
    let mut client = running.connect(&oracle);
    let mut desk = Desk::of(&rig);
    // Three payments: one more, and `many` fires.
    payments(&mut client, &oracle, 1..4, 1);

    let stricter = POLICY
        .replace("revision 1", "revision 2")
        .replace("payments_1h > 3 then review, score 80", "payments_1h > 3 then block, score 91");
    let answer = desk.deploy(&stricter, false);
    assert_eq!(answer["after_seq"], 3, "{answer}");
    assert_eq!(payments(&mut client, &oracle, 4..5, 1), [(91, Action::Block, 2)]);

    // What is not kept is refused, with what is missing, unless it may begin now.
    let more = stricter.replace("revision 2", "revision 3").replace(
        "rule many",
        "feature merchants_1h = distinct(payment.merchant) by card last 1h\nfeature longer = count(payment) by card last 9d\n\
         rule cold on payment { when longer >= 2 then score 97 }\nrule many",
    );
    let answer = desk.deploy(&more, false);
    Desk::refused(&answer, "longer: payment is kept for 24 h, and this looks back 216 h", "--cold");
    assert!(
        answer["error"].as_str().unwrap().contains("merchants_1h: merchant of payment is not kept"),
        "{answer}"
    );
    assert_eq!(payments(&mut client, &oracle, 5..6, 1)[0].2, 2);
    let answer = desk.deploy(&more, true);
    assert_eq!(answer["cold"].as_array().map(Vec::len), Some(2), "{answer}");
    let outcome = ask(&mut client, &oracle.payment(6, 1, 10_000), 0);
    assert_eq!((outcome.score, outcome.policy_revision), (91, 3), "its own event is all it knows");
    assert_ne!(outcome.flags & FLAG_INEXACT, 0);
    let outcome = ask(&mut client, &oracle.payment(7, 1, 10_000), 0);
    assert_eq!(outcome.score, 97);

    // Back twice: to what was deployed, and to what was configured; and no further.
    assert_eq!(desk.done(&json!({ "do": "rollback" }))["revision"], 2);
    assert_eq!(payments(&mut client, &oracle, 8..9, 1), [(91, Action::Block, 2)]);
    assert_eq!(desk.done(&json!({ "do": "rollback" }))["revision"], 1);
    assert_eq!(payments(&mut client, &oracle, 9..10, 1), [(80, Action::Review, 1)]);
    Desk::refused(&desk.ask(&json!({ "do": "rollback" })), "nothing was deployed to go back from", "deploy");

    // Killed at any instruction: what was decided by the last is decided again, and it goes on.
    let mut client = Some(client);
    desk.deploy(&more, true);
    for (id, card) in [(10, 1), (11, 2)] {
        payments(client.as_mut().unwrap(), &oracle, id..id + 1, card);
    }
    drop(client.take());
    running.kill();
    let again = rig.start();
    assert_eq!((again.recovered().0, again.ready["revision"].as_str()), (11, "3"));
    let log = again.stop();
    assert!(log.contains("goes on, which was deployed onto the configured one"), "{log}");

    // A configured policy that has changed is the newer word.
    rig.set_policy(&POLICY.replace("revision 1", "revision 9"));
    let changed = rig.start();
    assert_eq!(changed.ready["revision"], "9");
    let log = changed.stop();
    assert!(log.contains("the configured policy has changed since"), "{log}");
}

#[test]
fn what_cannot_take_over_is_refused_and_nothing_changes() {
    let rig = Rig::new(POLICY);
    let running = rig.start();
    let oracle = Oracle::new(&rig);
    let mut client = running.connect(&oracle);
    let mut desk = Desk::of(&rig);
    let changed = |from: &str, to: &str| POLICY.replace(from, to);
    let answer = desk.deploy(&changed("payments_1h > 3", "payments_1 > 3"), false);
    Desk::refused(&answer, "p.policy:", "correct it");
    assert_eq!(answer["diagnostics"][0]["line"], 14, "{answer}");
    let answer = desk.deploy(&changed("merchant: merchant?", "merchant: merchant?, place: int?"), true);
    Desk::refused(&answer, "laid out otherwise", "");
    let answer = desk.deploy(&changed("entity card, merchant", "entity card, merchant, device"), true);
    Desk::refused(&answer, "the entity kinds are not those of the policy that is running", "declare them");
    let tested = changed("revision 1", "revision 2")
        + "test \"many\" {\n  let p = payment { card: c1, amount: 5 USD }\n  given p at 0m, 1m, 2m\n  when p at 3m then block\n}\n";
    Desk::refused(
        &desk.deploy(&tested, false),
        "expected block, got review",
        "correct the policy or its tests",
    );
    Desk::refused(&desk.deploy(POLICY, false), "this policy is running already", "revision");
    for (line, error) in [
        ("", "no request"),
        ("{}", "missing field `do`"),
        ("{\"do\":\"nothing\"}", "unknown variant `nothing`"),
        ("{\"do\":\"deploy\",\"texts\":{\"name\":\"a\",\"files\":{}},\"hot\":1}", "unknown field `hot`"),
        ("{\"do\":\"deploy\",\"texts\":{\"name\":\"a\",\"files\":{}}}", "the policy is refused"),
    ] {
        Desk::refused(&desk.line(line), error, "");
    }
    assert_eq!(desk.done(&json!({ "do": "status" }))["revision"], 1);
    assert_eq!(payments(&mut client, &oracle, 1..2, 1)[0].2, 1);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(rig.runtime().join("control.sock")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    running.stop();
    assert!(!Path::new(&rig.runtime().join("control.sock")).exists());
}

/// The file of a table travels with the policy, is kept with it, and a killed row leaves the payment to the next.
#[test]
fn a_table_is_deployed_with_its_file_and_a_killed_row_yields_to_the_next() {
    let rig = Rig::new(POLICY);
    let running = rig.start();
    let oracle = Oracle::new(&rig);
    let mut client = running.connect(&oracle);
    let mut desk = Desk::of(&rig);
    let text = POLICY.replace("revision 1", "revision 2") + "table sizes on payment first = \"sizes.csv\"\n";
    let sheet = "\u{feff}amount in USD;then\r\n>= 90 USD;score 31\r\n>= 50 USD;score 32\r\n;score 33\r\n";
    let deploy = |files: &[(&str, &str)]| {
        let files: BTreeMap<&str, &str> = files.iter().copied().collect();
        json!({ "do": "deploy", "texts": { "name": "p.policy", "files": files }, "cold": false })
    };
    let answer = desk.ask(&deploy(&[("p.policy", &text)]));
    assert_eq!(answer["ok"], false, "{answer}");
    assert!(answer.to_string().contains("`sizes.csv` cannot be read: it was not sent along"), "{answer}");
    desk.done(&deploy(&[("p.policy", &text), ("sizes.csv", sheet)]));
    assert_eq!(payments(&mut client, &oracle, 1..2, 1)[0], (31, Action::Allow, 2));
    let kill = |row: u32, seconds: u64| json!({ "do": "kill_rule", "rule": format!("sizes#{row}"), "seconds": seconds, "owner": "ann", "reason": "a test" });
    desk.done(&kill(1, 600));
    assert_eq!(payments(&mut client, &oracle, 2..3, 2)[0].0, 32);
    desk.done(&kill(2, 600));
    drop(client);
    running.kill();
    let running = rig.start();
    let (mut client, mut desk) = (running.connect(&oracle), Desk::of(&rig));
    assert_eq!(payments(&mut client, &oracle, 3..4, 3)[0], (33, Action::Allow, 2));
    desk.done(&kill(1, 0));
    assert_eq!(payments(&mut client, &oracle, 4..5, 4)[0].0, 31);
}

#[test]
fn killed_rules_do_not_fire_and_an_action_for_all_yields_to_mandatory_rules() {
    let mandatory = POLICY.to_owned()
        + "rule huge on payment mandatory { when amount in USD > 900 USD then block, score 99 }\n";
    let rig = Rig::new(&mandatory);
    let running = rig.start();
    let oracle = Oracle::new(&rig);
    let mut client = running.connect(&oracle);
    let mut desk = Desk::of(&rig);
    let kill = |rule: &str, seconds: u64| json!({ "do": "kill_rule", "rule": rule, "seconds": seconds, "owner": "ann", "reason": "a test" });
    let all = |action: &str, seconds: u64| json!({ "do": "kill_all", "action": action, "seconds": seconds, "owner": "bob", "reason": "a fire" });
    assert_eq!(payments(&mut client, &oracle, 1..5, 1)[3], (80, Action::Review, 1));
    desk.done(&kill("many", 600));
    assert_eq!(payments(&mut client, &oracle, 5..6, 1)[0], (0, Action::Allow, 1));
    let status = desk.done(&json!({ "do": "status" }));
    assert_eq!(status["orders"][0]["note"]["rule"], "many", "{status}");

    // It holds for the rule of that name in whatever policy, and after a crash.
    desk.deploy(&mandatory.replace("revision 1", "revision 2"), false);
    assert_eq!(payments(&mut client, &oracle, 6..7, 1)[0], (0, Action::Allow, 2));
    drop(client);
    running.kill();
    let running = rig.start();
    let mut client = running.connect(&oracle);
    let mut desk = Desk::of(&rig);
    assert_eq!(payments(&mut client, &oracle, 7..8, 1)[0], (0, Action::Allow, 2));
    assert_eq!(desk.done(&json!({ "do": "status" }))["orders"][0]["note"]["owner"], "ann");
    desk.done(&kill("many", 0));
    assert_eq!(payments(&mut client, &oracle, 8..9, 1)[0], (80, Action::Review, 2));

    desk.done(&all("allow", 600));
    assert_eq!(payments(&mut client, &oracle, 9..10, 1)[0], (80, Action::Allow, 2));
    let huge = ask(&mut client, &oracle.payment(10, 5, 100_000), 0);
    assert_eq!((huge.score, huge.action), (99, Action::Block));
    desk.done(&all("block", 600));
    assert_eq!(payments(&mut client, &oracle, 11..12, 7)[0].1, Action::Block);
    desk.done(&all("allow", 0));
    assert_eq!(payments(&mut client, &oracle, 12..13, 1)[0], (80, Action::Review, 2));

    Desk::refused(&desk.ask(&kill("mny", 600)), "no rule `mny`", "did you mean `many`?");
    Desk::refused(&desk.ask(&all("stop", 600)), "there is no action `stop`", "allow, challenge");
    Desk::refused(&desk.ask(&kill("many", 1 << 40)), "more than a year", "policy");
    let nobody = json!({ "do": "kill_rule", "rule": "many", "seconds": 9, "owner": "", "reason": "x" });
    Desk::refused(&desk.ask(&nobody), "names its owner and its reason", "say both");
    let long =
        json!({ "do": "kill_rule", "rule": "many", "seconds": 9, "owner": "ann", "reason": "x".repeat(400) });
    Desk::refused(&desk.ask(&long), "more than 376", "shorter");
    drop(client);
    running.stop();
    // Decided again, all of it since the last policy took over.
    assert_eq!(rig.start().recovered().0, 12);
}

#[test]
fn edits_of_lists_hold_from_the_decision_they_name_in_any_policy_and_after_a_crash() {
    let policy = POLICY.replace("payments_1h > 3", "payments_1h > 3000")
        + "list known of card { \"2\", \"3\" until 2020-01-01 owner \"ann\" reason \"a guest\" }\n\
           rule known on payment { when card in known then score 33 }\n";
    let rig = Rig::new(&policy);
    let running = rig.start();
    let oracle = Oracle::new(&rig);
    let mut client = running.connect(&oracle);
    let mut desk = Desk::of(&rig);
    let edit = |what: &str, card: &str| json!({ "do": "edit_list", "list": "known", "entry": card, "edit": what, "owner": "ann", "reason": "x" });
    let mut id = 0;
    let mut scores = |client: &mut Client| {
        [1, 2, 3].map(|card| {
            id += 1;
            ask(client, &oracle.payment(id, card, 100), 0).score
        })
    };
    assert_eq!(scores(&mut client), [-1, 33, -1], "what has ended is not in the list");
    let answer = desk.done(&edit("add", "1"));
    assert_eq!((&answer["after_seq"], &answer["until"]), (&json!(3), &Value::Null), "{answer}");
    desk.done(&edit("remove", "2"));
    assert_eq!(scores(&mut client), [33, 0, 0]);
    let told = desk.done(&json!({ "do": "list", "list": "known" }));
    assert_eq!(told["entries"].as_array().map(Vec::len), Some(1), "{told}");
    assert_eq!((&told["entries"][0]["entry"], &told["entries"][0]["owner"]), (&json!("1"), &json!("ann")));
    let told = desk.done(&json!({ "do": "list", "list": "known", "edits": true }));
    assert_eq!(told["entries"].as_array().map(Vec::len), Some(2), "{told}");

    // Another policy with a list of that name and kind; of another kind it is another list.
    assert_eq!(desk.deploy(&policy.replace("revision 1", "revision 2"), false)["ok"], true);
    assert_eq!(scores(&mut client), [33, 0, 0]);
    let other = policy.replace("revision 1", "revision 3").replace("known of card", "known of merchant");
    assert_eq!(desk.deploy(&other.replace("card in known", "merchant in known"), false)["ok"], true);
    assert_eq!(
        scores(&mut client),
        [0, 33, 0],
        "card 2 pays merchant 2; the third of three payments has none"
    );
    desk.done(&json!({ "do": "rollback" }));
    assert_eq!(scores(&mut client), [33, 0, 0]);

    drop(client);
    running.kill();
    let running = rig.start();
    let mut client = running.connect(&oracle);
    let mut desk = Desk::of(&rig);
    assert_eq!(scores(&mut client), [33, 0, 0]);
    assert_eq!(desk.done(&json!({ "do": "status" }))["list_edits"], 2);
    desk.done(&edit("forget", "1"));
    desk.done(&edit("forget", "2"));
    desk.done(&edit("forget", "2"));
    assert_eq!(scores(&mut client), [0, 33, 0]);
    Desk::refused(&desk.ask(&edit("add", "4111111111111111")), "raw card number", "token");
    for (text, told) in [("4111 1111 1111 1111", "raw card number"), ("", "cannot be empty")] {
        let answer = desk.ask(&edit("add", text));
        Desk::refused(&answer, told, "");
        assert!(!answer.to_string().contains("1111"), "{answer}");
    }
    let kill = json!({ "do": "kill_all", "action": "allow", "seconds": 60, "owner": "4111111111111111", "reason": "x" });
    Desk::refused(&desk.ask(&kill), "raw card number", "leave it out");
    let unknown = desk.ask(&json!({ "do": "list", "list": "4111 1111 1111 1111" }));
    assert!(unknown["error"].as_str().is_some_and(|error| error.contains('*')), "{unknown}");
    Desk::refused(&desk.ask(&edit("move", "1")), "unknown variant `move`", "");
    let no_list = json!({ "do": "list", "list": "nown" });
    Desk::refused(&desk.ask(&no_list), "has no list `nown`", "did you mean `known`?");
    running.stop();
}

/// Which orders hold, and which revision decides.
#[derive(Clone, Copy, Debug)]
struct State {
    after: u64,
    listed: bool,
    killed: bool,
    revision: u32,
}

#[test]
fn edits_kills_deployments_and_rollbacks_under_load_hold_from_the_decision_they_name() {
    let rounds: u32 = std::env::var("DEPLOY_ROUNDS").map_or(25, |text| text.parse().expect("a number"));
    let policy = |number: u32| {
        POLICY
            .replace("revision 1", &format!("revision {number}"))
            .replace("score = rule_scores", "score = sum(rule_scores)")
            .replace("payments_1h > 3", "payments_1h > 3000000")
            .replace("1000 USD", "1000000000 USD")
            + &format!(
                "list blocked of card\nrule listed on payment {{ when card in blocked then score 41 }}\n\
                 rule killable on payment {{ when amount in USD > 0 USD then score 30 }}\n\
                 rule which on payment {{ when amount in USD > 0 USD then score {} }}\n",
                10 + number % 10
            )
    };
    let rig = Rig::new(&policy(1));
    let running = rig.start();
    let oracle = Oracle::new(&rig);
    let mut client = running.connect(&oracle);
    let done = std::sync::atomic::AtomicBool::new(false);
    let (mut verdicts, mut asked) = (Vec::new(), 0_u64);
    let states = std::thread::scope(|scope| {
        let orders = scope.spawn(|| {
            let mut desk = Desk::of(&rig);
            let mut states = vec![State { after: 0, listed: false, killed: false, revision: 1 }];
            let by = |mut order: Value| {
                order["owner"] = "ann".into();
                order["reason"] = "a load".into();
                order
            };
            let edit =
                |what: &str| by(json!({ "do": "edit_list", "list": "blocked", "entry": "1", "edit": what }));
            let kill =
                |seconds: u64| by(json!({ "do": "kill_rule", "rule": "killable", "seconds": seconds }));
            for round in 0..rounds {
                let number = 2 + round;
                for step in 0..7 {
                    let mut state = *states.last().expect("one at least");
                    let answer = match step {
                        // Between any two orders something takes long enough for payments to come.
                        0 => desk.done(&edit("add")),
                        1 | 5 => desk.deploy(&policy(number), false),
                        2 => desk.done(&kill(600)),
                        3 => desk.done(&json!({ "do": "rollback" })),
                        4 => desk.done(&edit(if round % 2 == 0 { "remove" } else { "forget" })),
                        _ => desk.done(&kill(0)),
                    };
                    match step {
                        0 | 4 => state.listed = step == 0,
                        2 | 6 => state.killed = step == 2,
                        _ => state.revision = answer["revision"].as_u64().expect("a revision") as u32,
                    }
                    state.after = answer["after_seq"].as_u64().unwrap_or_else(|| panic!("{answer}"));
                    states.push(state);
                }
            }
            done.store(true, std::sync::atomic::Ordering::SeqCst);
            states
        });
        while !done.load(std::sync::atomic::Ordering::SeqCst) && !orders.is_finished() {
            asked += 1;
            let outcome = ask(&mut client, &oracle.payment(asked, asked % 2, 10_000), 0);
            assert_eq!(outcome.seq, asked, "no decision is lost");
            verdicts.push(outcome);
        }
        orders.join().expect("all orders were obeyed")
    });
    let mut checked = [0_u64; 4];
    for outcome in &verdicts {
        let held = states.partition_point(|state| state.after < outcome.seq);
        let State { listed, killed, revision, .. } = states[held - 1];
        let listed = listed && outcome.seq % 2 == 1;
        let expected = 41 * i16::from(listed) + 30 * i16::from(!killed) + 10 + (revision % 10) as i16;
        assert_eq!(
            (outcome.score, outcome.policy_revision),
            (expected, revision),
            "decision {}",
            outcome.seq
        );
        checked[usize::from(listed) + 2 * usize::from(killed)] += 1;
    }
    assert!(checked.iter().all(|count| *count > 0), "{checked:?}");
    drop(client);
    running.stop();
    assert_eq!(rig.start().recovered().0, asked, "all of it is decided again as it was");
}

#[test]
fn an_oracle_of_the_new_policy_agrees() {
    // What is decided after a take-over is what an engine says that had the policy from the start.
    let rig = Rig::new(POLICY);
    let running = rig.start();
    let next = POLICY.replace("revision 1", "revision 2").replace("risk_7d > 0.04", "risk_7d > 0.5");
    let other = Rig::new(&next);
    let mut oracle = Oracle::new(&other);
    let events = oracle.stream(600, 5);
    let mut client = running.connect(&oracle);
    for (number, event) in events.iter().enumerate() {
        if number == 300 {
            assert_eq!(Desk::of(&rig).deploy(&next, false)["ok"], true);
        }
        let (outcome, expected) = (ask(&mut client, event, 0), oracle.decide(event, Admission::Normal));
        if number >= 300 && outcome.policy_revision == 2 {
            assert_eq!(outcome, expected, "{number}");
        }
    }
}

/// The model's value decides: `risk` is ½ at 200 USD and two payments in an hour.
fn with_model(number: u32, model: &str) -> String {
    let policy = POLICY.replace("revision 1", &format!("revision {number}"));
    let policy = policy.replace("score = rule_scores\n", "score = max(rule_scores, 100 * risk)\n");
    policy.replace(
        "rule many",
        &format!("model risk on payment = \"{model}\" (major(amount in USD), payments_1h)\nrule many"),
    )
}

#[test]
fn models_are_deployed_with_their_policy_and_go_back_with_it() {
    let rig = Rig::new(POLICY);
    let running = rig.start();
    let oracle = Oracle::new(&rig);
    let mut client = running.connect(&oracle);
    let mut desk = Desk::of(&rig);
    let score = |client: &mut Client, id: u64, card: u64| {
        let outcome = ask(client, &oracle.payment(id, card, 20_000), 0);
        (outcome.score, outcome.policy_revision)
    };
    assert_eq!(score(&mut client, 1, 1), (-1, 1), "nothing is known of the card");

    let text = with_model(2, "models/risk.tgm");
    let files = BTreeMap::from([("x/p.policy", &text)]);
    let texts = |models: Value| json!({ "name": "x/p.policy", "files": files, "models": models });
    let deploy = |models: Value| json!({ "do": "deploy", "texts": texts(models), "cold": false });
    Desk::refused(&desk.ask(&deploy(json!({}))), "it was not sent along", "");
    let damaged = json!({ "x/models/risk.tgm": BASE64_STANDARD.encode(&small_model()[..100]) });
    Desk::refused(&desk.ask(&deploy(damaged)), "the model in `models/risk.tgm` cannot be used", "");
    let not_base64 = json!({ "x/models/risk.tgm": "?" });
    Desk::refused(&desk.ask(&deploy(not_base64)), "it was sent damaged", "");
    let model = json!({ "x/models/risk.tgm": BASE64_STANDARD.encode(small_model()) });
    assert_eq!(desk.done(&deploy(model))["revision"], 2);

    // sigmoid(1 + n - 3) of the n-th payment; a card of which nothing is known is not unassessed any more.
    assert_eq!(score(&mut client, 2, 1), (50, 2));
    assert_eq!(score(&mut client, 3, 1), (73, 2));
    assert_eq!(score(&mut client, 4, 2), (27, 2));
    assert_eq!(desk.done(&json!({ "do": "rollback" }))["revision"], 1);
    assert_eq!(score(&mut client, 5, 3), (-1, 1));

    // Killed, it comes back with the model, which is kept beside the journal, and proves what was decided by it.
    let model = json!({ "x/models/risk.tgm": BASE64_STANDARD.encode(small_model()) });
    desk.done(&deploy(model));
    assert_eq!(score(&mut client, 6, 4), (27, 2));
    drop(client);
    running.kill();
    let again = rig.start();
    assert_eq!((again.recovered().0, again.ready["revision"].as_str()), (6, "2"));
    let mut client = again.connect(&oracle);
    assert_eq!(score(&mut client, 7, 4), (50, 2));
    drop(client);
    again.stop();
}
