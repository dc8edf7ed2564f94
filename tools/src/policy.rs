//! `tollctl policy`: reading policies outside the appliance.

use crate::fault::{Fault, Problem};
use anyhow::Context as _;
use clap::Subcommand;
use std::path::{Path, PathBuf};
use tollgate::engine::Loaded;
use tollgate::policy;
use tollgate::token::Tokenizer;

/// The most bytes of a policy or a key file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What to do with a policy.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is wrong with a policy; exit 1 if anything is.
    Check {
        /// The policy.
        file: PathBuf,
    },
    /// Print what the compiled policy keeps: rows, records, bytes per key and per event.
    Plan {
        /// The policy.
        file: PathBuf,
    },
}

/// Runs the command.
pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Check { file } => {
            let loaded = load(file, &Tokenizer::default())?;
            let program = loaded.program();
            println!(
                "{}: policy {} revision {} is sound: {} events, {} features, {} rules",
                file.display(),
                program.name,
                program.revision,
                program.events.len(),
                program.features.len(),
                program.rules.len()
            );
            Ok(())
        }
        Command::Plan { file } => {
            let loaded = load(file, &Tokenizer::default())?;
            print!("{}", plan(&loaded));
            Ok(())
        }
    }
}

/// Reads, compiles and opens a policy. The error is the rendered list of everything that is wrong with it.
pub(crate) fn load(path: &Path, tokenizer: &Tokenizer) -> anyhow::Result<Loaded> {
    let text = String::from_utf8(read(path)?).map_err(|_| {
        Problem::new("is not UTF-8", "convert the file to UTF-8").at(path.display().to_string())
    })?;
    let program = policy::compile(&text, tokenizer).map_err(|diagnostics| {
        anyhow::anyhow!("{}", policy::diagnostics::render(&path.display().to_string(), &text, &diagnostics))
    })?;
    policy::archive::open(policy::archive::seal(&program))
        .with_context(|| format!("{}: the compiled policy cannot be opened", path.display()))
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

/// What is kept, by entity kind and group.
fn plan(loaded: &Loaded) -> String {
    use std::fmt::Write as _;
    let program = loaded.program();
    let mut text = String::new();
    let kinds = program.entities.iter();
    let kinds = kinds.map(|entity| (entity.name.to_string(), "key", entity.record_words));
    let pairs = program.pairs.iter().map(|pair| {
        let name = |kind: u16| &program.entities[usize::from(kind)].name;
        let names = format!("({}, {})", name(pair.first.to_native()), name(pair.second.to_native()));
        (names, "pair", pair.record_words)
    });
    for (index, (name, what, record_words)) in kinds.chain(pairs).enumerate() {
        let _ = writeln!(text, "{name}: {} bytes per {what}", u32::from(record_words.to_native()) * 8);
        for group in program.groups.iter().filter(|group| usize::from(group.table.to_native()) == index) {
            let event = &program.events[usize::from(group.event.to_native())];
            let field = |role: u16| event.fields.get(usize::from(role)).map(|field| &field.name);
            let role = match (field(group.role.to_native()), field(group.second_role.to_native())) {
                (Some(first), Some(second)) => format!("({first}, {second})"),
                (first, _) => first.map_or_else(String::new, ToString::to_string),
            };
            let _ = writeln!(
                text,
                "  {} by {role}: {} bytes per event, {} events inside the record, kept {} h",
                event.name,
                u32::from(group.row_words.to_native()) * 8,
                group.inline_rows,
                group.retention_us.to_native() / tollgate::engine::units::HOUR
            );
        }
    }
    text
}
