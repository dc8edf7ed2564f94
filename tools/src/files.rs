//! The files that `replay` and `switch` work on: a policy, events, the map between them, and where verdicts go.

use crate::events::Reader;
use crate::map::Map;
use crate::output::{self, Output};
use crate::policy;
use crate::rates;
use crate::sequence::Sequence;
use clap::Args;
use std::path::PathBuf;
use tollgate::engine::Loaded;
use tollgate::engine::units::Currency;

/// Options of every command that sends events of a file to an engine.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// The policy: it decides, lays the events out, and names the reasons.
    #[arg(long)]
    policy: PathBuf,
    /// The events: .parquet, .csv or .ndjson.
    #[arg(long)]
    events: PathBuf,
    /// Which columns are which fields.
    #[arg(long)]
    map: PathBuf,
    /// Where the verdicts go: .parquet, .csv or .ndjson.
    #[arg(long)]
    out: PathBuf,
    /// Write a row for events that are not judged too, such as labels: no score, action `none`.
    #[arg(long)]
    acknowledged: bool,
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

impl Files {
    /// The file of rates, as errors say it.
    pub(crate) fn rates_file(&self) -> String {
        self.rates.as_ref().map_or_else(String::new, |file| file.display().to_string())
    }

    /// Checks and opens all of them. The output is begun last: a mistake elsewhere leaves nothing behind.
    pub(crate) fn open(
        &self,
        with_features: bool,
        with_alerts: bool,
    ) -> anyhow::Result<(Loaded, Sequence, Output)> {
        let tokenizer = policy::tokenizer(self.key_file.as_deref())?;
        let loaded = policy::load(&self.policy, &tokenizer)?;
        let map = Map::load(&self.map, loaded.program())?;
        let reader = Reader::open(&self.events)?;
        let rows_max = self.limit.unwrap_or(u64::MAX);
        let rates = match &self.rates {
            Some(file) => rates::read(file, self.rates_base, &loaded, &tokenizer)?,
            None => Vec::new(),
        };
        let sequence = Sequence::new(loaded.clone(), map, reader, tokenizer, rows_max)?.with_rates(rates);
        output::keep_apart(&self.out, &self.events)?;
        let output =
            Output::create(&self.out, loaded.program(), with_features, with_alerts, self.acknowledged)?;
        Ok((loaded, sequence, output))
    }
}
