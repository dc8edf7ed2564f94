"""XGBoost's margins and leaves against tollctl's, bit for bit. Arguments: the binary, and a folder for files."""

import json
import sys
import time

import numpy as np
import xgboost

import rows as oracle

INPUTS = 12
CATEGORICAL = [6, 7]


def data(rng, count, categorical):
    x = (rng.normal(size=(count, INPUTS)) * np.exp(rng.normal(size=INPUTS) * 3)).astype(np.float32)
    x[:, 1] = np.round(x[:, 1])
    x[:, 2] = rng.integers(0, 3, count)
    x[:, 3] = rng.exponential(1e-38, count)
    x[:, 4] = rng.normal(size=count) * np.float32(1e-44)
    if categorical:
        x[:, 6] = rng.integers(0, 5, count)
        x[:, 7] = rng.integers(0, 200, count)
    zero = rng.random(x.shape) < 0.1
    x[zero] = 0.0
    x[rng.random(x.shape) < 0.1] = np.nan
    y = np.nan_to_num(x[:, 0]) / np.nanstd(x[:, 0]) + np.nan_to_num(x[:, 2]) + (np.nan_to_num(x[:, 7]) % 3 == 0)
    y = y + 0.3 * np.isnan(x[:, 9]) + np.nan_to_num(x[:, 4]).astype(float) * 1e44 + rng.normal(size=count)
    return x, (y > np.median(y)).astype(float)


def trees_of(file):
    booster = json.loads(file.read_text())["learner"]["gradient_booster"]
    return (booster["gbtree"] if "gbtree" in booster else booster)["model"]["trees"]


def candidates(trees, categorical):
    found = [list(oracle.EDGES) + [np.nan, 3e38, -3e38] for _ in range(INPUTS)]
    thresholds = [[] for _ in range(INPUTS)]
    for tree in trees:
        for node, left in enumerate(tree["left_children"]):
            if left != -1 and tree["split_type"][node] == 0:
                thresholds[tree["split_indices"][node]].append(tree["split_conditions"][node])
    for column, values in zip(found, thresholds):
        column += oracle.beside(values, np.float32).tolist()
        # Numbers between two f32, which are rounded first.
        column += oracle.beside(values, np.float64).tolist()
    for input_ in CATEGORICAL if categorical else []:
        found[input_] += [c for c in oracle.CATEGORIES if abs(c) < 3e38]
        found[input_] += [c + f for c in range(-2, 260) for f in (0.0, 0.5)]
    # DMatrix refuses what is infinite as an f32.
    return [np.array([x for x in column if not abs(x) >= 3.4028235677973366e38]) for column in found]


def leaf_order(tree):
    order, waiting = np.full(len(tree["left_children"]), -1), [0]
    count = 0
    while waiting:
        node = waiting.pop()
        if tree["left_children"][node] == -1:
            order[node] = count
            count += 1
        else:
            waiting += [tree["right_children"][node], tree["left_children"][node]]
    return order


def is_same(tollctl, one, other):
    """Whether two models are the same but for the hash of where they came from."""

    def body(model):
        source = json.loads(tollctl.must("model", "show", model, "--json"))["source_hash"]
        return model.read_bytes()[64:].replace(bytes.fromhex(source), bytes(32))

    return body(one) == body(other)


def rewritten(rng, booster):
    """The same trees with thresholds that training hardly finds, each default, and base scores beside what is trained."""
    edges = [0.0, -0.0, 1e-45, -1e-45, 1e-40, -1e-40, 1.1754944e-38, -1.1754944e-38, 3.4028235e38, -3.4028235e38]
    model = json.loads(bytes(booster.save_raw("json")))
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        for node, left in enumerate(tree["left_children"]):
            if left != -1 and rng.random() < 0.5:
                tree["split_conditions"][node] = edges[rng.integers(len(edges))]
                tree["default_left"][node] = int(rng.integers(2))
    return xgboost.Booster(model_file=bytearray(json.dumps(model).encode()))


def main(binary, folder):
    tollctl = oracle.Tollctl(binary, folder)
    rng = np.random.default_rng(20260106)
    base = dict(objective="binary:logistic", nthread=1, seed=7, max_depth=5, eta=0.2, tree_method="hist")
    dart = dict(booster="dart", rate_drop=0.3)
    # Name, parameters, trees, whether there are categories.
    cases = [
        ("hist", {}, 100, False),
        ("exact", dict(tree_method="exact", gamma=0.5), 60, False),
        ("approx", dict(tree_method="approx"), 40, False),
        ("deep", dict(max_depth=12, min_child_weight=0), 60, False),
        ("lossguide", dict(grow_policy="lossguide", max_leaves=255, max_depth=0), 200, False),
        ("stumps", dict(max_depth=1), 100, False),
        ("categorical", {}, 60, True),
        ("categorical-one-hot", dict(max_cat_to_onehot=1000), 60, True),
        ("dart", dart, 60, True),
        ("forest", dict(num_parallel_tree=5, subsample=0.5), 10, False),
        ("leaf-only", dict(gamma=1e9), 5, False),
        ("rewritten", {}, 100, False),
        ("logitraw", dict(objective="binary:logitraw"), 20, False),
    ]
    regression = "squarederror squaredlogerror logistic absoluteerror pseudohubererror gamma tweedie".split()
    cases += [(o, dict(objective=f"reg:{o}"), 10, False) for o in regression]
    cases += [("poisson", dict(objective="count:poisson"), 10, False)]
    cases += [(f"base-{score}", dict(base_score=score), 10, False) for score in (0.5, 0.001, 0.3, 0.9999, 1e-6)]
    cases += [(f"base-squares-{score}", dict(base_score=score, objective="reg:squarederror"), 10, False) for score in (-0.0, 1e-40, 12345.678)]
    for name, parameters, trees, categorical in cases:
        start = time.monotonic()
        x, y = data(rng, 6_000 if trees >= 40 else 2_000, categorical)
        if parameters.get("objective") in ("reg:gamma", "reg:tweedie", "count:poisson"):
            y = y + 0.5
        types = ["c" if categorical and input_ in CATEGORICAL else "q" for input_ in range(INPUTS)]
        matrix = lambda table: xgboost.DMatrix(table, feature_types=types, enable_categorical=True)
        train = matrix(x)
        train.set_label(y)
        booster = xgboost.train(base | parameters, train, trees)
        source, binary_source = (tollctl.folder / f"xgboost-{name}.{end}" for end in ("json", "ubj"))
        if name == "rewritten":
            booster = rewritten(rng, booster)
        booster.save_model(source)
        booster.save_model(binary_source)
        booster = xgboost.Booster(model_file=source)
        booster.set_param(dict(nthread=2))
        nodes = trees_of(source)
        table = oracle.adversarial(rng, x, candidates(nodes, categorical))
        margins = booster.predict(matrix(table), output_margin=True)
        told = booster.predict(matrix(table))
        leaves = booster.predict(matrix(table), pred_leaf=True).astype(np.int64).reshape(len(table), -1)
        leaves = np.stack([leaf_order(tree)[leaves[:, at]] for at, tree in enumerate(nodes)], axis=1)
        names = [f"f{input_}" for input_ in range(INPUTS)]
        # Logarithms differ from platform to platform in the last bit: golden rows tell which one it was.
        golden = tollctl.folder / "golden.csv"
        oracle.write(golden, names, table[:500], margins[:500])
        model = tollctl.check(f"xgboost-{name}", source, "xgboost", names, table, margins, told, "--golden", golden, leaves=leaves)
        other = tollctl.folder / "other.tgm"
        tollctl.must("model", "import", "--format", "xgboost", binary_source, "--out", other, "--golden", golden)
        if not is_same(tollctl, model, other):
            tollctl.failures += 1
            print(f"  xgboost-{name}: JSON and UBJSON give different models")
        # DMatrix refuses infinities; what predicts in place does not.
        if not categorical:
            table[rng.random(table.shape) < 0.1] = np.inf
            table[rng.random(table.shape) < 0.1] = -np.inf
            margins = booster.inplace_predict(table, predict_type="margin")
            tollctl.check(f"xgboost-{name}-infinite", source, "xgboost", names, table[:4000], margins[:4000], None, "--golden", golden)
        if name in ("hist", "dart", "forest"):
            margins = booster.predict(matrix(table if categorical else x), output_margin=True, iteration_range=(0, 7))
            tollctl.check(f"xgboost-{name}-7", source, "xgboost", names, table if categorical else x, margins, None, "--trees", 7)
        print(f"  {time.monotonic() - start:.1f} s", flush=True)
    return tollctl.failures


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1], sys.argv[2]) else 0)
