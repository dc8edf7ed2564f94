//! Asking a running appliance: `tollctl policy deploy | rollback | status`, `tollctl kill`.

use crate::fault::Problem;
use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tollgate::config::Config;
use tollgate::desk::Request;
use tollgate::desk::deployments::Texts;
use tollgate::policy_files;

/// A deployment compiles, runs the policy's tests and may touch gigabytes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which appliance.
#[derive(Debug, Args)]
pub(crate) struct Appliance {
    /// Its configuration, which names the control socket; without it every default holds.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Its control socket, instead of the configured one.
    #[arg(long, value_name = "SOCKET")]
    socket: Option<PathBuf>,
    /// Print the whole answer, one JSON object.
    #[arg(long)]
    json: bool,
}

/// Who orders something, and why: both are journaled.
#[derive(Debug, Args)]
pub(crate) struct By {
    /// Who orders it.
    #[arg(long)]
    pub(crate) owner: String,
    /// Why.
    #[arg(long)]
    pub(crate) reason: String,
}

/// Kill switches of a running appliance. Each has an owner, a reason and an end, and is journaled.
#[derive(Debug, Subcommand)]
pub(crate) enum Kill {
    /// A rule is not to fire.
    Rule {
        /// Its name.
        name: String,
        /// For how long: `90s`, `15m`, `8h`, `7d`.
        #[arg(long = "for", value_parser = seconds)]
        seconds: u64,
        #[command(flatten)]
        by: By,
        #[command(flatten)]
        appliance: Appliance,
    },
    /// Every judged event is answered with an action; only mandatory rules can make it a greater one.
    All {
        /// `allow`, `challenge`, `review` or `block`.
        action: String,
        /// For how long: `90s`, `15m`, `8h`, `7d`.
        #[arg(long = "for", value_parser = seconds)]
        seconds: u64,
        #[command(flatten)]
        by: By,
        #[command(flatten)]
        appliance: Appliance,
    },
    /// A rule may fire again; without a name, all are answered by the policy again.
    Lift {
        /// The rule.
        name: Option<String>,
        #[command(flatten)]
        by: By,
        #[command(flatten)]
        appliance: Appliance,
    },
}

pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("a time has a unit: 90s, 15m, 8h or 7d".to_owned()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    seconds
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "a time is a whole number above 0 and a unit, as in 15m".to_owned())
}

/// Deploys a policy with the files that it uses.
pub(crate) fn deploy(file: &Path, cold: bool, dry_run: bool, appliance: &Appliance) -> anyhow::Result<()> {
    let sources = policy_files::read(file).map_err(|reason| {
        Problem::new(format!("cannot be read: {reason}"), "check the path").at(file.display().to_string())
    })?;
    let answer = ask(appliance, &Request::Deploy { texts: Texts::of(&sources), cold, dry_run })?;
    print(appliance, &answer, &took_over(&answer))
}

/// Lets the policy before take over again.
pub(crate) fn roll_back(appliance: &Appliance) -> anyhow::Result<()> {
    let answer = ask(appliance, &Request::Rollback)?;
    print(appliance, &answer, &took_over(&answer))
}

/// Prints what runs.
pub(crate) fn status(appliance: &Appliance) -> anyhow::Result<()> {
    let answer = ask(appliance, &Request::Status)?;
    let mut text = format!(
        "policy {} revision {}, {} rules, {} features\nhash {}\n",
        word(&answer, "policy"),
        answer["revision"],
        answer["rules"],
        answer["features"],
        word(&answer, "hash")
    );
    match answer["deployed_at"].as_str() {
        Some(at) => text.push_str(&format!("deployed {at} by user {}\n", answer["deployed_by"])),
        None => text.push_str("as configured\n"),
    }
    for order in answer["orders"].as_array().into_iter().flatten() {
        let what = match order["order"].as_str() {
            Some("kill_rule") => format!("rule {} killed", word(&order["note"], "rule")),
            _ => format!("all answered with {}", word(order, "action")),
        };
        let (owner, reason) = (word(&order["note"], "owner"), word(&order["note"], "reason"));
        text.push_str(&format!("{what} until {} by {owner}: {reason}\n", word(order, "until")));
    }
    if let Some(edits) = answer["list_edits"].as_u64().filter(|edits| *edits > 0) {
        text.push_str(&format!("{edits} edits of lists; `tollctl list show NAME --edits` tells them\n"));
    }
    print(appliance, &answer, &text)
}

/// Orders something.
pub(crate) fn kill(command: &Kill) -> anyhow::Result<()> {
    let (request, appliance) = match command {
        Kill::Rule { name, seconds, by: By { owner, reason }, appliance } => (
            Request::KillRule {
                rule: name.clone(),
                seconds: *seconds,
                owner: owner.clone(),
                reason: reason.clone(),
            },
            appliance,
        ),
        Kill::All { action, seconds, by: By { owner, reason }, appliance } => (
            Request::KillAll {
                action: action.clone(),
                seconds: *seconds,
                owner: owner.clone(),
                reason: reason.clone(),
            },
            appliance,
        ),
        Kill::Lift { name, by: By { owner, reason }, appliance } => {
            let (owner, reason) = (owner.clone(), reason.clone());
            let request = match name {
                Some(rule) => Request::KillRule { rule: rule.clone(), seconds: 0, owner, reason },
                None => Request::KillAll { action: "allow".to_owned(), seconds: 0, owner, reason },
            };
            (request, appliance)
        }
    };
    let answer = ask(appliance, &request)?;
    let lifted = matches!(command, Kill::Lift { .. });
    let text = match lifted {
        true => format!("lifted after decision {}\n", answer["after_seq"]),
        false => format!("holds after decision {} until {}\n", answer["after_seq"], word(&answer, "until")),
    };
    print(appliance, &answer, &text)
}

pub(crate) fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("?")
}

fn took_over(answer: &Value) -> String {
    let mut text = format!("policy {} revision {}", word(answer, "policy"), answer["revision"]);
    match answer["dry_run"].as_bool() {
        Some(true) => text.push_str(" could take over\n"),
        _ => text.push_str(&format!(" took over after decision {}\n", answer["after_seq"])),
    }
    for cold in answer["cold"].as_array().into_iter().flatten() {
        text.push_str(&format!("  {} begins now: {}\n", word(cold, "feature"), word(cold, "why")));
    }
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        text.push_str(&format!("  {}\n", warning.as_str().unwrap_or("?")));
    }
    for recent in answer["recent"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "  {} began when an earlier policy took over\n",
            recent.as_str().unwrap_or("?")
        ));
    }
    text
}

pub(crate) fn print(appliance: &Appliance, answer: &Value, text: &str) -> anyhow::Result<()> {
    let text = if appliance.json { format!("{answer}\n") } else { text.to_owned() };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

/// Sends a request and waits for its answer; a refusal is an error.
pub(crate) fn ask(appliance: &Appliance, request: &Request) -> anyhow::Result<Value> {
    let socket = match &appliance.socket {
        Some(socket) => socket.clone(),
        None => {
            let config = appliance.config.as_ref();
            config.map_or_else(|| Ok(Config::shipped()), |file| Config::read(file))?.control_socket
        }
    };
    let stream = UnixStream::connect(&socket).map_err(|error| {
        Problem::new(
            format!("nobody answers: {error}"),
            "is the appliance running? --config or --socket names another",
        )
        .at(socket.display().to_string())
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    (&stream).write_all(line.as_bytes()).with_context(|| format!("cannot ask at {}", socket.display()))?;
    let mut answer = String::new();
    BufReader::new(&stream)
        .read_line(&mut answer)
        .with_context(|| format!("no answer at {}", socket.display()))?;
    let answer: Value =
        serde_json::from_str(&answer).map_err(|error| anyhow!("no answer that can be read: {error}"))?;
    if answer["ok"] != true {
        if appliance.json {
            println!("{answer}");
        }
        bail!("{}\n  help: {}", word(&answer, "error").trim_end(), word(&answer, "help"));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_have_a_unit() {
        for (text, expected) in [("90s", 90), ("15m", 900), ("8h", 28_800), ("7d", 604_800)] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in ["", "s", "15", "0m", "-1s", "1.5h", "15 m", "9é", "99999999999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
