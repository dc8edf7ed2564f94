"""Models of two shapes by LightGBM and by XGBoost, and rows to score, for `tollgate-bench model`.

    python3 -m venv target/peers && target/peers/bin/pip install -r bench/models/peers.txt
    target/peers/bin/python bench/models/peers.py target/peers/models
    cargo run --release -p tollgate-bench -- model --peers target/peers/models

Writes the models in the libraries' own formats, the rows as f64 (little endian, row after row), and where the libraries are.
The data are made up: thirty inputs, some of them missing now and then, some that take few values, as features of payments do.
"""

import os
import sys

import lightgbm
import numpy
import xgboost

INPUTS = 30
TRAINED = 60_000
SCORED = 4_096
SHAPES = {"100x31": (100, 31), "500x63": (500, 63)}


def rows(count, seed):
    random = numpy.random.default_rng(seed)
    x = random.standard_normal((count, INPUTS))
    x[:, 0:8] = numpy.exp(x[:, 0:8] * 1.5)
    x[:, 8:16] = numpy.floor(numpy.abs(x[:, 8:16]) * 6)
    x[:, 16:20] = (x[:, 16:20] > 1).astype(float)
    x[:, 20:24][random.random((count, 4)) < 0.2] = numpy.nan
    risk = x[:, 0] * 0.3 + x[:, 8] * x[:, 1] * 0.1 + numpy.nan_to_num(x[:, 20]) - x[:, 25] * x[:, 26] + x[:, 16] * 2 - 3
    y = (random.random(count) < 1 / (1 + numpy.exp(-risk))).astype(int)
    return x, y


def main(folder):
    os.makedirs(folder, exist_ok=True)
    x, y = rows(TRAINED, 1)
    for name, (trees, leaves) in SHAPES.items():
        parameters = {
            "objective": "binary", "num_leaves": leaves, "learning_rate": 0.05, "num_threads": 1, "seed": 1,
            "deterministic": True, "force_row_wise": True, "min_data_in_leaf": 10, "verbose": -1,
        }
        lightgbm.train(parameters, lightgbm.Dataset(x, y), trees).save_model(os.path.join(folder, f"lightgbm.{name}.txt"))
        parameters = {
            "objective": "binary:logistic", "tree_method": "hist", "grow_policy": "lossguide", "max_leaves": leaves,
            "max_depth": 0, "eta": 0.05, "nthread": 1, "seed": 1, "min_child_weight": 1,
        }
        booster = xgboost.train(parameters, xgboost.DMatrix(x, y), trees)
        booster.save_model(os.path.join(folder, f"xgboost.{name}.ubj"))
    rows(SCORED, 2)[0].astype("<f8").tofile(os.path.join(folder, "rows.f64"))
    lightgbm_folder = os.path.join(os.path.dirname(lightgbm.__file__), "lib", "lib_lightgbm.so")
    xgboost_folder = os.path.join(os.path.dirname(xgboost.__file__), "lib", "libxgboost.so")
    with open(os.path.join(folder, "libraries.txt"), "w", encoding="utf-8") as file:
        file.write(f"{lightgbm_folder}\n{xgboost_folder}\n")
    print(f"LightGBM {lightgbm.__version__}, XGBoost {xgboost.__version__}: {folder}")


if __name__ == "__main__":
    main(sys.argv[1])
