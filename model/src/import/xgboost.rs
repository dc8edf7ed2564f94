//! XGBoost's models, as `Booster.save_model` writes them: JSON, or UBJSON, which says the same in less space.
//!
//! The library rounds inputs to f32 and goes left if they are below a threshold, so that the threshold of the canonical form
//! is the f32 before it. It adds leaves in f32, beginning with what its `base_score` is as a margin. What is in a set of
//! categories goes right. The weights of DART are multiplied into the leaves, in f32, as the library does for each row.

use super::build::{ANYTHING, Builder, Side, Split};
use super::value::At;
use super::{ImportError, Read, json, kept, shown, text, ubj};
use crate::model::{
    AtMost, Body, CATEGORY_MAX, Link, Missing, Provenance, Rounding, SET_WORDS_MAX, Sum, Test, Trees,
};
use std::collections::BTreeMap;

/// Objectives, what the library makes of the margin, and how it makes a margin of `base_score`.
const OBJECTIVES: &[(&str, Link, Base)] = &[
    ("binary:logistic", Link::Sigmoid(1.0), Base::Logit),
    ("binary:logitraw", Link::Identity, Base::Itself),
    ("reg:logistic", Link::Sigmoid(1.0), Base::Logit),
    ("reg:squarederror", Link::Identity, Base::Itself),
    ("reg:squaredlogerror", Link::Identity, Base::Itself),
    ("reg:absoluteerror", Link::Identity, Base::Itself),
    ("reg:pseudohubererror", Link::Identity, Base::Itself),
    ("reg:gamma", Link::Exp, Base::Log),
    ("reg:tweedie", Link::Exp, Base::Log),
    ("count:poisson", Link::Exp, Base::Log),
];

/// What is added to a sum last: with this it stays what it was, −0 too.
const LAST: f32 = -0.0;

/// How a margin is made of `base_score`.
#[derive(Clone, Copy)]
enum Base {
    Itself,
    Logit,
    Log,
}

/// Reads a file of either kind.
pub(super) fn read(bytes: &[u8], trees_max: Option<usize>) -> Result<Read, ImportError> {
    let value = match bytes {
        [b'{', b'"' | b' ' | b'\t' | b'\n' | b'\r', ..] => json::read(text(bytes)?)?,
        [b'{', ..] => ubj::read(bytes)?,
        _ => {
            let message =
                "XGBoost's models begin with `{`, as JSON or UBJSON; save older ones again with save_model";
            return Err(ImportError::new("byte 0", message));
        }
    };
    let root = At::root(&value);
    let learner = root.get("learner")?;
    let parameters = learner.get("learner_model_param")?;
    for (name, most, reason) in [
        ("num_class", 1, "multiclass models are not imported; train one model for each class"),
        ("num_target", 1, "models of several targets are not imported; train one model for each"),
    ] {
        if let Some(count) = parameters.find(name)
            && count.count()? > most
        {
            return Err(count.error(reason));
        }
    }
    let inputs = inputs(&learner, &parameters)?;
    let name = learner.get("objective")?.get("name")?;
    let objective = name.text()?;
    let Some((_, link, base)) = OBJECTIVES.iter().find(|(known, ..)| *known == objective) else {
        let names: Vec<&str> = OBJECTIVES.iter().map(|(name, ..)| *name).collect();
        let message = format!("the objective {} is not imported; {} are", shown(objective), names.join(", "));
        return Err(name.error(message));
    };
    let first = base_margin(&parameters.get("base_score")?, *base)?;
    let (trees, remarks) = trees(&learner, inputs.len(), first, trees_max)?;
    Ok(Read {
        inputs,
        body: Body::Trees(trees),
        link: *link,
        provenance: Provenance { objective: objective.to_owned(), ..Provenance::default() },
        remarks,
        other_sums: others(first, *base),
    })
}

/// What sums may begin with instead, by another logarithm.
fn others(first: f32, base: Base) -> Vec<Sum> {
    match base {
        Base::Itself => Vec::new(),
        Base::Logit | Base::Log => {
            [first.next_up(), first.next_down()].map(|first| Sum::F32(first, LAST)).to_vec()
        }
    }
}

fn inputs(learner: &At<'_>, parameters: &At<'_>) -> Result<Vec<String>, ImportError> {
    let count = parameters.get("num_feature")?;
    let inputs = super::inputs_in_bounds(count.count()?).map_err(|message| count.error(message))?;
    let Some(names) = learner.find("feature_names") else { return Ok(numbered(inputs)) };
    let list = names.items()?;
    if list.is_empty() {
        return Ok(numbered(inputs));
    }
    if list.len() != inputs {
        return Err(names.error(format!("there are {} names for {inputs} inputs", list.len())));
    }
    list.iter().map(|name| name.text().map(str::to_owned)).collect()
}

/// The names that the library gives to inputs without one.
fn numbered(inputs: usize) -> Vec<String> {
    (0..inputs).map(|number| format!("f{number}")).collect()
}

/// What sums begin with. The library takes the logarithm of its platform's `logf`, which for one number in two hundred is one
/// step beside the nearest f32, which is taken here; golden rows tell (see [`others`]).
fn base_margin(score: &At<'_>, base: Base) -> Result<f32, ImportError> {
    let text = score.text()?;
    // In brackets since version 3.1.
    let digits = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let Ok(number) = digits.parse::<f32>() else {
        return Err(score.error(format!("it has to be one number and is {}", shown(text))));
    };
    let ln = |x: f32| libm::log(f64::from(x)) as f32;
    let margin = match base {
        Base::Itself => number,
        Base::Logit => -ln(1.0 / number - 1.0),
        Base::Log => ln(number),
    };
    if margin.is_finite() {
        Ok(margin)
    } else {
        Err(score.error(format!("{} has no margin that is finite", shown(text))))
    }
}

/// The trees, and remarks on them.
fn trees(
    learner: &At<'_>,
    inputs: usize,
    first: f32,
    trees_max: Option<usize>,
) -> Result<(Trees, Vec<String>), ImportError> {
    let booster = learner.get("gradient_booster")?;
    let name = booster.get("name")?;
    let (model, weights) = match name.text()? {
        "gbtree" => (booster.get("model")?, None),
        "dart" => (booster.get("gbtree")?.get("model")?, Some(booster.get("weight_drop")?)),
        "gblinear" => {
            return Err(name
                .error("linear boosters (gblinear) are not imported; write its weights as a linear model"));
        }
        other => return Err(name.error(format!("the booster {} is not imported", shown(other)))),
    };
    let list = model.get("trees")?;
    let trees = list.items()?;
    let parameters = model.get("gbtree_model_param")?;
    let count = parameters.get("num_trees")?;
    if count.count()? != trees.len() {
        return Err(count.error(format!("{} trees are there; the file is cut short or changed", trees.len())));
    }
    let groups = model.get("tree_info")?;
    if groups.ints()?.iter().any(|group| *group != 0) {
        return Err(groups.error("trees of several classes are not imported; train one model for each"));
    }
    // Trees that are trained together, as those of a random forest, are one iteration.
    let abreast = parameters.find("num_parallel_tree").map_or(Ok(1), |count| count.count())?.max(1);
    let iterations = trees.len().div_ceil(abreast);
    let count = trees.len().min(kept(iterations, trees_max)?.saturating_mul(abreast));
    let mut builder = Builder::new(Rounding::F32, Sum::F32(first, LAST));
    let weight_list = weights.as_ref().map(At::reals).transpose()?;
    if let (Some(weights), Some(list)) = (&weights, &weight_list)
        && list.len() != trees.len()
    {
        return Err(weights.error(format!("there are {} weights of {} trees", list.len(), trees.len())));
    }
    for (number, tree) in trees[..count].iter().enumerate() {
        let weight = weight_list.as_ref().map(|list| list[number]);
        add(&mut builder, tree, weight, inputs)?;
    }
    Ok((builder.finish(), remarks(learner, iterations, trees_max)))
}

/// The library has two ways to predict with a model that was stopped early, which differ.
fn remarks(learner: &At<'_>, iterations: usize, trees_max: Option<usize>) -> Vec<String> {
    let best = learner.find("attributes").and_then(|attributes| attributes.find("best_iteration"));
    let best = best.and_then(|best| best.count().ok());
    match best {
        Some(best) if trees_max.is_none() && best < iterations.saturating_sub(1) => vec![format!(
            "all {iterations} iterations are kept, as Booster.predict takes them; the file says that the best was {best}: with \
             {} iterations the model scores as XGBoost's interface for scikit-learn does",
            best + 1
        )],
        _ => Vec::new(),
    }
}

fn add(builder: &mut Builder, tree: &At<'_>, weight: Option<f32>, inputs: usize) -> Result<(), ImportError> {
    let parameters = tree.get("tree_param")?;
    if let Some(size) = parameters.find("size_leaf_vector")
        && size.count()? > 1
    {
        return Err(size.error("trees with several values in a leaf (multi_output_tree) are not imported"));
    }
    let left = Numbers::of(tree, "left_children")?;
    let right = Numbers::of(tree, "right_children")?;
    let features = Numbers::of(tree, "split_indices")?;
    let defaults = Numbers::of(tree, "default_left")?;
    let list = tree.get("split_conditions")?;
    let conditions = list.reals()?;
    let count = parameters.get("num_nodes")?;
    let nodes = left.numbers.len();
    if count.count()? != nodes || nodes == 0 {
        return Err(count.error(format!("there are left children of {nodes} nodes")));
    }
    for other in [&right, &features, &defaults] {
        other.is_for(nodes)?;
    }
    if conditions.len() != nodes {
        return Err(list.error(format!("there are {} of {nodes} nodes", conditions.len())));
    }
    let sets = sets(tree, nodes)?;
    let side = |children: &Numbers<'_>, node: usize| -> Result<Side, ImportError> {
        let child = children.numbers[node];
        match usize::try_from(child).ok().filter(|child| *child < nodes) {
            Some(child) if left.numbers[child] == -1 => Ok(Side::Leaf(child)),
            Some(child) => Ok(Side::Split(child)),
            None => Err(children.error(node, format!("is {child} and there are {nodes} nodes"))),
        }
    };
    let mut splits = vec![None; nodes];
    let mut leaves = vec![0.0; nodes];
    // Nodes that were pruned stay in the file, and may hold anything: only what is below the root is looked at.
    let mut waiting = vec![0];
    while let Some(node) = waiting.pop() {
        let condition = conditions[node];
        if left.numbers[node] == -1 {
            leaves[node] = f64::from(weight.map_or(condition, |weight| condition * weight));
            continue;
        }
        if splits[node].is_some() {
            // The builder says what is wrong with it.
            continue;
        }
        let feature = features.numbers[node];
        let Some(input) = u16::try_from(feature).ok().filter(|input| usize::from(*input) < inputs) else {
            return Err(features.error(node, format!("is {feature} and there are {inputs} inputs")));
        };
        let split = |test| -> Result<Split, ImportError> {
            let (left, right) = (side(&left, node)?, side(&right, node)?);
            Ok(Split { input, test, missing_left: defaults.numbers[node] != 0, left, right })
        };
        let made = match sets.get(&node) {
            Some(words) => {
                let test = builder
                    .set(words, false)
                    .map_err(|message| tree.error(format!("node {node}: {message}")))?;
                // In an empty set there is nothing, and all goes left.
                split(test.unwrap_or(ANYTHING))?
            }
            None if condition.is_nan() => {
                return Err(list.error(format!("the condition of node {node} is not a number")));
            }
            // Nothing is below it.
            None if condition == f32::NEG_INFINITY => split(ANYTHING)?.never(),
            None => {
                let threshold = f64::from(condition.next_down());
                split(Test::AtMost(AtMost { threshold, missing: Missing::Nan }))?
            }
        };
        for side in [made.left, made.right] {
            let (Side::Split(child) | Side::Leaf(child)) = side;
            waiting.push(child);
        }
        splits[node] = Some(made);
    }
    let root = if left.numbers[0] == -1 { Side::Leaf(0) } else { Side::Split(0) };
    builder.tree(root, &splits, &leaves).map_err(|message| tree.error(message))?;
    Ok(())
}

/// A list with a number for each node.
struct Numbers<'a> {
    at: At<'a>,
    numbers: &'a [i64],
}

impl<'a> Numbers<'a> {
    fn of(tree: &At<'a>, name: &str) -> Result<Self, ImportError> {
        let at = tree.get(name)?;
        let numbers = at.ints()?;
        Ok(Self { at, numbers })
    }

    fn is_for(&self, nodes: usize) -> Result<(), ImportError> {
        if self.numbers.len() == nodes {
            Ok(())
        } else {
            Err(self.at.error(format!("there are {} of {nodes} nodes", self.numbers.len())))
        }
    }

    fn error(&self, node: usize, message: String) -> ImportError {
        self.at.error(format!("that of node {node} {message}"))
    }
}

/// The sets of categories of a tree, by node.
fn sets(tree: &At<'_>, nodes: usize) -> Result<BTreeMap<usize, Vec<u64>>, ImportError> {
    let mut sets = BTreeMap::new();
    let Some(types) = tree.find("split_type") else { return Ok(sets) };
    let types = Numbers { numbers: types.ints()?, at: types };
    types.is_for(nodes)?;
    if types.numbers.iter().all(|kind| *kind == 0) {
        return Ok(sets);
    }
    let categories = Numbers::of(tree, "categories")?;
    let owners = Numbers::of(tree, "categories_nodes")?;
    let starts = Numbers::of(tree, "categories_segments")?;
    let sizes = Numbers::of(tree, "categories_sizes")?;
    for other in [&starts, &sizes] {
        other.is_for(owners.numbers.len())?;
    }
    // Each category of the list is of one node, so that no file makes more of them than it holds.
    let all = sizes.numbers.iter().fold(0_i64, |all, size| all.saturating_add((*size).max(0)));
    if usize::try_from(all).unwrap_or(usize::MAX) > categories.numbers.len() {
        return Err(sizes.at.error(format!("there are {all} of {} categories", categories.numbers.len())));
    }
    let mut all_words = 0;
    for ((owner, start), size) in owners.numbers.iter().zip(starts.numbers).zip(sizes.numbers) {
        let range = usize::try_from(*start).ok().zip(usize::try_from(*size).ok());
        let own = range.and_then(|(start, size)| categories.numbers.get(start..start.checked_add(size)?));
        let (Some(own), Ok(owner)) = (own, usize::try_from(*owner)) else {
            return Err(categories.at.error(format!("those of node {owner} are not there")));
        };
        if owner >= nodes {
            return Err(owners.at.error(format!("there is no node {owner}")));
        }
        let mut words = Vec::new();
        for category in own {
            let Some(category) = u32::try_from(*category).ok().filter(|category| *category < CATEGORY_MAX)
            else {
                let message = format!(
                    "{category} cannot be a category; they are numbers from 0 to {}",
                    CATEGORY_MAX - 1
                );
                return Err(categories.at.error(message));
            };
            let word = category as usize / 64;
            if words.len() <= word {
                words.resize(word + 1, 0_u64);
            }
            words[word] |= 1 << (category % 64);
        }
        all_words += words.len();
        if all_words > SET_WORDS_MAX {
            let message = format!("the sets of categories are longer than {SET_WORDS_MAX} words of 64");
            return Err(categories.at.error(message));
        }
        if sets.insert(owner, words).is_some() {
            return Err(owners.at.error(format!("node {owner} stands twice")));
        }
    }
    // A node of either kind has a set exactly if it is of that kind.
    for (node, kind) in types.numbers.iter().enumerate() {
        let is_split = *kind == 1;
        if !matches!(kind, 0 | 1) || is_split != sets.contains_key(&node) {
            return Err(types.error(node, format!("is {kind}, which does not agree with its categories")));
        }
    }
    Ok(sets)
}
