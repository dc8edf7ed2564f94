//! Imported models against the libraries that trained them, and hostile files against the importers.
//!
//! `golden/` has small models as the libraries saved them, and rows with the margins that the libraries computed
//! (`model/oracles/golden.py` writes them). Volumes: IMPORTS and ARCHIVES, how many changed files of each are tried.

use std::path::{Path, PathBuf};
use tollgate_model::archive;
use tollgate_model::import::{Format, Options, import, import_with_remarks};
use tollgate_model::kernel::Kernel;
use tollgate_model::link;
use tollgate_model::model::{
    ArchivedModel, AtMost, Body, Child, FORMAT_VERSION, Link, Missing, Model, Rounding, Sum, Test, ZERO,
};
use tollgate_model::scorer::Scorer;
use tollgate_model::walk;

/// Each golden file, and whose it is; its rows are beside it.
const GOLDEN: [(&str, Format); 24] = [
    ("lightgbm_numeric.txt", Format::LightGbm),
    ("lightgbm_categorical.txt", Format::LightGbm),
    ("lightgbm_missing_zero.txt", Format::LightGbm),
    ("lightgbm_missing_none.txt", Format::LightGbm),
    ("lightgbm_dart.txt", Format::LightGbm),
    ("lightgbm_rf.txt", Format::LightGbm),
    ("lightgbm_single_leaf.txt", Format::LightGbm),
    ("lightgbm_poisson.txt", Format::LightGbm),
    ("lightgbm_rewritten.txt", Format::LightGbm),
    ("xgboost_numeric.json", Format::XGBoost),
    ("xgboost_numeric.ubj", Format::XGBoost),
    ("xgboost_categorical.json", Format::XGBoost),
    ("xgboost_categorical.ubj", Format::XGBoost),
    ("xgboost_dart.json", Format::XGBoost),
    ("xgboost_dart.ubj", Format::XGBoost),
    ("xgboost_base_score.json", Format::XGBoost),
    ("xgboost_base_score.ubj", Format::XGBoost),
    ("xgboost_squarederror.json", Format::XGBoost),
    ("xgboost_squarederror.ubj", Format::XGBoost),
    ("xgboost_rewritten.json", Format::XGBoost),
    ("xgboost_rewritten.ubj", Format::XGBoost),
    ("linear.toml", Format::Linear),
    ("logistic.toml", Format::Linear),
    ("scorecard.toml", Format::Linear),
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(golden(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn text(name: &str) -> String {
    String::from_utf8(bytes(name)).unwrap()
}

/// Rows, with their margins.
type Known = Vec<(Vec<f64>, f64)>;

/// Names of the inputs, and rows with their margins.
fn rows(name: &str) -> (Vec<String>, Known) {
    let text = std::fs::read_to_string(golden(name).with_extension("csv")).unwrap();
    let mut lines = text.lines();
    let mut names: Vec<String> = lines.next().unwrap().split(',').map(str::to_owned).collect();
    assert_eq!(names.pop().unwrap(), "margin");
    let number = |cell: &str| if cell.is_empty() { f64::NAN } else { cell.parse().unwrap() };
    let row = |line: &str| {
        let mut numbers: Vec<f64> = line.split(',').map(number).collect();
        let margin = numbers.pop().unwrap();
        (numbers, margin)
    };
    (names, lines.map(row).collect())
}

fn with_rows(name: &str) -> Options {
    Options { golden: rows(name).1, ..Options::default() }
}

fn is_same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// The margins of rows by every kernel, which all have to be what the walk gives.
fn margins(name: &str, model: &ArchivedModel, rows: &[Vec<f64>]) -> Vec<f64> {
    let walked: Vec<f64> = rows.iter().map(|row| walk::margin(model, row)).collect();
    let flat = rows.concat();
    for kernel in Kernel::available() {
        let mut scorer = Scorer::with_kernel(model, kernel);
        let mut many = vec![0.0; rows.len()];
        scorer.margins(model, &flat, &mut many);
        for ((row, walked), many) in rows.iter().zip(&walked).zip(many) {
            let one = scorer.margin(model, row);
            let kernel = kernel.name();
            assert!(is_same(one, *walked), "{name}, {kernel}: {one:?} and not {walked:?} for {row:?}");
            assert!(is_same(many, *walked), "{name}, {kernel}: {many:?} and not {walked:?} for {row:?}");
        }
    }
    walked
}

#[test]
fn margins_are_those_of_the_libraries_to_the_last_bit() {
    for (name, format) in GOLDEN {
        let (names, known) = rows(name);
        let model =
            import(format, &bytes(name), &with_rows(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(model.inputs, names, "{name}");
        assert_eq!(model.golden.len(), known.len(), "{name}");
        assert!(model.golden.iter().all(|row| row.from_library), "{name}");
        let opened = archive::open(&archive::seal(&model)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let only_rows: Vec<Vec<f64>> = known.iter().map(|(row, _)| row.clone()).collect();
        for (margin, (row, told)) in margins(name, &opened, &only_rows).into_iter().zip(&known) {
            assert!(is_same(margin, *told), "{name}: {margin:?} and not {told:?} for {row:?}");
        }
        assert!(opened.to_model() == model, "{name}: an archive holds what was put into it");
    }
}

#[test]
fn rows_are_derived_where_none_are_given() {
    for (name, format) in GOLDEN {
        let model = import(format, &bytes(name), &Options::default()).unwrap();
        assert!(!model.golden.is_empty() && model.golden.iter().all(|row| !row.from_library), "{name}");
        let again = import(format, &bytes(name), &Options::default()).unwrap();
        assert!(model == again, "{name}: the same every time");
    }
}

#[test]
fn json_and_ubjson_are_one_model() {
    for (name, format) in GOLDEN.into_iter().filter(|(name, _)| name.ends_with(".json")) {
        let mut one = import(format, &bytes(name), &Options::default()).unwrap();
        let other = import(format, &bytes(&name.replace(".json", ".ubj")), &Options::default()).unwrap();
        assert_ne!(one.provenance.source_hash, other.provenance.source_hash);
        one.provenance.source_hash = other.provenance.source_hash;
        assert!(one == other, "{name}");
    }
}

#[test]
fn what_is_told_of_a_model_is_kept() {
    let options = Options {
        trained_from: "2018-07-25".to_owned(),
        metrics: vec![("auc".to_owned(), 0.5)],
        note: "kept".to_owned(),
        inputs: Some((0..11).map(|number| format!("input {number}")).collect()),
        ..Options::default()
    };
    let bytes = bytes("lightgbm_missing_none.txt");
    let model = import(Format::LightGbm, &bytes, &options).unwrap();
    assert_eq!(model.format, FORMAT_VERSION);
    assert_eq!(model.inputs[10], "input 10");
    assert_eq!(model.link, Link::Sigmoid(0.7));
    let provenance = model.provenance;
    assert_eq!((&*provenance.source, &*provenance.objective), ("lightgbm", "binary sigmoid:0.7"));
    assert_eq!((&*provenance.trained_from, &*provenance.trained_to), ("2018-07-25", ""));
    assert_eq!((provenance.metrics, &*provenance.note), (options.metrics, "kept"));
    assert_eq!(provenance.source_hash, *blake3::hash(&bytes).as_bytes());
    // A TOML tells this itself, unless it is told otherwise.
    let model = import(
        Format::Linear,
        text("logistic.toml").as_bytes(),
        &Options { note: String::new(), ..options_of(4) },
    );
    let provenance = model.unwrap().provenance;
    assert_eq!((&*provenance.trained_from, &*provenance.note), ("2018-07-25", "made up"));
    assert_eq!(provenance.metrics, [("auc".to_owned(), 0.875)]);
}

fn options_of(inputs: usize) -> Options {
    Options { inputs: Some((0..inputs).map(|number| format!("i{number}")).collect()), ..Options::default() }
}

#[test]
fn only_so_many_iterations_are_kept() {
    for (name, format) in [("lightgbm_rf.txt", Format::LightGbm), ("xgboost_dart.json", Format::XGBoost)] {
        let kept =
            |count| import(format, &bytes(name), &Options { trees_max: Some(count), ..Options::default() });
        let Body::Trees(trees) = kept(3).unwrap().body else { panic!("trees") };
        assert_eq!(trees.trees.len(), 3, "{name}");
        if let Sum::F64(divisor) = trees.sum {
            assert_eq!(divisor, 3.0, "{name}");
        }
        for count in [0, 9] {
            let error = kept(count).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{count} iterations are to be kept and the file has")),
                "{error}"
            );
        }
    }
    let linear =
        import(Format::Linear, &bytes("linear.toml"), &Options { trees_max: Some(1), ..Options::default() });
    assert!(linear.unwrap_err().to_string().contains("there are no trees to keep"));
}

/// As versions before 3.1 write `base_score`, and those before 2 the sides of what is missing, and white space where it may be.
#[test]
fn older_files_of_xgboost_are_the_same_model() {
    let name = "xgboost_categorical.json";
    let sides = |part: &str| {
        let (list, rest) = part.split_once(']').unwrap();
        format!("{}]{rest}", list.replace('0', "false").replace('1', "true"))
    };
    let text = text(name);
    let parts: Vec<&str> = text.split("\"default_left\":[").collect();
    assert!(parts.len() > 2);
    let older: Vec<String> = parts
        .iter()
        .enumerate()
        .map(|(at, part)| if at == 0 { part.to_string() } else { sides(part) })
        .collect();
    let older = older.join("\"default_left\" :\n [ ");
    let (before, score) = older.split_once("\"base_score\":\"[").unwrap();
    let (score, after) = score.split_once("]\"").unwrap();
    let older =
        format!("{before}\"base_score\":\"{score}\"{after}").replacen("{\"learner\"", "{\n\t\"learner\"", 1);
    let mut model = import(Format::XGBoost, older.as_bytes(), &with_rows(name)).unwrap();
    let newer = import(Format::XGBoost, text.as_bytes(), &with_rows(name)).unwrap();
    model.provenance.source_hash = newer.provenance.source_hash;
    assert!(model == newer);
}

#[test]
fn a_best_iteration_is_remarked() {
    let name = "xgboost_numeric.json";
    let text = text(name).replace("\"attributes\":{}", "\"attributes\":{\"best_iteration\":\"3\"}");
    let remarks = |trees_max| {
        let options = Options { trees_max, ..Options::default() };
        import_with_remarks(Format::XGBoost, text.as_bytes(), &options).unwrap().remarks
    };
    assert_eq!(remarks(None).len(), 1);
    assert!(remarks(None)[0].contains("the best was 3: with 4 iterations"), "{:?}", remarks(None));
    assert!(remarks(Some(4)).is_empty());
}

/// The C library that the golden margins come from does not round this logarithm to the nearest f32.
#[test]
fn golden_rows_tell_which_logarithm_it_was() {
    for name in ["xgboost_base_score.json", "xgboost_base_score.ubj"] {
        let first = |options: &Options| match import(Format::XGBoost, &bytes(name), options).unwrap().body {
            Body::Trees(trees) => match trees.sum {
                Sum::F32(first, last) => {
                    assert_eq!(last.to_bits(), (-0.0_f32).to_bits());
                    first
                }
                Sum::F64(_) => panic!("XGBoost adds in f32"),
            },
            Body::Linear(_) => panic!("trees"),
        };
        let (nearest, told) = (first(&Options::default()), first(&with_rows(name)));
        assert_eq!(nearest.to_bits().abs_diff(told.to_bits()), 1, "{nearest:?} and {told:?}");
    }
}

#[test]
fn golden_rows_that_are_not_the_models_are_refused() {
    let refused = |name: &str, format, change: &dyn Fn(&mut Known)| {
        let mut options = with_rows(name);
        change(&mut options.golden);
        import(format, &bytes(name), &options).unwrap_err().to_string()
    };
    for (name, format) in GOLDEN.into_iter().filter(|(name, _)| *name != "scorecard.toml") {
        let error = refused(name, format, &|rows| {
            let margin = &mut rows[7].1;
            let is_f32 = format == Format::XGBoost;
            *margin = if is_f32 { f64::from((*margin as f32).next_up()) } else { margin.next_up() };
            if margin.is_nan() {
                *margin = 0.0;
            }
        });
        // Of the logarithm that is not the nearest, rows before it are wrong as well.
        let row =
            if name.contains("base_score") { "golden row " } else { "golden row 8: its margin should be " };
        assert!(error.starts_with(row), "{name}: {error}");
    }
    let rf = refused("lightgbm_rf.txt", Format::LightGbm, &|rows| {
        rows.iter_mut().for_each(|(_, margin)| *margin *= 8.0);
    });
    assert!(rf.contains("divide LightGBM's raw_score by 8"), "{rf}");
    let short = refused("linear.toml", Format::Linear, &|rows| {
        rows[0].0.pop();
    });
    assert_eq!(short, "golden row 1: it has 3 values for 4 inputs");
}

/// What a file becomes when one text in it is changed.
fn changed(name: &str, format: Format, from: &str, to: &str) -> String {
    let text = text(name);
    assert!(text.contains(from), "{name} has no {from}");
    match import(format, text.replacen(from, to, 1).as_bytes(), &Options::default()) {
        Ok(_) => "imported".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_lightgbm_means_and_is_not_imported_is_refused_by_name() {
    for (from, to, message) in [
        ("tree\n", "trees\n", "line 1: LightGBM's models begin with a line `tree`"),
        ("version=v4", "version=v2", "line 2: version `v2`: v3 and v4 are read"),
        ("num_class=1", "num_class=3", "line 3: num_class is `3`: multiclass models are not imported"),
        (
            "num_tree_per_iteration=1",
            "num_tree_per_iteration=3",
            "line 4: num_tree_per_iteration is `3`: multiclass",
        ),
        (
            "objective=binary sigmoid:1",
            "objective=multiclass num_class:3",
            "the objective `multiclass num_class:3` is not",
        ),
        ("objective=binary sigmoid:1", "objective=lambdarank", "the objective `lambdarank` is not imported"),
        (
            "objective=binary sigmoid:1",
            "objective=regression sqrt",
            "the objective `regression sqrt` is not imported",
        ),
        (
            "objective=binary sigmoid:1",
            "objective=binary sigmoid:-1",
            "`sigmoid:-1` has to be a number above 0",
        ),
        ("objective=binary sigmoid:1\n", "", "no objective is told"),
        ("objective=binary sigmoid:1", "objective=cross_entropy", "imported"),
        ("is_linear=0", "is_linear=1", "tree 0 has linear models in its leaves (linear_tree)"),
        ("max_feature_idx=10", "max_feature_idx=11", "there are 11 names of inputs for max_feature_idx=11"),
        ("Column_1 ", "Column_0 ", "two inputs are called \"Column_0\""),
        ("Tree=1\n", "Tree=2\n", "tree 1 has to be next, and not `2`"),
        ("Tree=11\n", "", "tree 10 has `num_leaves` twice"),
        ("end of trees", "", "the file ends before `end of trees`: it is cut short"),
        ("tree_sizes=", "tree_sizes=1 ", "sizes of 13 trees are told and 12 are there"),
        ("num_leaves=15", "num_leaves=14", "leaf_value of tree 0 has 15 numbers; there have to be 14"),
        ("num_leaves=15", "num_leaves=0", "tree 0 has 0 leaves; there can be 1 to 8388608"),
        ("num_leaves=15", "num_leaves=99999999", "tree 0 has 99999999 leaves; there can be 1 to"),
        ("num_leaves=15", "num_leaves=-1", "num_leaves of tree 0 cannot be `-1`"),
        (
            "split_feature=",
            "split_feature=11 ",
            "split_feature of tree 0 has 15 numbers; there have to be 14",
        ),
        ("threshold=", "threshold=x", "threshold[0] of tree 0 cannot be `x"),
        ("left_child=1 ", "left_child=0 ", "tree 0: node 0 is below two nodes, or below itself"),
        ("left_child=1 ", "left_child=99 ", "tree 0: node 99 is not there"),
        ("left_child=1 ", "left_child=-99 ", "tree 0: leaf 98 is not there"),
        ("left_child=1 ", "left_child=-1 ", "tree 0: not all of its nodes are below its root"),
        ("leaf_value=", "leaf_value=inf ", "leaf_value of tree 0 has 16 numbers"),
    ] {
        let said = changed("lightgbm_numeric.txt", Format::LightGbm, from, to);
        assert!(said.contains(message), "{from:?} to {to:?}: {said}");
    }
    for (from, to, message) in [
        ("cat_boundaries=0 ", "cat_boundaries=1 ", "cat_boundaries of tree 0 do not ascend from 0"),
        ("num_cat=", "num_cat=1", "num_cat of tree 0 is "),
        ("cat_threshold=", "cat_threshold=1 ", "cat_threshold of tree 0 has "),
    ] {
        let said = changed("lightgbm_categorical.txt", Format::LightGbm, from, to);
        assert!(said.contains(message), "{from:?} to {to:?}: {said}");
    }
}

#[test]
fn what_xgboost_means_and_is_not_imported_is_refused_by_name() {
    for (from, to, message) in [
        (
            "\"num_class\":\"0\"",
            "\"num_class\":\"3\"",
            "learner.learner_model_param.num_class: multiclass models",
        ),
        (
            "\"num_target\":\"1\"",
            "\"num_target\":\"2\"",
            "learner.learner_model_param.num_target: models of several",
        ),
        ("\"name\":\"gbtree\"", "\"name\":\"gblinear\"", "gradient_booster.name: linear boosters (gblinear)"),
        ("\"name\":\"gbtree\"", "\"name\":\"forest\"", "the booster `forest` is not imported"),
        (
            "binary:logistic",
            "multi:softprob",
            "learner.objective.name: the objective `multi:softprob` is not imported",
        ),
        ("binary:logistic", "rank:pairwise", "the objective `rank:pairwise` is not imported"),
        ("binary:logistic", "binary:hinge", "the objective `binary:hinge` is not imported"),
        (
            "\"size_leaf_vector\":\"1\"",
            "\"size_leaf_vector\":\"3\"",
            "trees[0].tree_param.size_leaf_vector: trees with several",
        ),
        ("\"tree_info\":[0", "\"tree_info\":[1", "trees of several classes are not imported"),
        ("\"base_score\":\"[", "\"base_score\":\"[5E-1,", "it has to be one number and is `[5E-1,"),
        ("\"base_score\":\"[", "\"base_score\":\"[-", "has no margin that is finite"),
        ("\"num_trees\":\"8\"", "\"num_trees\":\"9\"", "8 trees are there; the file is cut short or changed"),
        (
            "\"num_class\":\"0\",\"num_feature\":\"10\"",
            "\"num_class\":\"0\",\"num_feature\":\"9\"",
            "learner.feature_names: there are 10 names for 9 inputs",
        ),
        (
            "\"num_class\":\"0\",\"num_feature\":\"10\"",
            "\"num_class\":\"0\",\"num_feature\":\"0\"",
            "there are 0 inputs; there can be 1 to 4096",
        ),
        (
            "\"left_children\":[1,",
            "\"left_children\":[0,",
            "trees[0]: node 0 is below two nodes, or below itself",
        ),
        (
            "\"left_children\":[1,",
            "\"left_children\":[999,",
            "trees[0].left_children: that of node 0 is 999 and there are",
        ),
        (
            "\"left_children\":[1,",
            "\"left_children\":[1.5,",
            "trees[0].left_children: it has to be a list of whole numbers",
        ),
        (
            "\"left_children\":[1,",
            "\"left_children\":[1,1,",
            "trees[0].tree_param.num_nodes: there are left children of",
        ),
        ("\"split_indices\":[", "\"split_indices\":[77,", "trees[0].split_indices: there are "),
        (
            "\"split_type\":[0",
            "\"split_type\":[1",
            "trees[0].split_type: that of node 0 is 1, which does not agree",
        ),
        ("{\"learner\"", "[\"learner\"", "byte 0: XGBoost's models begin with `{`"),
        ("{\"learner\"", "{ \"lerner\"", "the model: there has to be a map with `learner`"),
        ("{\"learner\"", "{\"learner\"}", "line 1, byte 11: a colon has to be here"),
    ] {
        let said = changed("xgboost_numeric.json", Format::XGBoost, from, to);
        assert!(said.contains(message), "{from:?} to {to:?}: {said}");
    }
    let said =
        changed("xgboost_categorical.json", Format::XGBoost, "\"categories\":[", "\"categories\":[65536,");
    assert!(said.contains("65536 cannot be a category"), "{said}");
    // More than the list holds: sets could otherwise share categories, and a small file come to gigabytes.
    let said = changed(
        "xgboost_categorical.json",
        Format::XGBoost,
        "\"categories_sizes\":[",
        "\"categories_sizes\":[9",
    );
    assert!(said.contains("of 196 categories") || said.contains("of 63 categories"), "{said}");
    let said = changed(
        "xgboost_categorical.json",
        Format::XGBoost,
        "\"categories_nodes\":[",
        "\"categories_nodes\":[9",
    );
    assert!(said.contains("there is no node 9"), "{said}");
    for (nested, message) in [
        ("{\"a\":".to_owned() + &"[".repeat(100_000), "lie more than 32 deep in each other"),
        ("{\"a\":1} x".to_owned(), "something follows the model"),
        ("{\"a\":1,\"a\":2}".to_owned(), "the name `a` stands twice"),
        ("{\"a\":[1,null]}".to_owned(), "a list has numbers and other things"),
        ("{\"a\":\"\\ud800\"}".to_owned(), "an escape is no character"),
    ] {
        let said = import(Format::XGBoost, nested.as_bytes(), &Options::default()).unwrap_err().to_string();
        assert!(said.contains(message), "{said}");
    }
    for (binary, message) in [
        (b"{i\x01a[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff".to_vec(), "which is more than the file holds"),
        (b"{i\x01a[#L\x7f\xff\xff\xff\xff\xff\xff\xff".to_vec(), "which is more than the file holds"),
        (b"{i\x01aSl\x7f\xff\xff\xff".to_vec(), "which is more than the file holds"),
        (b"{i\x01a[$Z#l\x7f\xff\xff\xff".to_vec(), "lists of the type Z are not read"),
        ([b"{i\x01a".as_slice(), &b"[".repeat(100_000)].concat(), "lie more than 32 deep in each other"),
        (b"{i\x01a[#i\xff".to_vec(), "a count is -1"),
        (b"{i\x01ai\x05}}".to_vec(), "something follows the model"),
        (b"{i\x01ai".to_vec(), "it is cut short"),
    ] {
        let said = import(Format::XGBoost, &binary, &Options::default()).unwrap_err().to_string();
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn what_is_wrong_in_a_toml_is_told() {
    for (name, from, to, message) in [
        ("logistic.toml", "kind = \"logistic\"", "kind = \"softmax\"", "line 1: unknown variant `softmax`"),
        ("logistic.toml", "intercept", "bias", "line 2: unknown field `bias`"),
        ("logistic.toml", "note = ", "link = \"exp\"\nnote = ", "link: that of a logistic model is sigmoid"),
        ("logistic.toml", "weight = ", "weigth = ", "unknown field `weigth`"),
        (
            "logistic.toml",
            "weight = ",
            "weight = inf #",
            "input[0].weight: of `amount`: inf is not a finite number",
        ),
        (
            "logistic.toml",
            "scale = ",
            "scale = 0.0 #",
            "input[0].scale: of `amount`: it is divided by, and cannot be 0",
        ),
        ("logistic.toml", "\"age\"", "\"amount\"", "two inputs are called \"amount\""),
        (
            "linear.toml",
            "kind = \"linear\"",
            "kind = \"scorecard\"",
            "input[0].bins: of `amount`: each input of a scorecard",
        ),
        (
            "scorecard.toml",
            "below = 10.0",
            "below = -1.0",
            "input[0].bins: of `amount`: bin 1 is below -1; bounds have to",
        ),
        (
            "scorecard.toml",
            "{ points = 0.7 }",
            "{ below = 99, points = 0.7 }",
            "the last holds all that is in no other",
        ),
        ("scorecard.toml", "{ below = 10.0, ", "{ ", "bin 1 has no `below`, which only the last may lack"),
        (
            "scorecard.toml",
            "weight = -0.7\n",
            "",
            "input[1].weight: of `age`: bin 0 has a `woe`: the input needs a weight",
        ),
        (
            "scorecard.toml",
            "missing = 0.05",
            "weight = 2.0",
            "input[0].bins: of `amount`: bin 0 has points: the input",
        ),
        ("scorecard.toml", "missing = 0.05", "mean = 2.0", "an input with bins has neither mean nor scale"),
        ("scorecard.toml", "points = -0.3", "points = nan", "the points of bin 0 are not finite"),
        ("scorecard.toml", "link = \"sigmoid\"", "link = \"probit\"", "line 2: unknown variant `probit`"),
    ] {
        let said = changed(name, Format::Linear, from, to);
        assert!(said.contains(message), "{from:?} to {to:?}: {said}");
    }
    let said = import(Format::Linear, b"kind = \"linear\"", &Options::default()).unwrap_err().to_string();
    assert_eq!(said, "input: there are 0 tables [[input]]; there can be 1 to 4096");
}

/// A LightGBM model of one node.
fn stump(threshold: &str, decision: u8, sets: &str) -> Model {
    let text = format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nobjective=regression\nfeature_names=x\n\n\
         Tree=0\nnum_leaves=2\nsplit_feature=0\nthreshold={threshold}\ndecision_type={decision}\nleft_child=-1\n\
         right_child=-2\nleaf_value=1 2\n{sets}\n\nend of trees\n"
    );
    import(Format::LightGbm, text.as_bytes(), &Options::default()).unwrap()
}

/// The library takes what is within 1e-35 of 0 for 0 before it looks at any node.
#[test]
fn what_is_near_zero_is_zero_to_lightgbm() {
    let tiny = 5e-324;
    let numbers = [-1.0, (-ZERO).next_down(), -ZERO, -tiny, -0.0, 0.0, tiny, ZERO, ZERO.next_up(), 1.0];
    for (threshold, left) in [
        ("-1.0000000180025095e-35", 2),
        ("-1e-36", 2),
        ("-4.9406564584124654e-324", 2),
        ("-0", 8),
        ("0", 8),
        ("4.9406564584124654e-324", 8),
        ("1.0000000180025095e-35", 8),
        ("1.0000000180025097e-35", 9),
        ("-1.0000000180025096e-35", 2),
        ("-1.0000000180025097e-35", 1),
        ("inf", 10),
        ("-inf", 0),
    ] {
        let model = stump(threshold, 0, "");
        let archived = archive::archived(&model);
        let rows: Vec<Vec<f64>> = numbers.iter().map(|number| vec![*number]).collect();
        let went: Vec<f64> = margins(threshold, &archived, &rows);
        let expected: Vec<f64> = (0..numbers.len()).map(|at| if at < left { 1.0 } else { 2.0 }).collect();
        assert_eq!(went, expected, "{threshold}");
    }
    let Body::Trees(trees) = stump("0.5", 8, "").body else { panic!("trees") };
    assert_eq!(trees.rounding, Rounding::F64);
    assert_eq!(trees.nodes[0].test, Test::AtMost(AtMost { threshold: 0.5, missing: Missing::Nan }));
    assert_eq!((trees.nodes[0].left, trees.nodes[0].right), (Child::Leaf(0), Child::Leaf(1)));
}

#[test]
fn an_empty_set_sends_everything_right() {
    let model = stump("0", 1, "num_cat=1\ncat_boundaries=0 2\ncat_threshold=0 0");
    let archived = archive::archived(&model);
    let rows: Vec<Vec<f64>> = [f64::NAN, 0.0, 5.0, -1.0, f64::INFINITY].iter().map(|x| vec![*x]).collect();
    assert_eq!(margins("an empty set", &archived, &rows), [2.0; 5]);
    let model = stump("0", 3, "num_cat=1\ncat_boundaries=0 2\ncat_threshold=33 0");
    let archived = archive::archived(&model);
    assert_eq!(margins("a set of 0 and 5", &archived, &rows), [2.0, 1.0, 1.0, 2.0, 2.0]);
}

#[test]
fn predictions_are_what_the_link_makes_of_margins() {
    let told = |name: &str, format| {
        let model = import(format, &bytes(name), &Options::default()).unwrap();
        link::told(&archive::archived(&model), 0.25)
    };
    assert_eq!(told("linear.toml", Format::Linear), 0.25);
    assert_eq!(told("scorecard.toml", Format::Linear), 1.0 / (1.0 + libm::exp(-0.25)));
    assert_eq!(told("lightgbm_missing_none.txt", Format::LightGbm), 1.0 / (1.0 + libm::exp(-0.7 * 0.25)));
    assert_eq!(told("lightgbm_poisson.txt", Format::LightGbm), libm::exp(0.25));
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }
}

fn volume(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Numbers that are out of every bound, or nearly.
const HOSTILE: [&str; 16] = [
    "0",
    "-1",
    "1",
    "-0",
    "255",
    "65536",
    "2147483648",
    "-2147483649",
    "9999999999",
    "99999999999999999999",
    "1e999",
    "nan",
    "inf",
    "-inf",
    "1e-400",
    "",
];

/// The file with something about it changed.
fn mutated(random: &mut Random, original: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            2 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            3 => {
                // A line, or a stretch of what has none, is lost or stands twice.
                let end = bytes[at..]
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(bytes.len(), |end| at + end + 1);
                let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(at, |start| start + 1);
                let line = bytes[start..end.min(start + 400)].to_vec();
                if random.below(2) == 0 {
                    bytes.drain(start..end);
                } else {
                    bytes.splice(start..start, line);
                }
            }
            4..=6 => {
                // A number of text becomes another.
                let is_digit = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
                let Some(start) = bytes[at..].iter().position(is_digit).map(|start| at + start) else {
                    continue;
                };
                let end = bytes[start..]
                    .iter()
                    .position(|byte| !is_digit(byte))
                    .map_or(bytes.len(), |end| start + end);
                bytes.splice(start..end, HOSTILE[random.below(HOSTILE.len())].bytes());
            }
            _ => {
                // Bytes of a binary count or number.
                let end = (at + 1 + random.below(8)).min(bytes.len());
                let fill = [0, 0xff, 0x7f, random.next() as u8][random.below(4)];
                bytes[at..end].fill(fill);
            }
        }
    }
    bytes
}

/// Rows of any numbers for a model.
fn any_rows(random: &mut Random, model: &ArchivedModel) -> Vec<Vec<f64>> {
    let number = |random: &mut Random| match random.below(6) {
        0 => f64::NAN,
        1 => f64::from_bits(random.next()),
        2 => [f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, ZERO, -ZERO][random.below(6)],
        _ => random.below(400) as f64 / 4.0 - 20.0,
    };
    (0..5).map(|_| (0..model.inputs.len()).map(|_| number(random)).collect()).collect()
}

/// Whatever is done to a file: it is refused, or there is a model that is sound and that all kernels score alike.
#[test]
fn changed_files_are_refused_or_harmless() {
    let mut random = Random(0x0005_eed0_f1e5);
    let (mut imported, mut refused) = (0_usize, 0_usize);
    for (name, format) in GOLDEN {
        let original = bytes(name);
        for _ in 0..volume("IMPORTS", 2_000) {
            let bytes = mutated(&mut random, &original);
            let Ok(model) = import(format, &bytes, &Options::default()) else {
                refused += 1;
                continue;
            };
            imported += 1;
            let opened = archive::open(&archive::seal(&model)).expect("what is imported is valid");
            let rows = any_rows(&mut random, &opened);
            margins(name, &opened, &rows);
        }
    }
    println!("changed files: {imported} imported, {refused} refused");
    assert!(imported > 0 && refused > 0);
}

/// Whatever bytes lie behind a good header: they are refused, or all kernels score them alike.
#[test]
fn changed_archives_are_refused_or_harmless() {
    let mut random = Random(0x00a4_c417_e500);
    let (mut opened, mut refused) = (0_usize, 0_usize);
    for (name, format) in GOLDEN.into_iter().filter(|(name, _)| !name.ends_with(".ubj")) {
        let sealed = archive::seal(&import(format, &bytes(name), &Options::default()).unwrap());
        for _ in 0..volume("ARCHIVES", 1_500) {
            let mut changed = sealed.clone();
            for _ in 0..=random.below(3) {
                let at = 64 + random.below(changed.len() - 64);
                match random.below(4) {
                    0 => changed[at] = random.next() as u8,
                    1 => changed[at] ^= 1 << random.below(8),
                    2 => changed.truncate(at),
                    _ => {
                        let at = at / 4 * 4;
                        let end = (at + 4).min(changed.len());
                        let word = [0_u32, 1, u32::MAX, 1 << 31, random.next() as u32][random.below(5)];
                        changed[at..end].copy_from_slice(&word.to_le_bytes()[..end - at]);
                    }
                }
                if changed.len() == 64 {
                    break;
                }
            }
            let length = (changed.len() - 64) as u64;
            changed[16..24].copy_from_slice(&length.to_le_bytes());
            let hash = blake3::hash(&changed[64..]);
            changed[24..56].copy_from_slice(hash.as_bytes());
            let Ok(model) = archive::open(&changed) else {
                refused += 1;
                continue;
            };
            opened += 1;
            let rows = any_rows(&mut random, &model);
            margins(name, &model, &rows);
        }
    }
    println!("changed archives: {opened} opened, {refused} refused");
    assert!(opened > 0 && refused > 0);
}
