//! `tollctl`: the tools beside the appliance.

mod cell;
mod compiled;
mod desk;
mod events;
mod fault;
mod features;
mod files;
mod format;
mod journal;
mod link;
mod lists;
mod map;
mod model;
mod output;
mod plan;
mod policy;
mod rates;
mod replay;
mod resolve;
mod rewrite;
mod sequence;
mod switch;
mod table;
mod test;

use clap::{Parser, Subcommand};
use std::io::Write as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tools for a payment risk appliance: check policies, replay files of events.
#[derive(Debug, Parser)]
#[command(name = "tollctl", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Features of past events, for training models.
    #[command(subcommand)]
    Features(features::Command),
    /// List, check and print journals.
    #[command(subcommand)]
    Journal(journal::Args),
    /// Kill switches of a running appliance.
    #[command(subcommand)]
    Kill(desk::Kill),
    /// Lists of a running appliance: print them, and edit them.
    #[command(subcommand)]
    List(lists::Command),
    /// Models that other libraries trained: import them, score rows with them, print what is in them.
    #[command(subcommand)]
    Model(model::Command),
    /// Read policies: check them, run their tests, print what they take; deploy them to a running appliance.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Exchange rates for a running appliance.
    #[command(subcommand)]
    Rates(rates::Command),
    /// Step the engine over a file of events and write the verdicts.
    Replay(replay::Options),
    /// Send amendments that know only an event's id: look the events up in the journal, and say what became of each.
    Resolve(resolve::Options),
    /// Send a file of events to a running appliance and write its verdicts.
    Switch(switch::Options),
}

fn main() -> ExitCode {
    let run = match Cli::parse().command {
        Command::Features(command) => features::run(&command),
        Command::Journal(args) => journal::run(&args),
        Command::Kill(command) => desk::kill(&command),
        Command::List(command) => lists::run(&command),
        Command::Model(command) => model::run(&command),
        Command::Policy(command) => policy::run(&command),
        Command::Rates(command) => rates::run(&command),
        Command::Replay(options) => replay::run(&options),
        Command::Resolve(options) => resolve::run(&options),
        Command::Switch(options) => switch::run(&options),
    };
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<fault::Told>() => ExitCode::FAILURE,
        Err(error) => {
            let said = tollgate::log::causes(error.as_ref());
            // What is wrong with a policy comes as a list in which each entry is marked already.
            let mark = if said.starts_with("error[") { "" } else { "error: " };
            // Nobody may be reading any more.
            let _ = writeln!(std::io::stderr(), "{mark}{}", said.trim_end());
            ExitCode::FAILURE
        }
    }
}
