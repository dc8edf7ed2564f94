"""Writes model/tests/golden anew: small models of the real libraries, and rows with the margins that they compute.

Arguments: the folder. What is written depends on the versions in requirements.txt, and on the processor in the training.
"""

import ctypes
import math
import pathlib
import sys

import lightgbm
import numpy as np
import xgboost
from sklearn.linear_model import LogisticRegression

import lightgbm_bits
import rows as oracle
import xgboost_bits

ROWS = 100


def sample(rng, natural, candidates):
    table = oracle.adversarial(rng, natural, candidates)
    return table[rng.permutation(len(table))[:ROWS]]


def lightgbm_cases(folder):
    rng = np.random.default_rng(5)
    base = dict(objective="binary", verbose=-1, num_threads=1, seed=7, deterministic=True, num_leaves=15, learning_rate=0.2)
    rf = dict(boosting="rf", bagging_freq=1, bagging_fraction=0.5)
    for name, parameters, trees, categorical in [
        ("numeric", {}, 12, []),
        ("categorical", dict(min_data_per_group=5, cat_smooth=1.0), 8, [6, 7, 8]),
        ("missing_zero", dict(zero_as_missing=True), 8, []),
        ("missing_none", dict(use_missing=False, sigmoid=0.7), 8, []),
        ("dart", dict(boosting="dart", drop_rate=0.4), 8, []),
        ("rf", rf, 8, []),
        ("single_leaf", dict(min_data_in_leaf=2_000), 2, []),
        ("poisson", dict(objective="poisson", num_leaves=4), 4, []),
        ("rewritten", {}, 8, []),
    ]:
        x, y = lightgbm_bits.data(rng, 1_500, bool(categorical))
        x = x[:, :11]
        booster = lightgbm.train(base | parameters, lightgbm.Dataset(x, label=y, categorical_feature=categorical), trees)
        text = booster.model_to_string()
        if name == "rewritten":
            text = lightgbm_bits.rewritten(rng, text)
            text = "\n".join(line for line in text.split("\n") if not line.startswith("tree_sizes"))
        # Parameters of the training are not read.
        text = text[: text.index("\nparameters:")] + "\n"
        (folder / f"lightgbm_{name}.txt").write_text(text)
        booster = lightgbm.Booster(model_str=text)
        table = sample(rng, x, lightgbm_bits.candidates(booster, categorical)[:11])
        margins = booster.predict(table, raw_score=True)
        if "boosting" in parameters and parameters["boosting"] == "rf":
            margins = margins / booster.num_trees()
        oracle.write(folder / f"lightgbm_{name}.csv", booster.feature_name(), table, margins)


def odd_base_score():
    """A score whose logarithm the C library does not round to the nearest f32."""
    library = ctypes.CDLL("libm.so.6")
    library.logf.restype, library.logf.argtypes = ctypes.c_float, [ctypes.c_float]
    f = np.float32
    for step in range(1, 100_000):
        score = f(step / 100_000)
        odds = f(f(1) / score - f(1))
        if f(library.logf(float(odds))) != f(math.log(float(odds))):
            return float(score)
    raise SystemExit("this C library rounds every logarithm as it should")


def xgboost_cases(folder):
    rng = np.random.default_rng(6)
    base = dict(objective="binary:logistic", nthread=1, seed=7, max_depth=4, eta=0.3, tree_method="hist")
    for name, parameters, trees, categorical in [
        ("numeric", {}, 8, False),
        ("categorical", {}, 6, True),
        ("dart", dict(booster="dart", rate_drop=0.4), 6, False),
        ("base_score", dict(base_score=odd_base_score(), max_depth=2), 4, False),
        ("squarederror", dict(objective="reg:squarederror", max_depth=2), 4, False),
        ("rewritten", {}, 6, False),
    ]:
        x, y = xgboost_bits.data(rng, 1_500, categorical)
        x = x[:, :10]
        types = ["c" if categorical and input_ in xgboost_bits.CATEGORICAL else "q" for input_ in range(10)]
        names = [f"input_{input_}" for input_ in range(10)] if name == "numeric" else None
        matrix = lambda table: xgboost.DMatrix(table, feature_types=types, feature_names=names, enable_categorical=True)
        train = matrix(x)
        train.set_label(y)
        booster = xgboost.train(base | parameters, train, trees)
        if name == "rewritten":
            booster = xgboost_bits.rewritten(rng, booster)
        source = folder / f"xgboost_{name}.json"
        booster.save_model(source)
        booster.save_model(folder / f"xgboost_{name}.ubj")
        table = sample(rng, x, xgboost_bits.candidates(xgboost_bits.trees_of(source), categorical)[:10])
        margins = booster.predict(matrix(table), output_margin=True)
        oracle.write(folder / f"xgboost_{name}.csv", names or [f"f{input_}" for input_ in range(10)], table, margins)


def linear_cases(folder):
    """What f64 arithmetic in the order of the inputs gives; libraries add up in orders of their own."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(500, 4)) * [1, 10, 100, 1000] + [0, 5, 50, 500]
    y = (x @ [1.0, -0.1, 0.01, 0.001] + rng.normal(size=500) > 0).astype(int)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    fit = LogisticRegression().fit((x - mean) / scale, y)
    names = ["amount", "age", "count", "speed"]
    for name in ("logistic", "linear"):
        text = f'kind = "{name}"\nintercept = {float(fit.intercept_[0])!r}\ntrained_from = "2018-07-25"\n'
        text += 'trained_to = "2018-07-31"\nnote = "made up"\n\n[metrics]\nauc = 0.875\n'
        numbers = [(float(m), float(s), float(w)) for m, s, w in zip(mean, scale, fit.coef_[0])]
        for at, (m, s, w) in enumerate(numbers):
            text += f'\n[[input]]\nname = "{names[at]}"\n'
            text += f"mean = {m!r}\nscale = {s!r}\n" if name == "logistic" else ""
            text += f"weight = {w!r}\n" + (f"missing = {m!r}\n" if at % 2 else "")
        table = x[:ROWS].copy()
        table[rng.random(table.shape) < 0.1] = np.nan
        margins = []
        for row in table.tolist():
            margin = float(fit.intercept_[0])
            for at, ((m, s, w), value) in enumerate(zip(numbers, row)):
                value = m if value != value and at % 2 else value
                margin += w * ((value - m) / s) if name == "logistic" else w * value
            margins.append(margin)
        (folder / f"{name}.toml").write_text(text)
        oracle.write(folder / f"{name}.csv", names, table, margins)
    bounds, points = [0.0, 10.0, 20.5], [-0.3, 0.1, 0.4, 0.7]
    text = 'kind = "scorecard"\nlink = "sigmoid"\nintercept = -1.25\n\n[[input]]\nname = "amount"\nmissing = 0.05\nbins = [\n'
    text += "".join(f"  {{ below = {b!r}, points = {p!r} }},\n" for b, p in zip(bounds, points))
    text += f'  {{ points = {points[-1]!r} }},\n]\n\n[[input]]\nname = "age"\nweight = -0.7\nbins = [\n'
    text += "".join(f"  {{ below = {b!r}, woe = {p!r} }},\n" for b, p in zip(bounds, points)) + f"  {{ woe = {points[-1]!r} }},\n]\n"
    (folder / "scorecard.toml").write_text(text)
    numbers = [0.0, -0.0, 10.0, 20.5, np.nextafter(10.0, 0), np.nextafter(10.0, 11), -np.inf, np.inf, np.nan, -5e-324, 5e-324]
    table = np.array([[a, b] for a in numbers for b in numbers])

    def bin_of(value):
        return sum(bound <= value for bound in bounds)

    margins = []
    for a, b in table.tolist():
        first = 0.05 if a != a else points[bin_of(a)]
        second = math.nan if b != b else -0.7 * points[bin_of(b)]
        margins.append(-1.25 + first + second)
    oracle.write(folder / "scorecard.csv", ["amount", "age"], table, margins)


if __name__ == "__main__":
    place = pathlib.Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    lightgbm_cases(place)
    xgboost_cases(place)
    linear_cases(place)
