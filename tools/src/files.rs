//! The files that commands with events work on: a policy, events, the map between them, and where verdicts go.

use crate::events::Reader;
use crate::map::Map;
use crate::output::{self, Output};
use crate::policy;
use crate::rates;
use crate::sequence::Sequence;
use clap::Args;
use std::path::{Path, PathBuf};
use tollgate::engine::Loaded;
use tollgate::engine::units::Currency;
use tollgate::policy::Sources;

/// Options of every command that gives the events of a file to an engine.
#[derive(Debug, Args)]
pub(crate) struct Inputs {
    /// The policy: it decides, lays the events out, and names the reasons.
    #[arg(long)]
    policy: PathBuf,
    /// The events: .parquet, .csv or .ndjson.
    #[arg(long)]
    events: PathBuf,
    /// Which columns are which fields.
    #[arg(long)]
    map: PathBuf,
    /// Read at most so many rows.
    #[arg(long)]
    limit: Option<u64>,
    /// Exchange rates: .csv, .ndjson or .parquet with the columns time, from, to, rate. Each comes before the first event
    /// that is not earlier.
    #[arg(long)]
    rates: Option<PathBuf>,
    /// Compute the rates that the file does not have over this currency.
    #[arg(long, requires = "rates", value_parser = rates::parse_currency)]
    rates_base: Option<Currency>,
    /// The secret of the tokens; without it, the fixed one for replays.
    #[arg(long)]
    key_file: Option<PathBuf>,
}

impl Inputs {
    /// The file of events.
    pub(crate) fn events(&self) -> &Path {
        &self.events
    }

    /// The file of rates, as errors say it.
    pub(crate) fn rates_file(&self) -> String {
        self.rates.as_ref().map_or_else(String::new, |file| file.display().to_string())
    }

    /// Reads the policy, with the files that it uses.
    pub(crate) fn sources(&self) -> anyhow::Result<Sources> {
        Ok(policy::sources(&self.policy)?)
    }

    /// Compiles the policy, and checks and opens all the others.
    pub(crate) fn open(&self, sources: &Sources) -> anyhow::Result<(Loaded, Sequence)> {
        let tokenizer = policy::tokenizer(self.key_file.as_deref())?;
        let loaded = policy::open(&self.policy, sources, &tokenizer)?;
        let map = Map::load(&self.map, loaded.program())?;
        let reader = Reader::open(&self.events)?;
        let rows_max = self.limit.unwrap_or(u64::MAX);
        let rates = match &self.rates {
            Some(file) => rates::read(file, self.rates_base, &loaded, &tokenizer)?,
            None => Vec::new(),
        };
        let sequence = Sequence::new(loaded.clone(), map, reader, tokenizer, rows_max)?.with_rates(rates);
        Ok((loaded, sequence))
    }
}

/// Options of every command that writes the verdicts on the events of a file.
#[derive(Debug, Args)]
pub(crate) struct Files {
    #[command(flatten)]
    inputs: Inputs,
    /// Where the verdicts go: .parquet, .csv or .ndjson.
    #[arg(long)]
    out: PathBuf,
    /// Write a row for events that are not judged too, such as labels: no score, action `none`.
    #[arg(long)]
    acknowledged: bool,
}

impl Files {
    /// The file of rates, as errors say it.
    pub(crate) fn rates_file(&self) -> String {
        self.inputs.rates_file()
    }

    /// Checks and opens all of them. The output is begun last: a mistake elsewhere leaves nothing behind.
    pub(crate) fn open(
        &self,
        with_features: bool,
        with_alerts: bool,
    ) -> anyhow::Result<(Loaded, Sequence, Output)> {
        let (loaded, sequence) = self.inputs.open(&self.inputs.sources()?)?;
        output::keep_apart(&self.out, self.inputs.events())?;
        let output =
            Output::create(&self.out, loaded.program(), with_features, with_alerts, self.acknowledged)?;
        Ok((loaded, sequence, output))
    }
}
