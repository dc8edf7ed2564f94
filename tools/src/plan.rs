//! `tollctl policy plan`: a budget in words, and as JSON.

use serde_json::{Value, json};
use std::fmt::Write as _;
use tollgate::engine::budget::{Budget, FeatureBudget, GroupBudget, TableBudget, Way, tell_bytes};
use tollgate::engine::program::{ArchivedModelPlan, ArchivedProgram};
use tollgate::engine::units::{DAY, HOUR, MINUTE, SECOND};
use tollgate_model::model::{ArchivedBody, Bytes};
use tollgate_model::scorer::Scorer;

/// So many events of a key are told of each group.
const EVENTS: [u64; 3] = [100, 1_000, 10_000];

/// What is told.
pub(crate) struct Plan<'a> {
    pub(crate) program: &'a ArchivedProgram,
    pub(crate) budget: &'a Budget,
    pub(crate) max: Option<u64>,
}

impl Plan<'_> {
    /// As tables to be read.
    pub(crate) fn text(&self) -> String {
        let Self { program, budget, max } = *self;
        let mut text = format!("policy {} revision {}\n", program.name, program.revision);
        let features = budget.features.iter().map(|feature| self.feature_row(feature));
        let heads = [
            "feature",
            "way",
            "looks back",
            "reads",
            "key",
            "row",
            "own",
            "rows",
            "entries",
            "words",
            "exactness",
        ];
        table(&mut text, &heads, &[0, 1, 2, 3, 10], features.collect());
        let groups = budget.groups.iter().map(|group| self.group_row(group));
        let heads = ["events", "kept", "row", "in record", "100 beyond", "1 000", "10 000"];
        table(&mut text, &heads, &[0, 1], groups.collect());
        let models = program.models.iter().map(|plan| Told::of(program, plan).row());
        let heads =
            ["model", "of", "asked", "kernel", "inputs", "trees", "leaves", "columns", "reads", "bytes"];
        table(&mut text, &heads, &[0, 1, 2, 3], models.collect());
        let kept = budget.tables.iter().filter(|table| table.record_bytes > 0);
        let heads = ["keys", "record", "index", "at keys_max"];
        table(&mut text, &heads, &[0], kept.map(|table| self.table_row(table)).collect());
        let mut items: Vec<Vec<String>> =
            budget.items().into_iter().map(|item| vec![item.name, item.of, tell_bytes(item.bytes)]).collect();
        items.push(vec!["total".into(), String::new(), tell_bytes(budget.total_bytes())]);
        table(&mut text, &["memory", "of", "reserved"], &[0, 1], items);
        let _ = match max {
            None => writeln!(text, "memory_bytes_max is not set: no bound but the machine's"),
            Some(max) if budget.total_bytes() <= max => {
                writeln!(text, "within memory_bytes_max, which is {}", tell_bytes(max))
            }
            Some(max) => writeln!(text, "over memory_bytes_max, which is {}", tell_bytes(max)),
        };
        text
    }

    fn group_name(&self, group: &GroupBudget) -> String {
        format!("{} by {}", group.event, group.by)
    }

    fn feature_row(&self, feature: &FeatureBudget) -> Vec<String> {
        let FeatureBudget { name, exactness, way, horizon_us, groups, work, .. } = feature;
        let mut row = vec![name.clone(), way.word().into()];
        if *way == Way::Event {
            row.extend([""; 8].map(String::from));
        } else {
            let reads: Vec<String> =
                groups.iter().map(|&group| self.group_name(&self.budget.groups[group])).collect();
            row.extend([tell_span(*horizon_us), reads.join(", ")]);
            let bytes = [feature.key_bytes, feature.event_bytes, feature.own_event_bytes];
            row.extend(bytes.map(tell_bytes));
            row.extend([work.rows, work.entries, work.words].map(|number| number.to_string()));
        }
        row.push(exactness.words().into_owned());
        row
    }

    fn group_row(&self, group: &GroupBudget) -> Vec<String> {
        let mut row =
            vec![self.group_name(group), tell_span(group.retention_us), tell_bytes(group.row_bytes)];
        row.push(group.inline_rows.to_string());
        row.extend(EVENTS.map(|events| tell_bytes(group.spill_bytes_of(events))));
        row
    }

    fn table_row(&self, table: &TableBudget) -> Vec<String> {
        let tenths = self.index_tenths(table);
        let index = format!("{}.{} B", tenths / 10, tenths % 10);
        vec![table.name.clone(), format!("{} B", table.record_bytes), index, tell_bytes(table.bytes())]
    }

    /// Tenths of a byte of the index for each key.
    fn index_tenths(&self, table: &TableBudget) -> u64 {
        let keys = u64::from(self.budget.limits.keys_max);
        (table.index_bytes * 10 + keys / 2) / keys
    }

    /// As one object.
    pub(crate) fn json(&self) -> String {
        let Self { program, budget, max } = *self;
        let group = |&group: &usize| self.group_name(&budget.groups[group]);
        let features = budget.features.iter().map(|feature| {
            json!({
                "name": feature.name,
                "exactness": feature.exactness.words(),
                "way": feature.way.word(),
                "horizon_us": feature.horizon_us,
                "reads": feature.groups.iter().map(group).collect::<Vec<_>>(),
                "key_bytes": feature.key_bytes,
                "event_bytes": feature.event_bytes,
                "own_event_bytes": feature.own_event_bytes,
                "work": {
                    "rows": feature.work.rows, "entries": feature.work.entries, "words": feature.work.words,
                },
            })
        });
        let groups = budget.groups.iter().map(|group| {
            let slabs = group.slabs.iter().map(|(rows, bytes)| json!({ "rows": rows, "bytes": bytes }));
            let spill =
                EVENTS.map(|events| json!({ "events": events, "bytes": group.spill_bytes_of(events) }));
            json!({
                "name": self.group_name(group),
                "table": budget.tables[group.table].name,
                "retention_us": group.retention_us,
                "row_bytes": group.row_bytes,
                "inline_rows": group.inline_rows,
                "key_bytes": group.key_bytes,
                "slabs": slabs.collect::<Vec<_>>(),
                "node_bytes": group.node_bytes,
                "beyond_record": spill,
            })
        });
        let tables = budget.tables.iter().map(|table| {
            json!({
                "name": table.name,
                "is_pair": table.is_pair,
                "record_bytes": table.record_bytes,
                "index_bytes": table.index_bytes,
                "records_bytes": table.records_bytes,
            })
        });
        let limits = &budget.limits;
        let object = json!({
            "policy": program.name.as_str(),
            "revision": program.revision.to_native(),
            "features": features.collect::<Vec<Value>>(),
            "groups": groups.collect::<Vec<Value>>(),
            "tables": tables.collect::<Vec<Value>>(),
            "models": program.models.iter().map(|plan| Told::of(program, plan).json()).collect::<Vec<Value>>(),
            "limits": {
                "keys_max": limits.keys_max,
                "spill_bytes_max": limits.spill_bytes_max,
                "rows_per_key_max": limits.rows_per_key_max,
                "dedup_entries_max": limits.dedup_entries_max,
                "lateness_us": limits.lateness_us,
            },
            "spill_bytes": budget.spill_bytes,
            "dedup_bytes": budget.dedup_bytes,
            "edits_bytes": budget.edits_bytes,
            "models_bytes": budget.models_bytes,
            "rates_bytes": budget.rates_bytes,
            "shared_bytes": budget.shared_bytes,
            "working_bytes": budget.working_bytes,
            "total_bytes": budget.total_bytes(),
            "memory_bytes_max": max,
            "fits": max.is_none_or(|max| budget.total_bytes() <= max),
            "refusal": max.and_then(|max| budget.refusal(max)),
        });
        format!("{object:#}\n")
    }
}

/// What is told of a model.
struct Told<'a> {
    name: &'a str,
    event: &'a str,
    asked: &'static str,
    kernel: &'static str,
    inputs: usize,
    trees: usize,
    leaves: usize,
    columns: usize,
    bytes: Bytes,
}

impl<'a> Told<'a> {
    fn of(program: &'a ArchivedProgram, plan: &'a ArchivedModelPlan) -> Self {
        let (trees, leaves, columns) = match &plan.model.body {
            ArchivedBody::Linear(_) => (0, 0, 0),
            ArchivedBody::Trees(trees) => {
                let columns = trees.lanes.as_ref().map_or(0, |lanes| lanes.columns.len());
                (trees.trees.len(), trees.leaves.len(), columns)
            }
        };
        Self {
            name: plan.name.as_str(),
            event: program.events[usize::from(plan.event.to_native())].name.as_str(),
            asked: if plan.lazy { "lazy" } else { "eager" },
            kernel: Scorer::new(&plan.model).kernel().name(),
            inputs: plan.inputs.len(),
            trees,
            leaves,
            columns,
            bytes: plan.model.bytes(),
        }
    }

    fn row(&self) -> Vec<String> {
        let words = [self.name, self.event, self.asked, self.kernel].map(str::to_owned);
        let counts = [self.inputs, self.trees, self.leaves, self.columns].map(|count| count.to_string());
        let bytes = [self.bytes.scored, self.bytes.all].map(|bytes| tell_bytes(bytes as u64));
        words.into_iter().chain(counts).chain(bytes).collect()
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "event": self.event,
            "asked": self.asked,
            "kernel": self.kernel,
            "inputs": self.inputs,
            "trees": self.trees,
            "leaves": self.leaves,
            "columns": self.columns,
            "reads_bytes": self.bytes.scored,
            "bytes": self.bytes.all,
        })
    }
}

/// A time in the largest unit that holds it exactly.
fn tell_span(us: i64) -> String {
    let units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")];
    match units.iter().find(|(unit, _)| us % unit == 0) {
        Some((unit, name)) => format!("{}{name}", us / unit),
        None => format!("{us}us"),
    }
}

/// An empty line, then rows below their heads; columns that are not of words end together.
fn table(text: &mut String, heads: &[&str], of_words: &[usize], rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    let heads: Vec<String> = heads.iter().map(|&head| head.to_owned()).collect();
    let rows: Vec<&Vec<String>> = std::iter::once(&heads).chain(&rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    text.push('\n');
    for row in rows {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = match of_words.contains(&column) {
                true => write!(line, "{cell:width$}  "),
                false => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
