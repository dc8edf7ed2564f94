//! Reading the files of the libraries that train models.
//!
//! Each importer writes what its library means into the [canonical form](crate::model); what it cannot write down exactly,
//! it refuses by name. What is measured is bit-equality with the library, so whatever a library does to a number before it
//! compares or adds is done here too, once, when the model is imported.
//!
//! A file may come from anywhere: counts are bounded by what the file holds before memory is reserved for them, nothing
//! recurses as deep as a file says, and the model that comes out is [validated](crate::validate::validate) like any other.

mod build;
mod golden;
mod json;
mod lightgbm;
mod linear;
mod ubj;
mod value;
mod xgboost;

use crate::archive;
use crate::lanes::Lanes;
use crate::model::{Body, FORMAT_VERSION, GoldenRow, INPUTS_MAX, Link, Model, Provenance, Sum};
use crate::validate;

/// The longest file that is read.
pub const FILE_BYTES_MAX: usize = 512 << 20;

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// LightGBM's text, versions v3 and v4.
    LightGbm,
    /// XGBoost's JSON or UBJSON.
    XGBoost,
    /// A linear model, a logistic regression or a scorecard, as TOML.
    Linear,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::LightGbm, Self::XGBoost, Self::Linear];

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LightGbm => "lightgbm",
            Self::XGBoost => "xgboost",
            Self::Linear => "linear",
        }
    }
}

/// What is said of a model beside its file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many iterations are kept, from the first; all if `None`.
    pub trees_max: Option<usize>,
    /// Names of the inputs instead of the file's.
    pub inputs: Option<Vec<String>>,
    /// Rows, NaN for missing, with the margin that the library computed. All are verified; the model keeps up to
    /// [`GOLDEN_ROWS_MAX`](crate::model::GOLDEN_ROWS_MAX) of them. If there are none, rows are derived from the model itself.
    pub golden: Vec<(Vec<f64>, f64)>,
    /// [`Provenance::trained_from`]; if empty, what the file says.
    pub trained_from: String,
    /// [`Provenance::trained_to`]; if empty, what the file says.
    pub trained_to: String,
    /// [`Provenance::metrics`], after those that the file tells.
    pub metrics: Vec<(String, f64)>,
    /// [`Provenance::note`]; if empty, what the file says.
    pub note: String,
}

/// Why a file is not imported: where, what is wrong there, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ImportError {
    /// A line, a path in a tree of values, a golden row, or the model as a whole.
    pub place: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl ImportError {
    fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

fn refuse<T>(place: impl Into<String>, message: impl Into<String>) -> Result<T, ImportError> {
    Err(ImportError::new(place, message))
}

/// What an importer reads from a file.
struct Read {
    inputs: Vec<String>,
    body: Body,
    link: Link,
    provenance: Provenance,
    /// What whoever imports it may want to know.
    remarks: Vec<String>,
    /// What trees may be summed up like instead, if golden rows say so.
    other_sums: Vec<Sum>,
}

/// A model, and what whoever imports it may want to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The model, which [`validate`](validate::validate) lets pass.
    pub model: Model,
    /// Sentences.
    pub remarks: Vec<String>,
}

/// Reads a file into a model that [`validate`](validate::validate) lets pass.
pub fn import(format: Format, bytes: &[u8], options: &Options) -> Result<Model, ImportError> {
    import_with_remarks(format, bytes, options).map(|imported| imported.model)
}

/// Reads a file, and says what there is to say.
pub fn import_with_remarks(format: Format, bytes: &[u8], options: &Options) -> Result<Imported, ImportError> {
    if bytes.len() > FILE_BYTES_MAX {
        return refuse("the file", format!("it is longer than {FILE_BYTES_MAX} bytes"));
    }
    let read = match format {
        Format::LightGbm => lightgbm::read(text(bytes)?, options.trees_max)?,
        Format::XGBoost => xgboost::read(bytes, options.trees_max)?,
        Format::Linear if options.trees_max.is_some() => {
            return refuse("the model", "it is linear: there are no trees to keep, leave --trees away");
        }
        Format::Linear => linear::read(text(bytes)?)?,
    };
    let mut model = Model {
        format: FORMAT_VERSION,
        inputs: read.inputs,
        body: read.body,
        link: read.link,
        provenance: read.provenance,
        golden: Vec::new(),
    };
    rename(&mut model.inputs, options)?;
    describe(&mut model.provenance, format, bytes, options);
    // Trees are laid out only when it is known that they are trees.
    validate::meaning(&model).map_err(invalid)?;
    if let Body::Trees(trees) = &mut model.body {
        trees.lanes = Lanes::of(trees);
    }
    model.golden = match golden::rows(&model, &options.golden) {
        Ok(rows) => rows,
        Err(error) => otherwise(&mut model, &read.other_sums, options).ok_or(error)?,
    };
    validate::validate(&archive::archived(&model)).map_err(invalid)?;
    Ok(Imported { model, remarks: read.remarks })
}

/// Golden rows of the model with another sum that they are right for, which it then has.
fn otherwise(model: &mut Model, sums: &[Sum], options: &Options) -> Option<Vec<GoldenRow>> {
    sums.iter().find_map(|sum| {
        if let Body::Trees(trees) = &mut model.body {
            trees.sum = *sum;
        }
        golden::rows(model, &options.golden).ok()
    })
}

fn invalid(error: validate::Invalid) -> ImportError {
    ImportError::new("the model", error.0)
}

fn text(bytes: &[u8]) -> Result<&str, ImportError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
        ImportError::new(format!("line {line}"), "it is not text in UTF-8; check --format and the path")
    })
}

fn rename(inputs: &mut Vec<String>, options: &Options) -> Result<(), ImportError> {
    let Some(names) = &options.inputs else { return Ok(()) };
    if names.len() != inputs.len() {
        let message = format!("{} names are given for the model's {} inputs", names.len(), inputs.len());
        return refuse("the names of the inputs", message);
    }
    inputs.clone_from(names);
    Ok(())
}

fn describe(provenance: &mut Provenance, format: Format, bytes: &[u8], options: &Options) {
    provenance.source = format.name().to_owned();
    provenance.source_hash = *blake3::hash(bytes).as_bytes();
    for (own, given) in [
        (&mut provenance.trained_from, &options.trained_from),
        (&mut provenance.trained_to, &options.trained_to),
        (&mut provenance.note, &options.note),
    ] {
        if !given.is_empty() {
            own.clone_from(given);
        }
    }
    provenance.metrics.extend_from_slice(&options.metrics);
}

/// A count of inputs that can be.
fn inputs_in_bounds(inputs: usize) -> Result<usize, String> {
    if (1..=INPUTS_MAX).contains(&inputs) {
        Ok(inputs)
    } else {
        Err(format!("there are {inputs} inputs; there can be 1 to {INPUTS_MAX}"))
    }
}

/// How many of a file's iterations are kept.
fn kept(iterations: usize, trees_max: Option<usize>) -> Result<usize, ImportError> {
    match trees_max {
        None => Ok(iterations),
        Some(count) if (1..=iterations).contains(&count) => Ok(count),
        Some(count) => {
            refuse("the model", format!("{count} iterations are to be kept and the file has {iterations}"))
        }
    }
}

/// A text, as errors show it: quoted, on one line, cut short.
fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 40;
    let mut cut: String =
        text.chars().take(SHOWN_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        cut.push('…');
    }
    format!("`{cut}`")
}
