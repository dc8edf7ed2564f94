"""Two models of the handbook's payments, a logistic regression and LightGBM, from features that a replay exported.

    tollctl features export --policy config/handbook/handbook.policy --map config/handbook/map.toml \\
        --events TRANSACTIONS.parquet --labels label.is_fraud --mature 7d --out FEATURES.parquet
    python3 -m venv target/models-venv && target/models-venv/bin/pip install -r bench/models/requirements.txt
    target/models-venv/bin/python bench/models/handbook.py TRANSACTIONS.parquet FEATURES.parquet --out DIRECTORY

Python 3.11, on a CPU. Trains and tests as chapter 3 of the Fraud Detection Handbook does: on the payments of 2018-07-25..31, then
on those of 2018-08-08..14 without the cards that are known as compromised by then; the week between is how long it takes until fraud
is known. AUC, average precision and card precision@100 are, with the packages of requirements.txt:

    logistic regression, as published   .871    .606    .291
    logistic regression                 .8703   .6055   .2914
    LightGBM                            .8764   .6080   .2686

Writes to the directory:

    logistic.toml   the logistic regression: for each input mean, scale and weight
    lightgbm.txt    LightGBM's own text
    test.csv        the payments tested on: inputs, whether fraud, and margin and probability of both models as Python has them

chapter3.py does all of this in one command, and takes the models on into a policy.
"""

import argparse
import os
import sys
from datetime import datetime, timedelta

import lightgbm
import numpy
import pandas
import pyarrow.parquet
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

START = datetime(2018, 7, 25)
TRAIN_DAYS, DELAY_DAYS, TEST_DAYS = 7, 7, 7
CARDS_A_DAY = 100

WINDOWS = [("CUSTOMER_ID", ("NB_TX", "AVG_AMOUNT")), ("TERMINAL_ID", ("NB_TX", "RISK"))]
INPUTS = ["amount", "TX_DURING_WEEKEND", "TX_DURING_NIGHT"] + [
    f"{key}_{kind}_{days}DAY_WINDOW" for key, kinds in WINDOWS for kind in kinds for days in (1, 7, 30)
]

TREES = 100
PARAMETERS = dict(
    objective="binary", num_leaves=31, learning_rate=0.1, min_data_in_leaf=50, seed=0,
    deterministic=True, force_row_wise=True, num_threads=1, verbose=-1,
)  # fmt: skip


def day(number):
    """The start of a day, counted from the first one of training."""
    return START + timedelta(days=number)


def read(transactions, features):
    """A row a payment: inputs, `fraud`, `customer`, `day`. What was not told to be fraud within seven days is none."""
    notes = pyarrow.parquet.read_schema(features).metadata
    if notes.get(b"tollgate.event") != b"payment" or b"tollgate.mature_us" not in notes:
        sys.exit(f"{features} is no export of payments with --labels label.is_fraud --mature 7d")
    wanted = ["id", "time", "label.is_fraud", "label.time", "mature", *INPUTS]
    rows = pandas.read_parquet(features, columns=wanted)
    rows["id"] = rows["id"].astype("int64")
    rows["time"] = rows["time"].dt.tz_localize(None)
    rows["label.time"] = rows["label.time"].dt.tz_localize(None)
    rows["fraud"] = rows["label.is_fraud"].fillna(0).astype(int)
    truth = pandas.read_parquet(transactions, columns=["TRANSACTION_ID", "CUSTOMER_ID", "TX_FRAUD"])
    rows = rows.merge(truth, left_on="id", right_on="TRANSACTION_ID", validate="one_to_one")
    if len(rows) != len(truth) or not (rows.fraud == rows.TX_FRAUD).all():
        sys.exit("the labels of the export are not those of the payments: export all of them, with all labels")
    rows["day"] = (rows.time - START) // timedelta(days=1)
    return rows


def split(rows):
    """Training and test set, by the handbook's rule (`get_train_test_set`)."""
    train = rows[(rows.day >= 0) & (rows.day < TRAIN_DAYS)]
    first = TRAIN_DAYS + DELAY_DAYS
    labelled = train["label.time"].dropna()
    if not train.mature.all() or (labelled >= day(first)).any():
        sys.exit("a label of the training set came after the first payment of the test set")
    known, tested = set(train[train.fraud == 1].CUSTOMER_ID), []
    for number in range(TEST_DAYS):
        # Fraud of this day became known when the test day began.
        told = rows[(rows.day == TRAIN_DAYS + number - 1) & (rows.fraud == 1)]
        known |= set(told.CUSTOMER_ID)
        today = rows[rows.day == first + number]
        tested.append(today[~today.CUSTOMER_ID.isin(known)])
    return train, pandas.concat(tested)


def card_precision(test, probability):
    """The mean over days of the share of compromised cards among the hundred most suspicious ones; what was found on one day
    is not looked at on the next."""
    rows = pandas.DataFrame(dict(day=test.day, card=test.CUSTOMER_ID, fraud=test.fraud, probability=probability))
    found, precisions = set(), []
    for _, today in rows.groupby("day"):
        cards = today[~today.card.isin(found)].groupby("card")[["probability", "fraud"]].max()
        top = cards.sort_values("probability", ascending=False).head(CARDS_A_DAY)
        hits = top[top.fraud == 1].index
        found |= set(hits)
        precisions.append(len(hits) / CARDS_A_DAY)
    return float(numpy.mean(precisions))


def worth(test, probability):
    return dict(
        auc=float(roc_auc_score(test.fraud, probability)),
        average_precision=float(average_precision_score(test.fraud, probability)),
        card_precision_100=card_precision(test, probability),
    )


def tell(name, metrics):
    print(f"{name:10} " + ", ".join(f"{metric} {value:.4f}" for metric, value in metrics.items()))


def logistic_toml(model, scaler, metrics):
    """The model as `tollctl` reads it. `repr` writes each number so that it reads back as the same."""
    lines = [
        'kind = "logistic"',
        f"intercept = {float(model.intercept_[0])!r}",
        f'trained_from = "{START:%Y-%m-%dT%H:%M:%SZ}"',
        f'trained_to = "{day(TRAIN_DAYS):%Y-%m-%dT%H:%M:%SZ}"',
        'note = "the Fraud Detection Handbook, chapter 3: logistic regression"',
        "",
        "[metrics]",
        *(f"{name} = {value!r}" for name, value in metrics.items()),
    ]
    for name, mean, scale, weight in zip(INPUTS, scaler.mean_, scaler.scale_, model.coef_[0]):
        lines += ["", "[[input]]", f'name = "{name}"', f"mean = {float(mean)!r}", f"scale = {float(scale)!r}"]
        # Of no payments at all counts and shares are 0 to the handbook.
        lines += [f"weight = {float(weight)!r}", "missing = 0.0"]
    return "\n".join(lines) + "\n"


def train(transactions, features, out):
    """Trains both models, writes everything to the directory and gives what test.csv holds, with `day` and `CUSTOMER_ID`."""
    if not os.path.isfile(transactions):
        sys.exit(f"SKIPPED: {transactions} is not there. The payments are kept outside the project")

    train, test = split(read(transactions, features))
    known, asked = train[INPUTS], test[INPUTS]
    if known.isna().any(axis=None) or asked.isna().any(axis=None):
        sys.exit("a value is missing; to the handbook none is")
    print(f"trained on {len(train)} payments, {train.fraud.sum()} fraud; tested on {len(test)}, {test.fraud.sum()} fraud")

    scaler = StandardScaler().fit(known.to_numpy())
    logistic = LogisticRegression(random_state=0).fit(scaler.transform(known.to_numpy()), train.fraud)
    scaled = scaler.transform(asked.to_numpy())
    boosted = lightgbm.train(PARAMETERS, lightgbm.Dataset(known, train.fraud), TREES)
    told = {
        "logistic_margin": logistic.decision_function(scaled),
        "logistic_probability": logistic.predict_proba(scaled)[:, 1],
        "lightgbm_margin": boosted.predict(asked, raw_score=True, num_threads=1),
        "lightgbm_probability": boosted.predict(asked, num_threads=1),
    }
    metrics = worth(test, told["logistic_probability"])
    tell("logistic", metrics)
    tell("lightgbm", worth(test, told["lightgbm_probability"]))

    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "logistic.toml"), "w", encoding="utf-8") as file:
        file.write(logistic_toml(logistic, scaler, metrics))
    boosted.save_model(os.path.join(out, "lightgbm.txt"))
    test = test.assign(**told)
    # Without a format pandas writes the shortest decimal that reads back as the same number.
    test[["id", *INPUTS, "fraud", *told]].to_csv(os.path.join(out, "test.csv"), index=False)
    return test


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transactions", help="the handbook's transactions.parquet, for the cards")
    parser.add_argument("features", help="what `tollctl features export` wrote")
    parser.add_argument("--out", required=True, metavar="DIRECTORY", help="where the models go")
    options = parser.parse_args()
    train(options.transactions, options.features, options.out)


if __name__ == "__main__":
    main()
