"""LightGBM's margins against tollctl's, bit for bit. Arguments: the binary, and a folder for files."""

import sys
import time

import lightgbm
import numpy as np

import rows as oracle

INPUTS = 20


def data(rng, count, categorical=False, missing=True, zeros=0.2):
    x = rng.normal(size=(count, INPUTS)) * np.exp(rng.normal(size=INPUTS) * 3)
    x[:, 1] = np.round(x[:, 1])
    x[:, 2] = rng.integers(0, 3, count)
    x[rng.random(x.shape) < zeros] = 0.0
    x[rng.random(count) < 0.02, 3] = np.inf
    x[rng.random(count) < 0.02, 4] = -np.inf
    x[:, 5] = rng.exponential(1e-35, count)
    if categorical:
        x[:, 6] = rng.integers(0, 12, count)
        x[:, 7] = rng.integers(0, 300, count)
        x[:, 8] = rng.integers(0, 40, count) * 7
    if missing:
        x[rng.random(x.shape) < 0.1] = np.nan
    y = np.nan_to_num(x[:, 0]) / np.nanstd(x[:, 0]) + np.nan_to_num(x[:, 2]) + (np.nan_to_num(x[:, 7]) % 3 == 0)
    y = y + 0.3 * np.isnan(x[:, 9]) + np.sin(np.nan_to_num(x[:, 10]) / np.nanstd(x[:, 10])) + rng.normal(size=count)
    return x, (y > np.median(y)).astype(float)


def candidates(booster, categorical):
    """For each input what its answers change at, and what is easily taken for something else."""
    found = [list(oracle.EDGES) + [np.nan, np.inf, -np.inf, 1e300, -1e300] for _ in range(INPUTS)]
    thresholds = [[] for _ in range(INPUTS)]

    def visit(node):
        waiting = [node]
        while waiting:
            node = waiting.pop()
            if "split_feature" not in node:
                continue
            if node["decision_type"] == "<=":
                thresholds[node["split_feature"]].append(float(node["threshold"]))
            waiting += [node["left_child"], node["right_child"]]

    for tree in booster.dump_model()["tree_info"]:
        visit(tree["tree_structure"])
    for column, values in zip(found, thresholds):
        column += oracle.beside(values, np.float64).tolist()
    for input_ in categorical:
        found[input_] += oracle.CATEGORIES + [c + f for c in range(-2, 320) for f in (0.0, 0.5)]
    return [np.array(column) for column in found]


def leaf_order(booster):
    """For each tree, which of its leaves from left to right has each of the library's numbers."""
    orders = []
    for tree in booster.dump_model()["tree_info"]:
        order, waiting = {}, [tree["tree_structure"]]
        while waiting:
            node = waiting.pop()
            if "left_child" in node:
                waiting += [node["right_child"], node["left_child"]]
            else:
                order[node.get("leaf_index", 0)] = len(order)
        orders.append(np.array([order[leaf] for leaf in range(len(order))]))
    return orders


def rewritten(rng, text):
    """The same trees with thresholds that training hardly finds, and every way to treat what is missing."""
    edges = oracle.EDGES + [np.inf, -np.inf, 1.7976931348623157e308]

    def change(line):
        key, _, value = line.partition("=")
        words = value.split(" ")
        if key == "threshold" and value:
            words = [f"{edges[rng.integers(len(edges))]:.17g}" if rng.random() < 0.5 else word for word in words]
        elif key == "decision_type" and value:
            words = [str(rng.choice([0, 2, 4, 6, 8, 10])) for word in words]
        else:
            return line
        return key + "=" + " ".join(words)

    return "\n".join(change(line) for line in text.split("\n"))


def main(binary, folder):
    tollctl = oracle.Tollctl(binary, folder)
    rng = np.random.default_rng(20260105)
    base = dict(objective="binary", verbose=-1, num_threads=1, seed=7, deterministic=True, min_data_in_leaf=5)
    base |= dict(learning_rate=0.1, max_bin=255)
    rf = dict(boosting="rf", bagging_freq=1, bagging_fraction=0.5, feature_fraction=0.5)
    small = dict(num_leaves=31)
    # Name, parameters, trees, rows of training, categorical inputs, whether anything is missing in training.
    cases = [
        ("numeric-100x31", small, 100, 8_000, [], True),
        ("numeric-500x63", dict(num_leaves=63), 500, 6_000, [], True),
        ("numeric-1000x255", dict(num_leaves=255, min_data_in_leaf=2), 1000, 3_000, [], True),
        ("categorical", small | dict(min_data_per_group=5, cat_smooth=1.0), 100, 8_000, [6, 7, 8], True),
        ("categorical-one-hot", small | dict(max_cat_to_onehot=400), 60, 4_000, [6, 7, 8], False),
        ("missing-none", small | dict(use_missing=False), 100, 6_000, [], True),
        ("missing-none-by-data", small, 60, 6_000, [], False),
        ("missing-zero", small | dict(zero_as_missing=True), 100, 6_000, [], True),
        ("missing-zero-categorical", small | dict(zero_as_missing=True), 60, 6_000, [6, 7, 8], True),
        ("dart", small | dict(boosting="dart", drop_rate=0.2), 100, 6_000, [6], True),
        ("rf", small | rf, 100, 6_000, [6], True),
        ("goss", small | dict(data_sample_strategy="goss"), 60, 6_000, [], True),
        ("single-leaf", dict(num_leaves=4, min_data_in_leaf=5_000), 3, 6_000, [], True),
        ("large-leaves", dict(num_leaves=1500, min_data_in_leaf=1), 20, 6_000, [7], True),
        ("list-like", dict(num_leaves=400, min_data_in_leaf=1, max_depth=-1, max_bin=4), 20, 6_000, [], True),
        ("rewritten", small, 100, 4_000, [], True),
        ("sigmoid", small | dict(sigmoid=0.7), 60, 6_000, [], True),
        ("scale-pos-weight", small | dict(scale_pos_weight=9.0, boost_from_average=False), 60, 6_000, [], True),
    ]
    objectives = "regression regression_l1 huber fair quantile mape poisson gamma tweedie cross_entropy"
    cases += [(f"objective-{o}", small | dict(objective=o), 10, 2_000, [6], True) for o in objectives.split()]
    for name, parameters, trees, count, categorical, missing in cases:
        start = time.monotonic()
        x, y = data(rng, count, bool(categorical), missing)
        if parameters.get("objective") in ("gamma", "poisson", "tweedie", "mape"):
            y = y + 0.5
        dataset = lightgbm.Dataset(x, label=y, categorical_feature=categorical)
        booster = lightgbm.train(base | parameters, dataset, trees)
        source = tollctl.folder / f"{name}.txt"
        booster.save_model(source)
        if name == "rewritten":
            # Sizes of trees are told in the header, and no longer right; the library does without.
            lines = rewritten(rng, source.read_text()).split("\n")
            source.write_text("\n".join(line for line in lines if not line.startswith("tree_sizes")))
        booster = lightgbm.Booster(model_file=source)
        table = oracle.adversarial(rng, x, candidates(booster, categorical))
        margins = booster.predict(table, raw_score=True)
        if parameters.get("boosting") == "rf":
            # What the library makes probabilities of.
            margins = margins / booster.num_trees()
        leaves = booster.predict(table, pred_leaf=True) if trees <= 100 and name != "large-leaves" else None
        if leaves is not None:
            order = leaf_order(booster)
            leaves = np.stack([order[tree][leaves[:, tree]] for tree in range(leaves.shape[1])], axis=1)
        names = booster.feature_name()
        tollctl.check(name, source, "lightgbm", names, table, margins, booster.predict(table), leaves=leaves)
        # The first half of the iterations.
        if name in ("numeric-100x31", "dart", "rf"):
            half = booster.num_trees() // 2
            margins = booster.predict(table, raw_score=True, num_iteration=half)
            margins = margins / half if parameters.get("boosting") == "rf" else margins
            tollctl.check(f"{name}-half", source, "lightgbm", names, table, margins, None, "--trees", half)
        print(f"  {time.monotonic() - start:.1f} s", flush=True)
    return tollctl.failures


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1], sys.argv[2]) else 0)
