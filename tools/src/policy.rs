//! `tollctl policy`: reading policies outside the appliance.

use crate::desk::{self, Appliance};
use crate::fault::{Fault, Problem, Told};
use crate::plan::Plan;
use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tollgate::config::Config;
use tollgate::engine::Loaded;
use tollgate::engine::budget::Budget;
use tollgate::policy::{self, Sources};
use tollgate::token::Tokenizer;

/// The most bytes of a key file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What to do with a policy.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is wrong with a policy, exit 1 if anything is; and what is hardly meant.
    Check {
        /// The policy.
        file: PathBuf,
        /// Print a JSON object a line for each error or warning, and nothing else.
        #[arg(long)]
        json: bool,
        /// Exit 1 for warnings too.
        #[arg(long)]
        deny_warnings: bool,
    },
    /// Compile a policy into a file, as the engine runs it.
    Compile {
        /// The policy.
        file: PathBuf,
        /// Where to; by custom it ends in `.tgp`.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Validate a compiled policy and print what is in it: name, revision, hashes, counts.
    Show {
        /// The compiled policy.
        file: PathBuf,
    },
    /// Rewrite policies in their canonical layout. A policy with errors of the grammar is left as it is; exit 1 then.
    Fmt {
        /// The policies; `-` reads from standard input and writes to standard output.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Write nothing: list the files that would change, and exit 1 if there are any.
        #[arg(long)]
        check: bool,
    },
    /// Run the tests of a policy, and say why each that fails does; exit 1 if any does.
    Test {
        /// The policy.
        file: PathBuf,
        /// Run only tests whose name contains this text.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        filter: String,
        /// Print one JSON object for each test.
        #[arg(long)]
        json: bool,
    },
    /// Print what the policy takes: each feature's exactness, horizon and cost, bytes per key and per event, and all that is
    /// reserved; exit 1 if that is over the configuration's `memory_bytes_max`.
    Plan {
        /// The policy.
        file: PathBuf,
        /// The appliance's configuration, for its limits; without it every default holds.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Let a policy take over in a running appliance, between two events.
    Deploy {
        /// The policy.
        file: PathBuf,
        /// Let features begin now that ask for what was not kept; what they bear on is flagged inexact until their windows are
        /// full.
        #[arg(long)]
        cold: bool,
        /// Only say what would come of it.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        appliance: Appliance,
    },
    /// Let the policy before the last deployment take over again.
    Rollback {
        #[command(flatten)]
        appliance: Appliance,
    },
    /// Say which policy a running appliance decides by, since when, and what was ordered.
    Status {
        #[command(flatten)]
        appliance: Appliance,
    },
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Check { file, json, deny_warnings } => check(file, *json, *deny_warnings),
        Command::Compile { file, out } => crate::compiled::compile(file, out),
        Command::Show { file } => crate::compiled::show(file),
        Command::Fmt { files, check } => crate::format::run(files, *check),
        Command::Deploy { file, cold, dry_run, appliance } => desk::deploy(file, *cold, *dry_run, appliance),
        Command::Rollback { appliance } => desk::roll_back(appliance),
        Command::Status { appliance } => desk::status(appliance),
        Command::Test { file, filter, json } => crate::test::run(&sources(file)?, filter, *json),
        Command::Plan { file, config, json } => {
            let loaded = load(file, &Tokenizer::default())?;
            let config = config.as_ref().map_or_else(|| Ok(Config::shipped()), |file| Config::read(file))?;
            let (limits, max) = (config.engine.limits, config.engine.memory_bytes_max);
            let budget = Budget::new(loaded.program(), &limits).map_err(|error| anyhow!(error.message))?;
            let plan = Plan { program: loaded.program(), budget: &budget, max };
            let text = if *json { plan.json() } else { plan.text() };
            std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
            match max.and_then(|max| budget.refusal(max)) {
                None => Ok(()),
                Some(refusal) => Err(anyhow!(refusal)),
            }
        }
    }
}

fn check(file: &Path, json: bool, deny_warnings: bool) -> anyhow::Result<()> {
    let sources = sources(file)?;
    let mut found = sources.analyse().diagnostics;
    // What only shows when the policy is compiled: that it is too large.
    let program = match sources.compile(&Tokenizer::default()) {
        Ok(program) => Some(program),
        Err(errors) => {
            found = errors;
            None
        }
    };
    if json {
        std::io::stdout()
            .write_all(sources.json(&found).as_bytes())
            .context("cannot write to standard output")?;
    }
    let Some(program) = program else {
        return Err(if json { Told.into() } else { anyhow!("{}", sources.render(&found)) });
    };
    if !json {
        // Nobody may be reading any more.
        let _ = std::io::stderr().write_all(sources.render(&found).as_bytes());
        println!(
            "{}: policy {} revision {} is sound: {} events, {} features, {}{} rules{}",
            file.display(),
            program.name,
            program.revision,
            program.events.len(),
            program.features.len(),
            match program.models.len() {
                0 => String::new(),
                1 => "1 model, ".to_owned(),
                count => format!("{count} models, "),
            },
            program.rules.len(),
            match found.len() {
                0 => String::new(),
                1 => "; 1 warning".to_owned(),
                count => format!("; {count} warnings"),
            }
        );
    }
    if deny_warnings && !found.is_empty() { Err(Told.into()) } else { Ok(()) }
}

/// Reads, compiles and opens a policy. The error is the rendered list of everything that is wrong with it.
pub(crate) fn load(path: &Path, tokenizer: &Tokenizer) -> anyhow::Result<Loaded> {
    open(path, &sources(path)?, tokenizer)
}

/// The same of a policy that has been read.
pub(crate) fn open(path: &Path, sources: &Sources, tokenizer: &Tokenizer) -> anyhow::Result<Loaded> {
    let program =
        sources.compile(tokenizer).map_err(|diagnostics| anyhow!("{}", sources.render(&diagnostics)))?;
    policy::archive::open(policy::archive::seal(&program))
        .with_context(|| format!("{}: the compiled policy cannot be opened", path.display()))
}

/// Reads a policy with the files that it uses.
pub(crate) fn sources(path: &Path) -> Result<Sources, Fault> {
    tollgate::policy_files::read(path).map_err(|reason| {
        let fix = "check the path and its permissions; policies are text in UTF-8";
        Problem::new(format!("cannot be read: {reason}"), fix).at(path.display().to_string())
    })
}

/// The tokenizer of a key file, or the one for replays.
pub(crate) fn tokenizer(key_file: Option<&Path>) -> anyhow::Result<Tokenizer> {
    let Some(path) = key_file else { return Ok(Tokenizer::default()) };
    let secret = read(path)?;
    let secret = secret.strip_suffix(b"\n").unwrap_or(&secret);
    if secret.len() < 16 {
        return Err(Problem::new(
            "holds fewer than 16 bytes of secret",
            "write at least 16 random bytes into it",
        )
        .at(path.display().to_string())
        .into());
    }
    Ok(Tokenizer::new(secret, 1))
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    let place = path.display().to_string();
    let cannot = |error: std::io::Error| {
        Problem::new(format!("cannot be read: {error}"), "check the path and its permissions").at(&*place)
    };
    if std::fs::metadata(path).map_err(cannot)?.len() > FILE_BYTES_MAX {
        return Err(Problem::new("is larger than 4 MiB", "check the path").at(place));
    }
    std::fs::read(path).map_err(cannot)
}
