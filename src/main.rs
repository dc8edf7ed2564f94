//! `tollgate`: arguments → configuration → run → exit code.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tollgate::appliance::{self, StartError};
use tollgate::config::{self, Config};
use tollgate::demo;
use tollgate::log::{Log, causes};
use tollgate::os::signals::Signals;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A real-time payment risk appliance.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve clients until SIGTERM or SIGINT.
    Run {
        /// The configuration; without it every default holds.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The policy to decide by, instead of the configured one.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// See it work: the appliance and a simulated payment switch, with nothing to prepare.
    Demo(demo::Args),
    /// The simulated switch of the demo.
    #[command(hide = true)]
    DemoSwitch(demo::SwitchArgs),
    /// Print the default configuration, with every key explained.
    Config,
}

/// Exit code for a configuration or policy that is refused; other failures are 1.
const REFUSED: u8 = 2;

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { config, policy } => run(config, policy),
        Command::Demo(arguments) => demo::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::DemoSwitch(arguments) => demo::run_switch(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Config => print(config::DEFAULT_TEXT),
    };
    result.unwrap_or_else(|error| {
        eprintln!("tollgate: {}", causes(error.as_ref()).trim_end());
        let refused = error.is::<config::ConfigError>()
            || matches!(
                error.downcast_ref(),
                Some(
                    StartError::PolicyFile { .. }
                        | StartError::Policy(_)
                        | StartError::SlotTooSmall { .. }
                        | StartError::OverBudget(_)
                )
            );
        ExitCode::from(if refused { REFUSED } else { 1 })
    })
}

fn run(config: Option<PathBuf>, policy: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let signals = Signals::block();
    let config = config.map_or_else(|| Ok(Config::shipped()), |file| Config::read(&file))?;
    let policy = match policy.as_ref().or(config.policy_file.as_ref()) {
        Some(file) => appliance::read_policy(file)?,
        None => appliance::demo_policy(),
    };
    let log = Log::new(config.log.level);
    // A long journal takes long to replay: a signal must be heard meanwhile. Leaving then is as safe as being killed.
    let starting = std::thread::spawn(move || appliance::start(&config, &policy));
    while !starting.is_finished() {
        if let Some(signal) = signals.wait(Duration::from_millis(10)) {
            log.info(format_args!("{signal} while starting: nobody was let in, nothing is lost"));
            return Ok(ExitCode::SUCCESS);
        }
    }
    let appliance = starting.join().map_err(|_| anyhow::anyhow!("the start panicked"))??;
    print(&format!("{}\n", appliance.ready()))?;
    while appliance.is_running() {
        if let Some(signal) = signals.wait(Duration::from_millis(100)) {
            log.info(format_args!("{signal}: stopping"));
            break;
        }
    }
    let counts = appliance.stop().context("stopped")?;
    log.info(format_args!("stopped after decision {}, digest {:016x}", counts.seq, counts.digest));
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}
