//! `tollctl model show`: what is in a model.

use anyhow::Context as _;
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use tollgate_model::archive::Opened;
use tollgate_model::model::{Body, Link, Model, Rounding, Sum};
use tollgate_model::scorer::Scorer;

/// Where the hash of the body lies in a file.
const HASH: std::ops::Range<usize> = 24..56;

/// What is told of a model.
struct Told {
    model: Model,
    hash: String,
    bytes: usize,
    kernel: &'static str,
    counts: Vec<(&'static str, usize)>,
}

impl Told {
    fn of(opened: &Opened, bytes: &[u8]) -> Self {
        let model = opened.to_model();
        let from_library = model.golden.iter().filter(|row| row.from_library).count();
        let mut counts = vec![("inputs", model.inputs.len())];
        match &model.body {
            Body::Trees(trees) => {
                let lanes = trees.lanes.as_ref();
                counts.extend([
                    ("trees", trees.trees.len()),
                    ("leaves", trees.leaves.len()),
                    ("columns", lanes.map_or(0, |lanes| lanes.columns.len())),
                    ("bytes for kernels", lanes.map_or(0, |lanes| lanes.bytes())),
                ]);
            }
            Body::Linear(linear) => counts.push(("terms", linear.terms.len())),
        }
        counts.extend([("golden rows", model.golden.len()), ("from library", from_library)]);
        let hash = hex(bytes.get(HASH).unwrap_or_default());
        Self { hash, bytes: bytes.len(), kernel: Scorer::new(opened).kernel().name(), counts, model }
    }

    fn text(&self) -> String {
        let provenance = &self.model.provenance;
        let mut lines = vec![
            ("hash", self.hash.clone()),
            ("source", provenance.source.clone()),
            ("hash of source", hex(&provenance.source_hash)),
            ("objective", provenance.objective.clone()),
            ("link", link(self.model.link)),
            ("arithmetic", arithmetic(&self.model.body)),
            ("kernel", self.kernel.to_owned()),
        ];
        lines.extend(self.counts.iter().map(|(what, count)| (*what, count.to_string())));
        lines.push(("bytes", self.bytes.to_string()));
        let said = [
            ("trained from", &provenance.trained_from),
            ("trained to", &provenance.trained_to),
            ("note", &provenance.note),
        ];
        lines.extend(
            said.into_iter().filter(|(_, text)| !text.is_empty()).map(|(what, text)| (what, text.clone())),
        );
        lines
            .extend(provenance.metrics.iter().map(|(name, number)| ("metric", format!("{name} {number:?}"))));
        lines.extend(self.model.inputs.iter().map(|name| ("input", name.clone())));
        let mut text = String::new();
        for (what, value) in lines {
            // A string takes whatever is written to it.
            let _ = writeln!(text, "{what:<17} {value}");
        }
        text
    }

    fn json(&self) -> String {
        let provenance = &self.model.provenance;
        let metrics: serde_json::Map<_, _> =
            provenance.metrics.iter().map(|(name, number)| (name.clone(), json!(number))).collect();
        let mut object = json!({
            "hash": self.hash,
            "source": provenance.source,
            "source_hash": hex(&provenance.source_hash),
            "objective": provenance.objective,
            "link": link(self.model.link),
            "arithmetic": arithmetic(&self.model.body),
            "kernel": self.kernel,
            "bytes": self.bytes,
            "trained_from": provenance.trained_from,
            "trained_to": provenance.trained_to,
            "note": provenance.note,
            "metrics": metrics,
            "input_names": self.model.inputs,
        });
        for (what, count) in &self.counts {
            object[what.replace(' ', "_")] = json!(count);
        }
        format!("{object}\n")
    }
}

/// Validates a model and prints what is in it.
pub(super) fn run(file: &Path, json: bool) -> anyhow::Result<()> {
    let (opened, bytes) = super::open(file)?;
    let told = Told::of(&opened, &bytes);
    let text = if json { told.json() } else { told.text() };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

/// A model in one line.
pub(super) fn line(opened: &Opened, bytes: &[u8]) -> String {
    let told = Told::of(opened, bytes);
    let mut line = format!("{} model", told.model.provenance.source);
    for (what, count) in &told.counts {
        // A string takes whatever is written to it.
        let _ = write!(line, ", {what} {count}");
    }
    let _ = write!(line, ", bytes {}, kernel {}, hash {}", told.bytes, told.kernel, told.hash);
    line
}

fn link(link: Link) -> String {
    match link {
        Link::Identity => "identity".to_owned(),
        Link::Sigmoid(scale) => format!("sigmoid {scale:?}"),
        Link::Exp => "exp".to_owned(),
    }
}

fn arithmetic(body: &Body) -> String {
    let Body::Trees(trees) = body else { return "f64".to_owned() };
    let inputs = match trees.rounding {
        Rounding::F64 => "f64",
        Rounding::F32 => "f32",
    };
    match trees.sum {
        Sum::F64(1.0) => format!("inputs {inputs}, sum f64"),
        Sum::F64(divisor) => format!("inputs {inputs}, sum f64 divided by {divisor:?}"),
        Sum::F32(first, last) => format!("inputs {inputs}, sum f32 from {first:?}, then {last:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
