//! `tollctl model`: models that other libraries trained, imported, tried and told of.

mod predict;
mod rows;
mod show;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use tollgate_model::archive::{self, Opened};
use tollgate_model::import::{self, Format};

/// What to do with a model.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read the file of another library into a model that is executed, and verify it.
    Import(Import),
    /// Score the rows of a CSV file.
    Predict(predict::Options),
    /// Validate a model and print what is in it.
    Show {
        /// The model.
        file: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Options of `import`.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The file, as the library saved it.
    file: PathBuf,
    /// Whose file it is.
    #[arg(long)]
    format: FormatName,
    /// Where the model goes; by custom it ends in `.tgm`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How many iterations to keep, from the first; all without it.
    #[arg(long, value_name = "N")]
    trees: Option<usize>,
    /// Rows with the margin that the library computed, as CSV: a column for each input and `margin`. Every row is verified, bit
    /// for bit; up to 256 are kept in the model and verified whenever it is loaded.
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Names of the inputs, with commas between them, instead of those in the file.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    inputs: Option<Vec<String>>,
    /// When the first training row happened: a date or a time of RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = time)]
    trained_from: Option<String>,
    /// When the last training row happened.
    #[arg(long, value_name = "TIME", value_parser = time)]
    trained_to: Option<String>,
    /// What was measured when the model was trained; may be given more than once.
    #[arg(long, value_name = "NAME=NUMBER", value_parser = metric)]
    metric: Vec<(String, f64)>,
    /// What else is to be known of the model.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
}

/// Whose file a model is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatName {
    /// LightGBM's text.
    Lightgbm,
    /// XGBoost's JSON or UBJSON.
    Xgboost,
    /// A linear model, a logistic regression or a scorecard, as TOML.
    Linear,
}

impl FormatName {
    const fn format(self) -> Format {
        match self {
            Self::Lightgbm => Format::LightGbm,
            Self::Xgboost => Format::XGBoost,
            Self::Linear => Format::Linear,
        }
    }
}

fn time(text: &str) -> Result<String, String> {
    let is_time = text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::Date>().is_ok();
    if is_time {
        Ok(text.to_owned())
    } else {
        Err("it has to be like 2026-01-31 or 2026-01-31T23:59:59Z".to_owned())
    }
}

fn metric(text: &str) -> Result<(String, f64), String> {
    let parts = text.split_once('=').and_then(|(name, number)| Some((name, number.parse().ok()?)));
    match parts {
        Some((name, number)) if !name.is_empty() => Ok((name.to_owned(), number)),
        _ => Err("it has to be like auc=0.87".to_owned()),
    }
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Import(options) => import(options),
        Command::Predict(options) => predict::run(options),
        Command::Show { file, json } => show::run(file, *json),
    }
}

fn import(options: &Import) -> anyhow::Result<()> {
    let file = options.file.display();
    let bytes = read(&options.file, import::FILE_BYTES_MAX)?;
    let mut said = import::Options {
        trees_max: options.trees,
        inputs: options.inputs.clone(),
        golden: Vec::new(),
        trained_from: options.trained_from.clone().unwrap_or_default(),
        trained_to: options.trained_to.clone().unwrap_or_default(),
        metrics: options.metric.clone(),
        note: options.note.clone(),
    };
    let format = options.format.format();
    let wrong = |error| anyhow!("{file}: {error}");
    let mut imported = import::import_with_remarks(format, &bytes, &said).map_err(wrong)?;
    if let Some(golden) = &options.golden {
        // Only now is it known what the columns have to be called.
        said.golden = rows::golden(golden, &imported.model.inputs)?;
        imported = import::import_with_remarks(format, &bytes, &said)
            .map_err(|error| anyhow!("{file} and {}: {error}", golden.display()))?;
    }
    let sealed = archive::seal(&imported.model);
    // What is written is what would be run: it is opened like any other first.
    let opened = archive::open(&sealed).with_context(|| format!("{file}: the model cannot be opened"))?;
    let out = &options.out;
    crate::rewrite::write(out, &sealed).with_context(|| format!("{} cannot be written", out.display()))?;
    println!("{}: {}", out.display(), show::line(&opened, &sealed));
    for remark in imported.remarks {
        // Nobody may be reading any more.
        let _ = writeln!(std::io::stderr(), "note: {remark} (--trees)");
    }
    Ok(())
}

/// Reads and opens a model, which validates all of it; with the bytes of the file.
fn open(file: &Path) -> anyhow::Result<(Opened, Vec<u8>)> {
    let bytes = read(file, archive::FILE_BYTES_MAX)?;
    let opened = archive::open(&bytes).with_context(|| format!("{} is refused", file.display()))?;
    Ok((opened, bytes))
}

/// All of a file, or one byte more than is taken.
fn read(file: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(bytes_max as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(bytes)
}
