//! A figure with everything it has to be read with, as a line of JSON or a row of a table.

use std::path::PathBuf;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::machine::Machine;
use crate::noise::Noise;
use crate::plot::{self, Curve};
use crate::stats::Percentiles;

/// How figures are to be shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Form {
    /// Print one JSON object a line, each as soon as it is known, instead of a table.
    #[arg(long)]
    json: bool,
    /// Draw the distributions into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds.
    Ns,
    /// Something each second; the percentiles beside it are nanoseconds nevertheless.
    PerSecond,
    /// Bytes.
    Bytes,
}

impl Unit {
    const fn word(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::PerSecond => "1/s",
            Self::Bytes => "bytes",
        }
    }
}

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// What it is called in every output.
    pub(crate) name: String,
    /// What `value` counts.
    pub(crate) unit: Unit,
    /// The figure: a median, or a rate.
    pub(crate) value: f64,
    /// How the single times were spread.
    pub(crate) times: Percentiles,
    /// How many single times there were; of some figures there are none.
    pub(crate) samples: u64,
    /// What the machine could do at best, measured in the same run.
    pub(crate) floor: Option<f64>,
    /// The median of the ratios of figure and floor, slice by slice.
    pub(crate) ratio: Option<f64>,
    /// What an event due at a random moment waited while nothing was asked.
    pub(crate) idle: Option<Percentiles>,
    /// Slices measured.
    pub(crate) slices: usize,
    /// For the drawing.
    pub(crate) curve: Curve,
    /// Fields of its own in JSON.
    pub(crate) more: Vec<(&'static str, Value)>,
}

impl Figure {
    /// Times one by one; the figure is their median.
    pub(crate) fn of_times(name: impl Into<String>, times: &Histogram<u64>, slices: usize) -> Self {
        let percentiles = Percentiles::from(times);
        Self {
            name: name.into(),
            unit: Unit::Ns,
            value: percentiles.p50 as f64,
            times: percentiles,
            samples: times.len(),
            floor: None,
            ratio: None,
            idle: None,
            slices,
            curve: Curve::sample(times.len(), |quantile| times.value_at_quantile(quantile)),
            more: Vec::new(),
        }
    }

    /// A figure made of what slices came to, without single times.
    pub(crate) fn of_slices(name: impl Into<String>, ns: f64, slices: usize) -> Self {
        Self {
            name: name.into(),
            unit: Unit::Ns,
            value: ns,
            times: Percentiles::of(|_| 0),
            samples: 0,
            floor: None,
            ratio: None,
            idle: None,
            slices,
            curve: Curve::sample(0, |_| 0),
            more: Vec::new(),
        }
    }

    /// Bytes, held against so many that they should be at most.
    pub(crate) fn of_bytes(name: impl Into<String>, bytes: f64, budget: f64) -> Self {
        let (floor, ratio) = (Some(budget), Some(bytes / budget));
        Self { unit: Unit::Bytes, floor, ratio, ..Self::of_slices(name, bytes, 0) }
    }

    /// Waits of events due at random moments. Their number is that of the instants: one for each nanosecond.
    pub(crate) fn of_waits(name: impl Into<String>, noise: &Noise, slices: usize) -> Self {
        let percentiles = noise.waits();
        Self {
            name: name.into(),
            unit: Unit::Ns,
            value: percentiles.p50 as f64,
            times: percentiles,
            samples: noise.time_ns(),
            floor: None,
            ratio: None,
            idle: None,
            slices,
            curve: Curve::sample(noise.time_ns(), |quantile| noise.wait_ns(quantile)),
            more: Vec::new(),
        }
    }

    fn to_json(&self, machine: &Machine, pinning: &[usize]) -> Value {
        let Percentiles { p50, p90, p99, p999, p9999, max } = self.times;
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.into(), value);
        put("name", json!(self.name));
        put("unit", json!(self.unit.word()));
        put("value", json!(self.value));
        for (key, ns) in
            [("p50", p50), ("p90", p90), ("p99", p99), ("p999", p999), ("p9999", p9999), ("max", max)]
        {
            put(key, if self.samples == 0 { Value::Null } else { json!(ns) });
        }
        put("floor", json!(self.floor));
        put("ratio", json!(self.ratio));
        put("samples", json!(self.samples));
        put("cpu", json!(machine.cpu));
        put("kernel", json!(machine.kernel));
        put("pinning", json!(pinning));
        put("slices", json!(self.slices));
        if let Some(idle) = self.idle {
            let Percentiles { p50, p90, p99, p999, p9999, max } = idle;
            let idle =
                json!({ "p50": p50, "p90": p90, "p99": p99, "p999": p999, "p9999": p9999, "max": max });
            put("idle", idle);
        }
        for (key, value) in &self.more {
            put(key, value.clone());
        }
        Value::Object(object)
    }

    fn row(&self) -> Vec<String> {
        let shown = |value: f64| match self.unit {
            Unit::Ns | Unit::PerSecond => span(value),
            Unit::Bytes => format!("{value:.0} B"),
        };
        let value = match self.unit {
            Unit::PerSecond => format!("{}/s", grouped(self.value.round() as u64)),
            Unit::Ns | Unit::Bytes => shown(self.value),
        };
        let (times, samples) = match self.samples {
            0 => Default::default(),
            samples => (cells(&self.times), grouped(samples)),
        };
        let mut row = vec![self.name.clone(), value];
        row.extend(times);
        row.extend([
            self.floor.map_or(String::new(), shown),
            self.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            samples,
        ]);
        row
    }

    /// The idle wait has a row of its own, below the times that it is to be held against.
    fn idle_row(&self) -> Option<Vec<String>> {
        let idle = self.idle?;
        let mut row = vec!["  idle wait".to_owned(), String::new()];
        row.extend(cells(&idle));
        row.extend([String::new(), String::new(), String::new()]);
        Some(row)
    }
}

const HEAD: [&str; 10] =
    ["name", "value", "p50", "p99", "p99.9", "p99.99", "max", "floor", "ratio", "samples"];

fn cells(times: &Percentiles) -> [String; 5] {
    [times.p50, times.p99, times.p999, times.p9999, times.max].map(|ns| span(ns as f64))
}

/// The figures of one run, on their way out.
pub(crate) struct Report {
    form: Form,
    machine: Machine,
    pinning: Vec<usize>,
    figures: Vec<Figure>,
    /// Drawn beside the figures.
    curves: Vec<(String, Curve)>,
    notes: Vec<String>,
}

impl Report {
    /// Nothing yet. `pinning`: the cores of this process and of the other.
    pub(crate) fn new(form: &Form, pinning: Vec<usize>) -> Self {
        let machine = Machine::read();
        Self {
            form: form.clone(),
            machine,
            pinning,
            figures: Vec::new(),
            curves: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// One more figure. As JSON it is printed at once, so that what was measured outlives a run that fails later.
    pub(crate) fn add(&mut self, figure: Figure) {
        if self.form.json {
            println!("{}", figure.to_json(&self.machine, &self.pinning));
        }
        self.figures.push(figure);
    }

    /// A line to draw beside those of the figures.
    pub(crate) fn curve(&mut self, name: &str, curve: Curve) {
        self.curves.push((name.to_owned(), curve));
    }

    /// Something to know when reading: below the table, or on standard error beside JSON.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if self.form.json {
            eprintln!("tollgate-bench: {note}");
        }
        self.notes.push(note);
    }

    /// Prints the table, unless JSON was asked for, and draws the curves, if asked to.
    pub(crate) fn finish(self) -> Result<()> {
        if !self.form.json {
            print!("{}", self.table());
        }
        let Some(path) = &self.form.svg else { return Ok(()) };
        let timed = self.figures.iter().filter(|figure| figure.samples > 0);
        let figures = timed.map(|figure| (figure.name.as_str(), &figure.curve));
        let others = self.curves.iter().map(|(name, curve)| (name.as_str(), curve));
        let curves: Vec<(&str, &Curve)> = figures.chain(others).collect();
        let title = format!("{}, Linux {}, cores {}", self.machine.cpu, self.machine.kernel, self.cores());
        let drawing = plot::draw(&title, &curves);
        std::fs::write(path, drawing).with_context(|| format!("cannot write {}", path.display()))
    }

    fn cores(&self) -> String {
        self.pinning.iter().map(usize::to_string).collect::<Vec<_>>().join(" and ")
    }

    fn table(&self) -> String {
        let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
        for figure in &self.figures {
            rows.push(figure.row());
            rows.extend(figure.idle_row());
        }
        let mut text =
            format!("{}, Linux {}, cores {}\n\n", self.machine.cpu, self.machine.kernel, self.cores());
        text.push_str(&aligned(&rows));
        for note in &self.notes {
            text.push_str(&format!("\n{note}\n"));
        }
        text
    }
}

/// Rows under one another: the first column to the left, numbers to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            line.push_str(&if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `1 234 567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds in the unit that suits them.
pub(crate) fn span(ns: f64) -> String {
    match ns {
        _ if ns < 999.5 => format!("{ns:.0} ns"),
        _ if ns < 999_950.0 => format!("{:.1} µs", ns / 1e3),
        _ if ns < 999_950_000.0 => format!("{:.1} ms", ns / 1e6),
        _ => format!("{:.2} s", ns / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::histogram;

    fn figure() -> Figure {
        let mut times = histogram().unwrap();
        (1..=1_000).for_each(|ns| times.record(ns).unwrap());
        Figure::of_times("ring.rtt.128", &times, 3)
    }

    #[test]
    fn a_line_of_json_has_every_field_also_where_there_is_nothing_to_say() {
        let machine = Machine { cpu: "a processor".into(), kernel: "6.1".into() };
        let mut figure = figure();
        let value = figure.to_json(&machine, &[0, 1]);
        let fields = [
            "name", "unit", "value", "p50", "p90", "p99", "p999", "p9999", "max", "floor", "ratio",
            "samples", "cpu", "kernel", "pinning", "slices",
        ];
        let object = value.as_object().unwrap();
        assert_eq!(object.len(), fields.len());
        assert!(fields.iter().all(|field| object.contains_key(*field)), "{value}");
        assert!(value["floor"].is_null() && value["ratio"].is_null());
        assert_eq!(
            (&value["unit"], &value["samples"], &value["slices"]),
            (&json!("ns"), &json!(1_000), &json!(3))
        );
        assert_eq!(value["pinning"], json!([0, 1]));

        figure.unit = Unit::PerSecond;
        figure.ratio = Some(1.5);
        figure.idle = Some(figure.times);
        figure.more = vec![("away_share", json!(0.25))];
        let value = figure.to_json(&machine, &[0, 1]);
        assert_eq!((&value["unit"], &value["ratio"]), (&json!("1/s"), &json!(1.5)));
        assert_eq!(value["idle"]["p99"], value["p99"]);
        assert_eq!(value["away_share"], json!(0.25));
    }

    #[test]
    fn a_ratio_that_is_not_a_number_is_null() {
        let mut figure = figure();
        figure.ratio = Some(f64::NAN);
        let machine = Machine { cpu: String::new(), kernel: String::new() };
        assert!(figure.to_json(&machine, &[])["ratio"].is_null());
    }

    #[test]
    fn columns_stand_under_one_another() {
        let rows = [vec!["a".to_owned(), "12.0 µs".to_owned()], vec!["longer".to_owned(), "1 ns".to_owned()]];
        assert_eq!(aligned(&rows), "a       12.0 µs\nlonger     1 ns\n");
        assert_eq!(aligned(&[]), "");
    }

    #[test]
    fn every_row_fills_the_table() {
        let mut figure = figure();
        figure.idle = Some(figure.times);
        assert_eq!(figure.row().len(), HEAD.len());
        assert_eq!(figure.idle_row().unwrap().len(), HEAD.len());
        let bytes = Figure::of_bytes("features.memory", 350.4, 700.0).row();
        assert_eq!(bytes.len(), HEAD.len());
        assert_eq!([&bytes[1], &bytes[7], &bytes[8]], ["350 B", "700 B", "0.50"]);
    }

    #[test]
    fn numbers_are_told_in_units_that_suit_them() {
        for (ns, text) in [
            (0.0, "0 ns"),
            (999.4, "999 ns"),
            (999.6, "1.0 µs"),
            (12_340.0, "12.3 µs"),
            (2.5e6, "2.5 ms"),
            (1e9, "1.00 s"),
        ] {
            assert_eq!(span(ns), text);
        }
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(grouped(12), "12");
    }
}
