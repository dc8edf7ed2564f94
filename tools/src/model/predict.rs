//! `tollctl model predict`: margins and probabilities of rows.

use super::rows::{Extra, Rows};
use crate::rewrite::Beside;
use anyhow::{Context as _, bail};
use clap::Args;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use tollgate_model::kernel::Kernel;
use tollgate_model::link;
use tollgate_model::model::{ArchivedBody, ArchivedModel};
use tollgate_model::scorer::Scorer;
use tollgate_model::walk;

/// Rows that are scored at once.
const BATCH: usize = 1_024;

/// Options of `predict`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The model.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The rows, as CSV with a header: a column for each input, by name, in any order. An empty cell, and `nan`, is missing.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where predictions go, as CSV: `margin`, and `probability`, which is what the model makes of the margin. Numbers have as
    /// many digits as it takes to read the same bits again.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Ignore columns that are no inputs.
    #[arg(long)]
    extra: bool,
    /// The kernel that scores; without it, the fastest that the processor has. `walk` walks the trees.
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
    /// Add a column for each tree: the leaf where the row ends, from left to right, from 0.
    #[arg(long)]
    leaves: bool,
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let (model, _) = super::open(&options.model)?;
    let model = &*model;
    let kernel = kernel(options.kernel.as_deref())?;
    let mut scorer = Scorer::with_kernel(model, kernel);
    let extra = if options.extra { Extra::Ignored } else { Extra::Refused };
    let mut rows = Rows::open(&options.input, model.inputs.iter().map(|name| name.as_str()), extra)?;
    let file = options.out.display();
    let unwritable = || format!("{file} cannot be written");
    let (beside, out) = Beside::create(&options.out).with_context(unwritable)?;
    let mut out = BufWriter::new(out);
    out.write_all(b"margin,probability").with_context(unwritable)?;
    let trees = if options.leaves { tree_count(model) } else { 0 };
    for tree in 0..trees {
        write!(out, ",leaf_{tree}").with_context(unwritable)?;
    }
    writeln!(out).with_context(unwritable)?;
    let (mut numbers, mut margins) = (Vec::new(), Vec::new());
    let mut total = 0;
    loop {
        numbers.clear();
        let mut count = 0;
        while count < BATCH && rows.next(&mut numbers)? {
            count += 1;
        }
        if count == 0 {
            break;
        }
        margins.resize(count, 0.0);
        scorer.margins(model, &numbers, &mut margins);
        for (margin, row) in margins.iter().zip(numbers.chunks_exact(model.inputs.len())) {
            write!(out, "{margin:?},{:?}", link::told(model, *margin)).with_context(unwritable)?;
            if let (true, ArchivedBody::Trees(trees)) = (options.leaves, &model.body) {
                for tree in trees.trees.iter() {
                    write!(out, ",{}", walk::leaf(trees, tree, row)).with_context(unwritable)?;
                }
            }
            writeln!(out).with_context(unwritable)?;
        }
        total += count;
    }
    out.flush().and_then(|()| beside.finish()).with_context(unwritable)?;
    println!("{file}: {total} rows, kernel {}", scorer.kernel().name());
    Ok(())
}

fn tree_count(model: &ArchivedModel) -> usize {
    match &model.body {
        ArchivedBody::Trees(trees) => trees.trees.len(),
        ArchivedBody::Linear(_) => 0,
    }
}

/// The kernel of this name.
fn kernel(name: Option<&str>) -> anyhow::Result<Kernel> {
    let Some(name) = name else { return Ok(Kernel::best()) };
    let available = Kernel::available();
    match available.iter().find(|kernel| kernel.name() == name) {
        Some(kernel) => Ok(*kernel),
        None => {
            let names: Vec<&str> = available.iter().map(|kernel| kernel.name()).collect();
            bail!("--kernel {name}: this processor has {}", names.join(", "))
        }
    }
}
