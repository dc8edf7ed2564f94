//! The simulated payment switch: a process of its own, on the other side of the ring.
//!
//! Open loop: event number i is due at start + i / rate, whatever became of the ones before, and its round trip
//! is counted from then. A switch that falls behind therefore shows as latency, not as a lower rate.

use super::layout::Layout;
use super::random::Random;
use super::report::{Line, Percentiles, Progress, Summary};
use super::stream::{Fraud, Happening, Payment, Stream};
use super::world::World;
use crate::engine::Loaded;
use crate::engine::units::{Action, DAY, HOUR, MINUTE, Time};
use crate::engine::wire::{FLAG_REFUSED, Outcome};
use crate::token::Tokenizer;
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use tollgate_ring::{Client, ClientOptions, SendError, Verdict, monotonic_ns};

/// What the switch was asked to do.
pub(super) struct Plan<'a> {
    pub(super) socket: &'a Path,
    pub(super) seconds: u64,
    /// Events per second, of all kinds.
    pub(super) rate: u64,
    pub(super) seed: u64,
    pub(super) customers: usize,
    pub(super) slot_bytes: u32,
}

/// After the last event is sent, how long to wait for the verdicts still owed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the switch to its end and prints its lines on standard output.
pub(super) fn run(plan: &Plan<'_>, loaded: &Loaded) -> Result<()> {
    let layout = Layout::new(loaded.program())?;
    let options = ClientOptions {
        schema_hash: loaded.program().layout_hash,
        slot_bytes: plan.slot_bytes,
        name: "demo switch".to_owned(),
        timeout: Duration::from_secs(5),
        durable: false,
    };
    let client = Client::connect(plan.socket, options).context("the switch cannot reach the appliance")?;
    let mut random = Random::new(plan.seed);
    let world = World::new(plan.customers, &mut random, &Tokenizer::default());
    Switch::new(client, Stream::new(world, random), layout)?.drive(plan)
}

/// A sent event that has no verdict yet.
type Waiting = Option<Payment>;

struct Switch<'p> {
    client: Client,
    stream: Stream,
    layout: Layout<'p>,
    /// By request number modulo the length: verdicts come in order, and no more can be in flight than fit.
    waiting: Vec<Waiting>,
    answered: u64,
    refused: u64,
    tally: Tally,
    second: Tally,
    rtt: Histogram<u64>,
    second_rtt: Histogram<u64>,
}

/// Verdicts on payments against the truth.
#[derive(Clone, Default)]
struct Tally {
    actions: [u64; 5],
    caught: [u64; 4],
    frauds: [u64; 4],
    stopped: u64,
    stopped_fraud: u64,
}

impl Tally {
    fn add(&mut self, payment: &Payment, action: Action) {
        let stopped = action >= Action::Challenge;
        self.actions[action as usize] += 1;
        self.stopped += u64::from(stopped);
        if let Some(fraud) = payment.fraud {
            self.frauds[fraud as usize] += 1;
            self.caught[fraud as usize] += u64::from(stopped);
            self.stopped_fraud += u64::from(stopped);
        }
    }

    fn actions(&self) -> std::collections::BTreeMap<String, u64> {
        let judged = &Action::ALL[1..];
        judged.iter().map(|action| (action.word().to_owned(), self.actions[*action as usize])).collect()
    }
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_max(60_000_000_000, 3).context("a histogram of up to a minute")
}

impl<'p> Switch<'p> {
    fn new(client: Client, stream: Stream, layout: Layout<'p>) -> Result<Self> {
        let capacity = client.geometry().verdict_capacity as usize;
        Ok(Self {
            client,
            stream,
            layout,
            waiting: vec![None; capacity.next_power_of_two()],
            answered: 0,
            refused: 0,
            tally: Tally::default(),
            second: Tally::default(),
            rtt: histogram()?,
            second_rtt: histogram()?,
        })
    }

    fn drive(&mut self, plan: &Plan<'_>) -> Result<()> {
        let began = self.stream.now();
        let interval_ns = 1e9 / plan.rate.max(1) as f64;
        let start = monotonic_ns();
        let end = start + plan.seconds * 1_000_000_000;
        let (mut sent, mut next_report, mut second, mut reported) = (0u64, start + 1_000_000_000, 0, 0);
        let mut next = self.prepare();
        loop {
            let now = monotonic_ns();
            let due = start + (sent as f64 * interval_ns) as u64;
            if now >= end {
                break;
            }
            if now >= due {
                let (kind, words, payment) = next;
                match self.client.send(kind, sent, due, words.words()) {
                    Ok(()) => {
                        self.note(sent, payment);
                        sent += 1;
                        self.receive()?;
                        next = self.prepare();
                    }
                    Err(SendError::Busy) => self.receive()?,
                    Err(error) => bail!("the appliance went away after {sent} events: {error}"),
                }
            } else {
                self.receive()?;
                std::hint::spin_loop();
            }
            if now >= next_report {
                second += 1;
                next_report += 1_000_000_000;
                self.report(second, sent - reported, began)?;
                reported = sent;
            }
        }
        let stopped = Instant::now();
        while self.answered < sent && stopped.elapsed() < PATIENCE {
            self.receive()?;
            std::thread::yield_now();
        }
        self.summary((monotonic_ns() - start) as f64 / 1e9, sent)
    }

    /// The next event that the policy knows, ready to be sent.
    fn prepare(&mut self) -> (u16, crate::encode::EventWords, Waiting) {
        loop {
            let (time, happening) = self.stream.next();
            if let Some((kind, words)) = self.layout.encode(time, &happening) {
                let payment = if let Happening::Payment(payment) = happening { Some(payment) } else { None };
                return (kind, words, payment);
            }
        }
    }

    fn note(&mut self, request: u64, payment: Waiting) {
        let slot = request as usize & (self.waiting.len() - 1);
        self.waiting[slot] = payment;
    }

    fn receive(&mut self) -> Result<()> {
        while let Some(verdict) = self.client.recv().context("the appliance went away with verdicts owed")? {
            self.take(&verdict)?;
        }
        Ok(())
    }

    fn take(&mut self, verdict: &Verdict) -> Result<()> {
        let took = monotonic_ns().saturating_sub(verdict.t_intended);
        self.rtt.saturating_record(took);
        self.second_rtt.saturating_record(took);
        self.answered += 1;
        let (outcome, _) =
            Outcome::from_words(verdict.payload).context("a verdict with an unknown action")?;
        let slot = verdict.req_id as usize & (self.waiting.len() - 1);
        if outcome.flags & FLAG_REFUSED != 0 {
            self.refused += 1;
        } else if let Some(payment) = self.waiting[slot].take() {
            self.tally.add(&payment, outcome.action);
            self.second.add(&payment, outcome.action);
            self.stream.answer(&payment, outcome.action);
        }
        Ok(())
    }

    fn report(&mut self, second: u64, events: u64, began: Time) -> Result<()> {
        let progress = Progress {
            second,
            simulated: simulated(self.stream.now(), began),
            events,
            actions: self.second.actions(),
            p50_ns: self.second_rtt.value_at_quantile(0.5),
            p99_ns: self.second_rtt.value_at_quantile(0.99),
            max_ns: self.second_rtt.max(),
        };
        self.second = Tally::default();
        self.second_rtt.reset();
        say(&Line::Progress(progress))
    }

    fn summary(&mut self, seconds: f64, sent: u64) -> Result<()> {
        let tally = &self.tally;
        let names =
            [Fraud::StolenCard, Fraud::CardTesting, Fraud::Terminal, Fraud::Takeover].map(
                |fraud| match fraud {
                    Fraud::StolenCard => "stolen card",
                    Fraud::CardTesting => "card testing",
                    Fraud::Terminal => "compromised terminal",
                    Fraud::Takeover => "account takeover",
                },
            );
        let frauds: u64 = tally.frauds.iter().sum();
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let at = |quantile| self.rtt.value_at_quantile(quantile);
        say(&Line::Summary(Summary {
            seconds,
            sent,
            answered: self.answered,
            unanswered: sent - self.answered,
            refused: self.refused,
            payments: tally.actions.iter().sum(),
            actions: tally.actions(),
            precision: share(tally.stopped_fraud, tally.stopped),
            recall: share(tally.stopped_fraud, frauds),
            frauds: (0..4).map(|i| (names[i].to_owned(), (tally.frauds[i], tally.caught[i]))).collect(),
            rtt_ns: Percentiles {
                p50: at(0.5),
                p99: at(0.99),
                p999: at(0.999),
                p9999: at(0.9999),
                max: self.rtt.max(),
            },
        }))
    }
}

fn say(line: &Line) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    writeln!(out)?;
    out.flush().context("the demo's parent is gone")
}

fn simulated(now: Time, began: Time) -> String {
    let day = (now.0.div_euclid(DAY)) - (began.0.div_euclid(DAY)) + 1;
    let of_day = now.0.rem_euclid(DAY);
    format!("day {day} {:02}:{:02}", of_day / HOUR, of_day % HOUR / MINUTE)
}
