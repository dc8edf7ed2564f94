//! `tollctl policy test`: running the tests of a policy.

use anyhow::{Context as _, anyhow, bail};
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use tollgate::policy::Sources;
use tollgate::policy::test::{self, Failure, Report};

/// Runs the tests whose name contains `filter` and prints what came of them. An error when any fails.
pub(crate) fn run(sources: &Sources, filter: &str, as_json: bool) -> anyhow::Result<()> {
    let render = |diagnostics: &[_]| anyhow!("{}", sources.render(diagnostics));
    let (policy, tests) = sources.check_with_tests().map_err(|diagnostics| render(&diagnostics))?;
    let reports = test::run(&policy, &tests, filter).map_err(|diagnostic| render(&[*diagnostic]))?;
    if reports.is_empty() && !tests.is_empty() {
        bail!("no test of this policy has a name with \"{filter}\" in it; it has {}", tests.len());
    }
    let text =
        if as_json { json_lines(sources, &reports) } else { test::text(sources, &policy.name, &reports) };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
    match reports.iter().filter(|report| !report.failures.is_empty()).count() {
        0 => Ok(()),
        1 => Err(anyhow!("a test of this policy fails")),
        failed => Err(anyhow!("{failed} tests of this policy fail")),
    }
}

fn json_lines(sources: &Sources, reports: &[Report]) -> String {
    let mut lines = String::new();
    for report in reports {
        let failure = |failure: &Failure| {
            let (file, line) = sources.place(failure.span);
            json!({
                "file": file,
                "line": line,
                "event": failure.what,
                "differences": failure.differences,
                "explanations": failure.explanations,
            })
        };
        let failures: Vec<_> = report.failures.iter().map(failure).collect();
        let (file, line) = sources.place(report.span);
        let ok = failures.is_empty();
        let object =
            json!({ "test": report.name, "file": file, "line": line, "ok": ok, "failures": failures });
        let _ = writeln!(lines, "{object}");
    }
    lines
}
