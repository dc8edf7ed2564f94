//! `tollctl policy compile` and `show`: policies as the engine runs them, in files.

use crate::policy;
use crate::rewrite;
use anyhow::Context as _;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use tollgate::engine::Loaded;
use tollgate::policy::archive;
use tollgate::token::Tokenizer;

/// The longest file that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Compiles a policy into a file.
pub(crate) fn compile(file: &Path, out: &Path) -> anyhow::Result<()> {
    let sources = policy::sources(file)?;
    let program = sources
        .compile(&Tokenizer::default())
        .map_err(|errors| anyhow::anyhow!("{}", sources.render(&errors)))?;
    let bytes = archive::seal(&program);
    // What is written is what would be run: it is opened like any other first.
    let loaded = archive::open(bytes.clone())
        .with_context(|| format!("{}: the compiled policy cannot be opened", file.display()))?;
    rewrite::write(out, &bytes).with_context(|| format!("{} cannot be written", out.display()))?;
    println!(
        "{}: policy {} revision {}, {} bytes, hash {}",
        out.display(),
        program.name,
        program.revision,
        bytes.len(),
        hex(&loaded.hash())
    );
    Ok(())
}

/// Opens a compiled policy, which validates all of it, and prints what is in it.
pub(crate) fn show(file: &Path) -> anyhow::Result<()> {
    let unreadable = || format!("{} cannot be read", file.display());
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .with_context(unreadable)?;
    let length = bytes.len();
    let loaded = archive::open(bytes).with_context(|| format!("{} is refused", file.display()))?;
    std::io::stdout().write_all(told(&loaded, length).as_bytes()).context("cannot write to standard output")
}

fn told(loaded: &Loaded, length: usize) -> String {
    let program = loaded.program();
    let entries: usize = program
        .lists
        .iter()
        .flat_map(|list| list.parts.iter())
        .map(|part| part.keys.len() / usize::from(part.words))
        .sum();
    let counts = [
        ("entity kinds", program.entities.len()),
        ("events", program.events.len()),
        ("features", program.features.len()),
        ("rules", program.rules.len()),
        ("reasons", program.reasons.len()),
        ("lists", program.lists.len()),
        ("entries of lists", entries),
        ("instructions", program.code.len()),
        ("bytes", length),
    ];
    let mut text = format!("policy {} revision {}\n", program.name, program.revision);
    // A string takes whatever is written to it.
    let _ = writeln!(text, "hash              {}", hex(&loaded.hash()));
    let _ = writeln!(text, "hash of layouts   {}", hex(&program.layout_hash));
    let _ = writeln!(text, "semantics         {}", program.semantics);
    let _ = writeln!(text, "time zones of     {}", program.zone_database);
    for (what, count) in counts {
        let _ = writeln!(text, "{what:<17} {count}");
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
