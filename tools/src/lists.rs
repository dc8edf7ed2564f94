//! Lists of a running appliance: `tollctl list show | add | remove | forget`.

use crate::desk::{Appliance, By, ask, print, seconds};
use crate::fault::Problem;
use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tollgate::desk::Request;
use tollgate::desk::lists::{EditWord, ListEdit};

/// Lists of a running appliance: what is in them, and edits. Each edit has an owner and a reason, and is journaled.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what is in a list now, as CSV: entry, until, owner, reason, and where it is from.
    Show {
        /// The list.
        list: String,
        /// Only what was edited, removals too.
        #[arg(long)]
        edits: bool,
        #[command(flatten)]
        appliance: Appliance,
    },
    /// Entries are in a list, whatever the policy says.
    Add(Edit),
    /// Entries are not in a list, whatever the policy says.
    Remove(Edit),
    /// What the policy says of entries holds again.
    Forget(Edit),
}

/// Which entries, for how long, who wants it and why.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// The list.
    list: String,
    /// Entries, as policies write them without quotes; a key also as `token:` and 32 hexadecimal digits.
    entries: Vec<String>,
    /// A file of entries: CSV with a header of `entry` and, if wanted, `until`, `owner`, `reason`. What a row leaves empty is as
    /// said here.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// For how long: `90s`, `15m`, `8h`, `7d`.
    #[arg(long = "for", value_parser = seconds, conflicts_with = "until")]
    seconds: Option<u64>,
    /// Until when: `2026-12-31`, or `2026-12-31T08:30:00Z`.
    #[arg(long)]
    until: Option<String>,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    appliance: Appliance,
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Show { list, edits, appliance } => show(list, *edits, appliance),
        Command::Add(edit) => make(edit, EditWord::Add),
        Command::Remove(edit) => make(edit, EditWord::Remove),
        Command::Forget(edit) => make(edit, EditWord::Forget),
    }
}

fn show(list: &str, edits: bool, appliance: &Appliance) -> anyhow::Result<()> {
    let mut rows = csv::Writer::from_writer(Vec::new());
    rows.write_record(["entry", "until", "owner", "reason", "from"])?;
    let mut from = Some(0);
    let mut all = Value::Null;
    while let Some(number) = from {
        let request = Request::List { list: list.to_owned(), edits, from: number };
        let mut answer = ask(appliance, &request)?;
        let Some(entries) = answer["entries"].as_array_mut().map(std::mem::take) else {
            bail!("the answer has no entries")
        };
        for entry in &entries {
            let cell = |name: &str| entry[name].as_str().unwrap_or_default();
            rows.write_record(["entry", "until", "owner", "reason", "from"].map(cell))?;
        }
        from = answer["next"].as_u64().and_then(|next| usize::try_from(next).ok());
        match all["entries"].as_array_mut() {
            Some(before) => before.extend(entries),
            None => {
                answer["entries"] = entries.into();
                all = answer;
            }
        }
    }
    let text = String::from_utf8(rows.into_inner()?).context("an entry is not UTF-8")?;
    all["next"] = Value::Null;
    print(appliance, &all, &text)
}

fn make(edit: &Edit, what: EditWord) -> anyhow::Result<()> {
    let one = |entry: &str| ListEdit {
        list: edit.list.clone(),
        entry: entry.to_owned(),
        edit: what,
        until: edit.until.clone(),
        seconds: edit.seconds,
        owner: edit.by.owner.clone(),
        reason: edit.by.reason.clone(),
    };
    let mut asked: Vec<(String, ListEdit)> = edit
        .entries
        .iter()
        .enumerate()
        .map(|(at, entry)| (format!("entry {}", at + 1), one(entry)))
        .collect();
    if let Some(file) = &edit.csv {
        asked.extend(read(file, one)?);
    }
    if asked.is_empty() {
        return Err(Problem::new("no entries are named", "name some, or a file of them with --csv")
            .at("tollctl list".to_owned())
            .into());
    }
    let mut last = Value::Null;
    for (at, (place, request)) in asked.iter().enumerate() {
        last = ask(&edit.appliance, &Request::EditList(request.clone())).with_context(|| match at {
            0 => format!("{place}; nothing was changed"),
            _ => format!("{place}; those before it, {at} in all, were changed"),
        })?;
    }
    let (done, count) = (last["after_seq"].to_string(), asked.len());
    let entries = if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") };
    let mut text = match what {
        EditWord::Add => format!("{entries} in {} after decision {done}", edit.list),
        EditWord::Remove => format!("{entries} not in {} after decision {done}", edit.list),
        EditWord::Forget => format!("{entries}: the policy's word holds after decision {done}"),
    };
    // Lines of a file may end otherwise.
    if edit.csv.is_none()
        && let Some(until) = last["until"].as_str()
    {
        text.push_str(&format!(" until {until}"));
    }
    text.push('\n');
    print(&edit.appliance, &last, &text)
}

/// The edits that a file asks for, each with its place.
fn read(file: &Path, one: impl Fn(&str) -> ListEdit) -> anyhow::Result<Vec<(String, ListEdit)>> {
    const COLUMNS: [&str; 5] = ["entry", "until", "owner", "reason", "from"];
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| anyhow!("{shown} cannot be read: {error}"))?;
    // As in the files of policies: no column has a `;` in its name.
    let has_semicolon = text.lines().next().is_some_and(|header| header.contains(';'));
    let mut rows = csv::ReaderBuilder::new()
        .flexible(false)
        .trim(csv::Trim::All)
        .delimiter(if has_semicolon { b';' } else { b',' })
        .from_reader(text.as_bytes());
    let header = rows.headers().map_err(|error| anyhow!("{shown}: {error}"))?.clone();
    let unknown = header.iter().find(|name| !COLUMNS.contains(&name.trim_start_matches('\u{feff}')));
    if let Some(name) = unknown {
        let problem = Problem::new(
            format!("there is no column `{name}` in a list"),
            "the columns are entry, until, owner, reason",
        );
        return Err(problem.at(format!("{shown}:1")).into());
    }
    let column = |name: &str| header.iter().position(|found| found.trim_start_matches('\u{feff}') == name);
    let Some(entry) = column("entry") else {
        let problem =
            Problem::new("there is no column `entry`", "the first line names the columns: entry, until, …");
        return Err(problem.at(format!("{shown}:1")).into());
    };
    let mut edits = Vec::new();
    for row in rows.records() {
        let row = row.map_err(|error| anyhow!("{shown}: {error}"))?;
        let line = row.position().map_or(0, csv::Position::line);
        let cell = |name: &str| {
            let cell = column(name).and_then(|at| row.get(at)).unwrap_or_default();
            (!cell.is_empty()).then(|| cell.to_owned())
        };
        if cell("from").as_deref() == Some("removed") {
            let help = "take this line out, or give such entries to `remove`";
            let problem = Problem::new("this entry was removed from the list by an edit", help);
            return Err(problem.at(format!("{shown}:{line}")).into());
        }
        let mut edit = one(row.get(entry).unwrap_or_default());
        if let Some(until) = cell("until") {
            (edit.until, edit.seconds) = (Some(until), None);
        }
        edit.owner = cell("owner").unwrap_or(edit.owner);
        edit.reason = cell("reason").unwrap_or(edit.reason);
        edits.push((format!("{shown}:{line}"), edit));
    }
    Ok(edits)
}
