//! Linear models, logistic regressions and scorecards, as TOML that people write or scripts print.

use super::{ImportError, Read, refuse};
use crate::model::{BINS_MAX, Bins, Body, INPUTS_MAX, Linear, Link, METRICS_MAX, Provenance, Scaled, Term};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The longest file that is read.
const FILE_BYTES_MAX: usize = 16 << 20;

/// What the margin means.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Linear,
    Logistic,
    Scorecard,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LinkName {
    Identity,
    Sigmoid,
    Exp,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: Kind,
    link: Option<LinkName>,
    #[serde(default)]
    intercept: f64,
    #[serde(default)]
    trained_from: String,
    #[serde(default)]
    trained_to: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    metrics: BTreeMap<String, f64>,
    #[serde(default, rename = "input")]
    inputs: Vec<Input>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
    mean: Option<f64>,
    scale: Option<f64>,
    weight: Option<f64>,
    missing: Option<f64>,
    bins: Option<Vec<Bin>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bin {
    below: Option<f64>,
    points: Option<f64>,
    woe: Option<f64>,
}

/// Reads a file.
pub(super) fn read(text: &str) -> Result<Read, ImportError> {
    if text.len() > FILE_BYTES_MAX {
        return refuse("the file", format!("it is longer than {FILE_BYTES_MAX} bytes"));
    }
    let file: File = toml::from_str(text).map_err(|error| {
        let before = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count() + 1;
        ImportError::new(format!("line {line}"), error.message().to_owned())
    })?;
    let count = file.inputs.len();
    if !(1..=INPUTS_MAX).contains(&count) {
        let message = format!("there are {count} tables [[input]]; there can be 1 to {INPUTS_MAX}");
        return refuse("input", message);
    }
    if file.metrics.len() > METRICS_MAX {
        let message = format!("there are {}; there can be {METRICS_MAX}", file.metrics.len());
        return refuse("metrics", message);
    }
    let link = match (file.kind, file.link) {
        (_, Some(LinkName::Identity)) | (Kind::Linear | Kind::Scorecard, None) => Link::Identity,
        (_, Some(LinkName::Sigmoid)) | (Kind::Logistic, None) => Link::Sigmoid(1.0),
        (_, Some(LinkName::Exp)) => Link::Exp,
    };
    if file.kind == Kind::Logistic && !matches!(link, Link::Sigmoid(_)) {
        return refuse("link", "that of a logistic model is sigmoid; leave it away, or make its kind linear");
    }
    let mut terms = Vec::with_capacity(count);
    let mut inputs = Vec::with_capacity(count);
    for (at, input) in file.inputs.into_iter().enumerate() {
        terms.push(term(&input, file.kind).map_err(|(key, message)| {
            ImportError::new(
                format!("input[{at}].{key}"),
                format!("of {}: {message}", super::shown(&input.name)),
            )
        })?);
        inputs.push(input.name);
    }
    let kind = match file.kind {
        Kind::Linear => "linear",
        Kind::Logistic => "logistic",
        Kind::Scorecard => "scorecard",
    };
    Ok(Read {
        inputs,
        body: Body::Linear(Linear { intercept: file.intercept, terms }),
        link,
        provenance: Provenance {
            objective: kind.to_owned(),
            trained_from: file.trained_from,
            trained_to: file.trained_to,
            metrics: file.metrics.into_iter().collect(),
            note: file.note,
            ..Provenance::default()
        },
        remarks: Vec::new(),
        other_sums: Vec::new(),
    })
}

/// The term of an input, or the key that is wrong and why.
fn term(input: &Input, kind: Kind) -> Result<Term, (&'static str, String)> {
    let no = |key, message: &str| Err((key, message.to_owned()));
    let finite = |key, number: Option<f64>| match number {
        Some(number) if !number.is_finite() => Err((key, format!("{number} is not a finite number"))),
        _ => Ok(()),
    };
    finite("mean", input.mean)?;
    finite("scale", input.scale)?;
    finite("weight", input.weight)?;
    finite("missing", input.missing)?;
    let Some(list) = &input.bins else {
        if kind == Kind::Scorecard {
            return no("bins", "each input of a scorecard has bins");
        }
        let Some(weight) = input.weight else { return no("weight", "it has no weight, and no bins either") };
        if input.scale == Some(0.0) {
            return no("scale", "it is divided by, and cannot be 0");
        }
        return Ok(Term::Scaled(Scaled {
            mean: input.mean.unwrap_or(0.0),
            scale: input.scale.unwrap_or(1.0),
            weight,
            missing: input.missing,
        }));
    };
    if input.mean.is_some() || input.scale.is_some() {
        return no("bins", "an input with bins has neither mean nor scale");
    }
    if list.len() > BINS_MAX {
        return Err(("bins", format!("there are {}; there can be {BINS_MAX}", list.len())));
    }
    let Some((last, bounded)) = list.split_last() else { return no("bins", "there are none") };
    if last.below.is_some() {
        return no("bins", "the last holds all that is in no other, and has no `below`");
    }
    let mut below = Vec::with_capacity(bounded.len());
    for (at, bin) in bounded.iter().enumerate() {
        match bin.below {
            Some(bound) if bound.is_finite() && below.last().is_none_or(|last| *last < bound) => {
                below.push(bound);
            }
            Some(bound) => {
                return Err((
                    "bins",
                    format!("bin {at} is below {bound}; bounds have to ascend, and be finite"),
                ));
            }
            None => return Err(("bins", format!("bin {at} has no `below`, which only the last may lack"))),
        }
    }
    let points = list.iter().enumerate().map(|(at, bin)| match (bin.points, bin.woe, input.weight) {
        (Some(points), None, None) if points.is_finite() => Ok(points),
        (None, Some(woe), Some(weight)) if (weight * woe).is_finite() => Ok(weight * woe),
        (Some(_), None, Some(_)) => {
            Err(("bins", format!("bin {at} has points: the input then has no weight")))
        }
        (None, Some(_), None) => Err(("weight", format!("bin {at} has a `woe`: the input needs a weight"))),
        (Some(_), None, None) | (None, Some(_), Some(_)) => {
            Err(("bins", format!("the points of bin {at} are not finite")))
        }
        _ => Err(("bins", format!("bin {at} needs either points or a woe"))),
    });
    Ok(Term::Bins(Bins { below, points: points.collect::<Result<_, _>>()?, missing: input.missing }))
}
