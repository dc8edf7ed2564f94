//! LightGBM's text files, as `Booster.save_model` of versions 3 and 4 writes them.
//!
//! What the library does before a node compares, and the canonical form has no word for, is written into thresholds: its
//! functions that predict take whatever is not further from 0 than [`ZERO`] for 0, whatever a node says of missing values.
//! So a threshold within that distance moves to the end of it that gives the same answers.
//!
//! A category is the number without its fraction; NaN and what is negative is in no set, and goes right. The leaves of DART
//! come with their weights multiplied in. Of a random forest the margin is the mean of its trees, which is what the library
//! makes a probability of (`raw_score` is their sum).

use super::build::{Builder, Side, Split};
use super::{ImportError, Read, kept, refuse, shown};
use crate::model::{
    AtMost, Body, INPUTS_MAX, LEAVES_MAX, Link, Missing, Provenance, Rounding, Sum, TREES_MAX, Test, ZERO,
};
use std::collections::BTreeMap;

/// Objectives, and what the library makes of the margin.
const OBJECTIVES: &[(&str, Link)] = &[
    ("regression", Link::Identity),
    ("regression_l1", Link::Identity),
    ("huber", Link::Identity),
    ("fair", Link::Identity),
    ("quantile", Link::Identity),
    ("mape", Link::Identity),
    ("poisson", Link::Exp),
    ("gamma", Link::Exp),
    ("tweedie", Link::Exp),
    ("cross_entropy", Link::Sigmoid(1.0)),
];

const IS_CATEGORICAL: u8 = 1;
const MISSING_LEFT: u8 = 2;

/// Reads a file.
pub(super) fn read(text: &str, trees_max: Option<usize>) -> Result<Read, ImportError> {
    let mut lines = Lines { rest: text.lines(), number: 0 };
    if lines.next().map(|(_, line)| line) != Some("tree") {
        return refuse("line 1", "LightGBM's models begin with a line `tree`; check --format and the path");
    }
    let (header, mut end) = Section::read(&mut lines, "the header".to_owned(), 1)?;
    let inputs = header.inputs()?;
    let (objective, link) = header.objective()?;
    header.is_one("num_class")?;
    header.is_one("num_tree_per_iteration")?;
    let mut sections = Vec::new();
    while let End::Tree(line, number) = end {
        if number.parse() != Ok(sections.len()) {
            let message = format!("tree {} has to be next, and not {}", sections.len(), shown(number));
            return refuse(format!("line {line}"), message);
        }
        if sections.len() == TREES_MAX {
            return refuse(format!("line {line}"), format!("there are more than {TREES_MAX} trees"));
        }
        let (section, next) = Section::read(&mut lines, format!("tree {number}"), line)?;
        sections.push(section);
        end = next;
    }
    if let End::File = end {
        let place = format!("line {}", lines.number);
        return refuse(place, "the file ends before `end of trees`: it is cut short");
    }
    if let Some((line, sizes)) = header.find("tree_sizes") {
        let promised = sizes.split_ascii_whitespace().count();
        if promised != sections.len() {
            let message = format!("sizes of {promised} trees are told and {} are there", sections.len());
            return refuse(format!("line {line}"), message);
        }
    }
    let count = kept(sections.len(), trees_max)?;
    let divisor = if header.find("average_output").is_some() { count as f64 } else { 1.0 };
    let mut builder = Builder::new(Rounding::F64, Sum::F64(divisor));
    for section in &sections[..count] {
        section.tree(&mut builder, inputs.len())?;
    }
    Ok(Read {
        inputs,
        body: Body::Trees(builder.finish()),
        link,
        provenance: Provenance { objective, ..Provenance::default() },
        remarks: Vec::new(),
        other_sums: Vec::new(),
    })
}

/// Lines with their numbers, from 1.
struct Lines<'a> {
    rest: std::str::Lines<'a>,
    number: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.number += 1;
        self.rest.next().map(|line| (self.number, line))
    }
}

/// How a section ends.
enum End<'a> {
    /// With the line where a tree of this number begins.
    Tree(usize, &'a str),
    /// With the last tree.
    Trees,
    /// With the file.
    File,
}

/// The header or a tree: lines `key=value`.
struct Section<'a> {
    /// What it is.
    name: String,
    /// Where it begins.
    line: usize,
    /// Line and value of each key; a line without `=` is a key without a value.
    entries: BTreeMap<&'a str, (usize, &'a str)>,
}

impl<'a> Section<'a> {
    fn read(lines: &mut Lines<'a>, name: String, line: usize) -> Result<(Self, End<'a>), ImportError> {
        let mut section = Self { name, line, entries: BTreeMap::new() };
        for (number, line) in lines {
            if line == "end of trees" {
                return Ok((section, End::Trees));
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            if key == "Tree" {
                return Ok((section, End::Tree(number, value)));
            }
            if !key.is_empty() && section.entries.insert(key, (number, value)).is_some() {
                let message = format!("{} has {} twice", section.name, shown(key));
                return refuse(format!("line {number}"), message);
            }
        }
        Ok((section, End::File))
    }

    fn find(&self, key: &str) -> Option<(usize, &'a str)> {
        self.entries.get(key).copied()
    }

    fn required(&self, key: &str) -> Result<(usize, &'a str), ImportError> {
        self.find(key).ok_or_else(|| {
            let message = format!("{} begins here and has no line `{key}=`", self.name);
            ImportError::new(format!("line {}", self.line), message)
        })
    }

    /// The numbers of a line: as many as there have to be.
    fn numbers<T: std::str::FromStr>(&self, key: &str, count: usize) -> Result<Vec<T>, ImportError> {
        let (line, value) = self.required(key)?;
        let place = || format!("line {line}");
        let found = value.split_ascii_whitespace().count();
        if found != count {
            return refuse(
                place(),
                format!("{key} of {} has {found} numbers; there have to be {count}", self.name),
            );
        }
        let mut numbers = Vec::with_capacity(count);
        for (at, word) in value.split_ascii_whitespace().enumerate() {
            let number = word.parse().map_err(|_| {
                ImportError::new(place(), format!("{key}[{at}] of {} cannot be {}", self.name, shown(word)))
            })?;
            numbers.push(number);
        }
        Ok(numbers)
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T, ImportError> {
        let (line, value) = self.required(key)?;
        value.parse().map_err(|_| {
            ImportError::new(
                format!("line {line}"),
                format!("{key} of {} cannot be {}", self.name, shown(value)),
            )
        })
    }

    fn is_one(&self, key: &str) -> Result<(), ImportError> {
        let (line, value) = self.required(key)?;
        if value == "1" {
            return Ok(());
        }
        let message = format!(
            "{key} is {}: multiclass models are not imported; train one model for each class",
            shown(value)
        );
        refuse(format!("line {line}"), message)
    }

    fn inputs(&self) -> Result<Vec<String>, ImportError> {
        let (line, version) = self.required("version")?;
        if !matches!(version, "v3" | "v4") {
            let message =
                format!("version {}: v3 and v4 are read, which LightGBM 3 and 4 write", shown(version));
            return refuse(format!("line {line}"), message);
        }
        let last: usize = self.number("max_feature_idx")?;
        let (line, names) = self.required("feature_names")?;
        let names: Vec<String> =
            names.split_ascii_whitespace().take(INPUTS_MAX + 1).map(str::to_owned).collect();
        if names.len() > INPUTS_MAX || last != names.len().wrapping_sub(1) {
            let message = format!(
                "there are {} names of inputs for max_feature_idx={last}; there have to be one more, and at most {INPUTS_MAX}",
                names.len()
            );
            return refuse(format!("line {line}"), message);
        }
        Ok(names)
    }

    fn objective(&self) -> Result<(String, Link), ImportError> {
        let Some((line, text)) = self.find("objective") else {
            let message = "no objective is told (a function of one's own was minimised), so it is not known what its margin \
                           means: add a line, for one `objective=binary sigmoid:1`";
            return refuse(format!("line {}", self.line), message);
        };
        let place = format!("line {line}");
        let mut words = text.split_ascii_whitespace();
        let name = words.next().unwrap_or("");
        let link = OBJECTIVES.iter().find(|(known, _)| *known == name).map(|(_, link)| *link);
        match (name, words.next(), words.next(), link) {
            ("binary", Some(parameter), None, _) => {
                let scale = parameter.strip_prefix("sigmoid:").and_then(|scale| scale.parse::<f64>().ok());
                match scale.filter(|scale| scale.is_finite() && *scale > 0.0) {
                    Some(scale) => Ok((text.to_owned(), Link::Sigmoid(scale))),
                    None => refuse(place, format!("{} has to be a number above 0", shown(parameter))),
                }
            }
            ("regression", Some("sqrt"), None, _) => refuse(
                place,
                "the objective `regression sqrt` is not imported: train on the root of the label, without reg_sqrt",
            ),
            (_, None, None, Some(link)) => Ok((text.to_owned(), link)),
            _ => {
                let names: Vec<&str> = OBJECTIVES.iter().map(|(name, _)| *name).collect();
                let message = format!(
                    "the objective {} is not imported; `binary sigmoid:K`, {} are",
                    shown(text),
                    names.join(", ")
                );
                refuse(place, message)
            }
        }
    }

    /// Reads this tree.
    fn tree(&self, builder: &mut Builder, inputs: usize) -> Result<(), ImportError> {
        let place = |key: &str| format!("line {}", self.find(key).map_or(self.line, |(line, _)| line));
        if let Some((line, linear)) = self.find("is_linear")
            && linear != "0"
        {
            let message = format!(
                "{} has linear models in its leaves (linear_tree), which are not imported; train without",
                self.name
            );
            return refuse(format!("line {line}"), message);
        }
        let leaf_count: usize = self.number("num_leaves")?;
        if !(1..=LEAVES_MAX).contains(&leaf_count) {
            let message = format!("{} has {leaf_count} leaves; there can be 1 to {LEAVES_MAX}", self.name);
            return refuse(place("num_leaves"), message);
        }
        // All that follow are as long as this one, which is in the file.
        let leaves: Vec<f64> = self.numbers("leaf_value", leaf_count)?;
        let splits = if leaf_count == 1 { Vec::new() } else { self.splits(builder, leaf_count - 1, inputs)? };
        let root = if leaf_count == 1 { Side::Leaf(0) } else { Side::Split(0) };
        let at_tree = |message| ImportError::new(place("left_child"), format!("{}: {message}", self.name));
        let reached = builder.tree(root, &splits, &leaves).map_err(at_tree)?;
        if reached != (splits.len(), leaf_count) {
            return Err(at_tree("not all of its nodes are below its root".to_owned()));
        }
        Ok(())
    }

    fn splits(
        &self,
        builder: &mut Builder,
        count: usize,
        inputs: usize,
    ) -> Result<Vec<Option<Split>>, ImportError> {
        let features: Vec<usize> = self.numbers("split_feature", count)?;
        let thresholds: Vec<f64> = self.numbers("threshold", count)?;
        let decisions: Vec<u8> = self.numbers("decision_type", count)?;
        let left: Vec<i32> = self.numbers("left_child", count)?;
        let right: Vec<i32> = self.numbers("right_child", count)?;
        let sets = self.sets()?;
        let mut splits = Vec::with_capacity(count);
        for at in 0..count {
            let wrong = |key: &str, message: String| {
                let place = format!("line {}", self.find(key).map_or(self.line, |(line, _)| line));
                ImportError::new(place, format!("{key}[{at}] of {} {message}", self.name))
            };
            let (feature, threshold, decision) = (features[at], thresholds[at], decisions[at]);
            if feature >= inputs {
                return Err(wrong("split_feature", format!("is {feature} and there are {inputs} inputs")));
            }
            let test = if decision & IS_CATEGORICAL == 0 {
                let missing = match decision >> 2 {
                    0 => Missing::Never,
                    1 => Missing::Zero,
                    2 => Missing::Nan,
                    _ => return Err(wrong("decision_type", format!("is {decision}, which is none"))),
                };
                if threshold.is_nan() {
                    return Err(wrong("threshold", "is not a number".to_owned()));
                }
                Some(Test::AtMost(AtMost { threshold: moved(threshold), missing }))
            } else {
                let set = (threshold >= 0.0 && threshold.fract() == 0.0).then_some(threshold as usize);
                let Some(words) = set.and_then(|set| sets.get(set)) else {
                    return Err(wrong(
                        "threshold",
                        format!("is {threshold}: no set of categories has this number"),
                    ));
                };
                builder
                    .set(words, true)
                    .map_err(|message| wrong("threshold", format!("names a set: {message}")))?
            };
            let split = Split {
                input: feature as u16,
                // What of a set is missing always goes right.
                missing_left: decision & (MISSING_LEFT | IS_CATEGORICAL) == MISSING_LEFT,
                test: test.unwrap_or(super::build::ANYTHING),
                left: side(left[at]),
                right: side(right[at]),
            };
            splits.push(Some(if test.is_some() { split } else { split.never() }));
        }
        Ok(splits)
    }

    /// The sets of categories of a tree.
    fn sets(&self) -> Result<Vec<Vec<u64>>, ImportError> {
        let (line, count) = self.find("num_cat").unwrap_or((self.line, "0"));
        if count == "0" {
            return Ok(Vec::new());
        }
        let found = self.required("cat_boundaries")?.1.split_ascii_whitespace().count();
        if found < 2 || count.parse() != Ok(found - 1) {
            let message = format!(
                "num_cat of {} is {} and cat_boundaries has {found} numbers; there has to be one more",
                self.name,
                shown(count)
            );
            return refuse(format!("line {line}"), message);
        }
        let bounds: Vec<usize> = self.numbers("cat_boundaries", found)?;
        let (line, _) = self.required("cat_boundaries")?;
        let words: Vec<u32> = self.numbers("cat_threshold", bounds[found - 1])?;
        if bounds[0] != 0 || !bounds.is_sorted() {
            let message = format!("cat_boundaries of {} do not ascend from 0", self.name);
            return refuse(format!("line {line}"), message);
        }
        let pairs = |words: &[u32]| -> Vec<u64> {
            let pair = |pair: &[u32]| pair.iter().rev().fold(0, |word, half| word << 32 | u64::from(*half));
            words.chunks(2).map(pair).collect()
        };
        Ok(bounds.windows(2).map(|ends| pairs(&words[ends[0]..ends[1]])).collect())
    }
}

/// A child as LightGBM writes it: leaves are below zero.
fn side(child: i32) -> Side {
    match usize::try_from(child) {
        Ok(node) => Side::Split(node),
        Err(_) => Side::Leaf(!child as usize),
    }
}

/// The threshold that gives, without taking what is near 0 for 0, the answers that this one gives with it.
fn moved(threshold: f64) -> f64 {
    if (0.0..ZERO).contains(&threshold) {
        ZERO
    } else if (-ZERO..0.0).contains(&threshold) {
        (-ZERO).next_down()
    } else {
        threshold
    }
}
