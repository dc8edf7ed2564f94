//! `tollctl policy fmt`: policies in their canonical layout, in place.

use crate::fault::{Problem, Told};
use crate::rewrite;
use anyhow::Context as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use tollgate::policy::diagnostics::render;
use tollgate::policy::format::format;
use tollgate::policy::parser::SOURCE_BYTES_MAX;

/// Formats the files, `-` from standard input to standard output. With `check` nothing is written: files that would
/// change are listed. A file with errors is left as it is, and the others are formatted.
pub(crate) fn run(files: &[PathBuf], check: bool) -> anyhow::Result<()> {
    let mut failed = false;
    for file in files {
        let standard = file.as_os_str() == "-";
        let (name, done) = match standard {
            true => ("standard input".to_owned(), format_input(check)),
            false => (file.display().to_string(), format_file(file, check)),
        };
        match done {
            Ok(Done::Same) => {}
            Ok(Done::Changed) if check => {
                failed = true;
                writeln!(io::stdout(), "{name}").context("cannot write to standard output")?;
            }
            Ok(Done::Changed) => {}
            Err(error) => {
                failed = true;
                let said = tollgate::log::causes(error.as_ref());
                let mark = if said.starts_with("error[") { "" } else { "error: " };
                // Nobody may be reading any more.
                let _ = writeln!(io::stderr(), "{mark}{}", said.trim_end());
            }
        }
    }
    if failed { Err(Told.into()) } else { Ok(()) }
}

enum Done {
    Same,
    Changed,
}

fn format_input(check: bool) -> anyhow::Result<Done> {
    let mut bytes = Vec::new();
    // One byte more than is read, so that a longer text is noticed.
    io::stdin()
        .take(SOURCE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .context("cannot read from standard input")?;
    let text = utf8(bytes, "standard input")?;
    let formatted = formatted("standard input", &text)?;
    if !check {
        io::stdout().write_all(formatted.as_bytes()).context("cannot write to standard output")?;
    }
    Ok(if formatted == text { Done::Same } else { Done::Changed })
}

fn format_file(file: &Path, check: bool) -> anyhow::Result<Done> {
    let name = file.display().to_string();
    let text = utf8(fs::read(file).with_context(|| format!("{name} cannot be read"))?, &name)?;
    let formatted = formatted(&name, &text)?;
    if formatted == text {
        return Ok(Done::Same);
    }
    if !check {
        rewrite::write(file, formatted.as_bytes()).with_context(|| format!("{name} cannot be written"))?;
    }
    Ok(Done::Changed)
}

fn utf8(bytes: Vec<u8>, name: &str) -> anyhow::Result<String> {
    String::from_utf8(bytes)
        .map_err(|_| Problem::new("is not UTF-8 text", "convert it to UTF-8").at(name).into())
}

fn formatted(name: &str, text: &str) -> anyhow::Result<String> {
    format(text).map_err(|errors| anyhow::anyhow!("{}", render(name, text, &errors)))
}
