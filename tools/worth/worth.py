"""What features are worth to a model: average precision with the handbook's fourteen, and with those of extended.policy.

    tollctl replay --features --policy config/handbook/extended.policy --map config/handbook/map.toml \\
        --events TRANSACTIONS.parquet --out FEATURES.parquet
    python worth.py TRANSACTIONS.parquet FEATURES.parquet

Trains LightGBM on the payments of 2018-07-25..31 and tests it on those of 2018-08-08..14, five seeds each; the week between is
how long it takes until fraud is known. "unknown": without the customers whose fraud was in the training week.
"""

import sys

import lightgbm
import numpy
import pandas
from sklearn.metrics import average_precision_score, roc_auc_score

TRAIN, TEST = ("2018-07-25", "2018-08-01"), ("2018-08-08", "2018-08-15")
PARAMETERS = dict(
    objective="binary", num_leaves=31, learning_rate=0.05, min_data_in_leaf=50, feature_fraction=0.8,
    bagging_fraction=0.8, bagging_freq=1, verbose=-1, deterministic=True, num_threads=2,
)
TREES = 150
SEEDS = range(5)


def main(transactions, features):
    verdicts = pandas.read_parquet(features)
    verdicts = verdicts[verdicts.event == "payment"]
    verdicts["id"] = verdicts["id"].astype(int)
    wanted = ["TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TX_AMOUNT", "TX_FRAUD"]
    data = pandas.read_parquet(transactions, columns=wanted).merge(verdicts, left_on="TRANSACTION_ID", right_on="id")
    published = ["TX_AMOUNT"] + [name for name in verdicts if name.startswith("TX_DURING") or "_WINDOW" in name]
    more = [name for name in verdicts if name.startswith(("C_", "T_"))]
    data[more] = data[more].astype(float)
    train, test = (data[(data.TX_DATETIME >= begin) & (data.TX_DATETIME < end)] for begin, end in (TRAIN, TEST))
    unknown = ~test.CUSTOMER_ID.isin(train[train.TX_FRAUD == 1].CUSTOMER_ID)
    for name, columns in [("published", published), ("with more", published + more)]:
        rows = []
        for seed in SEEDS:
            seeds = dict(seed=seed, bagging_seed=seed, feature_fraction_seed=seed)
            model = lightgbm.train(PARAMETERS | seeds, lightgbm.Dataset(train[columns], train.TX_FRAUD), TREES)
            score = model.predict(test[columns])
            fraud = test.TX_FRAUD
            rows.append((
                average_precision_score(fraud, score),
                roc_auc_score(fraud, score),
                average_precision_score(fraud[unknown], score[unknown]),
            ))
        for what, values in zip(["AP", "AUC", "AP unknown"], numpy.array(rows).T):
            print(f"{name:10} {len(columns):3} columns  {what:10} {values.mean():.4f} ({values.min():.4f} to {values.max():.4f})")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
