//! `policy`: which rules fire, beside the same hundred rules written by hand; and how that grows with their number.
//!
//! What is measured is what an engine does between features and decision, by the same code
//! ([`Rules`]). By hand, the rules are given numbers that are there already; the engine takes fields
//! from the words of the event. Both are asked about the same events in turns, slice by slice, and every answer is compared
//! before any of them is timed.

mod load;
mod rules;

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::value_parser;
use serde_json::json;
use tollgate::engine::wire::{PRESENCE_WORD, event_time};
use tollgate::engine::{Loaded, Rules};
use tollgate_ring::monotonic_ns;

use crate::figure::{Figure, Form, Report};
use crate::interrupt;
use crate::machine::{Cores, pin};
use crate::stats::{histogram, median};
use load::{Case, Many};

/// What `policy` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds of slices. One more, before them, warms up.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(1..=10_000))]
    slices: u64,
    /// Length of a slice.
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u64).range(1..=10_000))]
    slice_ms: u64,
    /// How many rules, for the figures of growth; several with commas between.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000, 10_000], value_parser = value_parser!(u32).range(1..=16_000))]
    rules: Vec<u32>,
    /// Only the figures of growth, as for counting instructions.
    #[arg(long)]
    growth: bool,
    #[command(flatten)]
    form: Form,
}

/// Different events of a case.
const EVENTS: usize = 1_024;
/// Events that are timed together: the clock takes as long as a part of one.
const BURST: usize = 16;
/// How many of the hundred rules fire, about.
const FIRING: [usize; 3] = [0, 5, 50];
/// For the time that compiling takes.
const COMPILED_RULES: u32 = 1_000;
const COMPILATIONS: usize = 5;

pub(crate) fn run(args: &Args) -> Result<()> {
    let cores = Cores::choose()?;
    pin(cores.far)?;
    let mut report = Report::new(&args.form, vec![cores.far]);
    if !args.growth {
        let loaded = load::hundred()?;
        for firing in FIRING {
            against_hand(args, &loaded, firing, &mut report)?;
        }
        report.add(compilation()?);
    }
    for &rules in &args.rules {
        report.add(growth(args, rules)?);
    }
    report.note(
        "policy.100: which of a hundred rules fire, when about so many do, an event's share of a burst of 16; floor: the same \
         rules by hand in Rust, over numbers that are there already; ratio: the median of the slices' ratios. policy.rules: \
         the same of so many rules over 200 features. policy.compile: from text to a program, 1 000 rules over 200 features.",
    );
    report.finish()
}

/// Time of the same events by one way and the other.
fn against_hand(args: &Args, loaded: &Loaded, firing: usize, report: &mut Report) -> Result<()> {
    let case = Case::with(loaded, firing)?;
    let mut rules = Rules::new(loaded, case.kind).context("no payment in the policy")?;
    for (number, event) in case.events.iter().enumerate() {
        let by_hand = rules::fired(&event.operands);
        let found = ask(&mut rules, event).iter().fold(0_u128, |fired, rule| fired | 1 << rule);
        ensure!(found == by_hand, "event {number}: {found:#x} fire, by hand {by_hand:#x}");
    }
    let (mut times, mut hand_times) = (histogram()?, histogram()?);
    let (mut medians, mut floors) = (Vec::new(), Vec::new());
    for round in 0..=args.slices {
        let mut by_hand = histogram()?;
        slice(args, &case.events, &mut by_hand, |event| {
            black_box(rules::fired(black_box(&event.operands)));
        })?;
        let mut found = histogram()?;
        slice(args, &case.events, &mut found, |event| {
            black_box(ask(&mut rules, black_box(event)).len());
        })?;
        if round > 0 {
            floors.push(by_hand.value_at_quantile(0.5) as f64);
            medians.push(found.value_at_quantile(0.5) as f64);
            times.add(&found).context("histograms of one shape")?;
            hand_times.add(&by_hand).context("histograms of one shape")?;
        }
    }
    let mut ratios: Vec<f64> = medians.iter().zip(&floors).map(|(one, floor)| one / floor).collect();
    let name = format!("policy.100.fire{firing}");
    let mut by_hand = Figure::of_times(format!("{name}.hand"), &hand_times, args.slices as usize);
    by_hand.value = median(&mut floors);
    let mut figure = Figure::of_times(name, &times, args.slices as usize);
    figure.floor = Some(by_hand.value);
    figure.value = median(&mut medians);
    figure.ratio = Some(median(&mut ratios));
    figure.more = vec![("fired_mean", json!(case.fired_mean)), ("table_bytes", json!(rules.table_bytes()))];
    report.add(by_hand);
    report.add(figure);
    Ok(())
}

/// Sets the features, as the engine's windows do in any case, and asks.
#[inline(always)]
fn ask<'r>(rules: &'r mut Rules, event: &load::Event) -> &'r [u16] {
    rules.features().copy_from_slice(&event.features);
    let words = event.words.words();
    rules.fired(words, words[PRESENCE_WORD], event_time(words))
}

fn slice<E>(
    args: &Args,
    events: &[E],
    times: &mut hdrhistogram::Histogram<u64>,
    mut one: impl FnMut(&E),
) -> Result<()> {
    let end = monotonic_ns() + args.slice_ms * 1_000_000;
    let mut bursts = events.chunks_exact(BURST).cycle();
    while monotonic_ns() < end {
        interrupt::check()?;
        for burst in bursts.by_ref().take(64) {
            let before = monotonic_ns();
            burst.iter().for_each(&mut one);
            times.saturating_record_n((monotonic_ns() - before) / BURST as u64, BURST as u64);
        }
    }
    Ok(())
}

/// So many rules over many features, of which few fire.
fn growth(args: &Args, count: u32) -> Result<Figure> {
    let many = Many::of(count)?;
    let mut rules = Rules::new(&many.loaded, many.kind).context("no payment in the policy")?;
    let fired: usize = many.events.iter().map(|event| ask(&mut rules, event).len()).sum();
    let mut times = histogram()?;
    for round in 0..=args.slices {
        let mut found = histogram()?;
        slice(args, &many.events, &mut found, |event| {
            black_box(ask(&mut rules, black_box(event)).len());
        })?;
        if round > 0 {
            times.add(&found).context("histograms of one shape")?;
        }
    }
    let mut figure = Figure::of_times(format!("policy.rules.{count}"), &times, args.slices as usize);
    let program = many.loaded.program();
    figure.more = vec![
        ("fired_mean", json!(fired as f64 / many.events.len() as f64)),
        ("clauses", json!(program.events[usize::from(many.kind)].matching.clauses.len())),
        ("program_bytes", json!(many.loaded.bytes().len())),
        ("table_bytes", json!(rules.table_bytes())),
    ];
    Ok(figure)
}

fn compilation() -> Result<Figure> {
    let text = load::many_text(COMPILED_RULES);
    let mut times = histogram()?;
    for _ in 0..COMPILATIONS {
        interrupt::check()?;
        let before = Instant::now();
        black_box(load::compile(&text)?);
        times.saturating_record(before.elapsed().as_nanos() as u64);
    }
    Ok(Figure::of_times("policy.compile.1000", &times, COMPILATIONS))
}
