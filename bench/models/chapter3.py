"""Chapter 3 of the Fraud Detection Handbook, from a replay to verdicts: both models of handbook.py, through Tollgate.

    cargo build --release -p tollgate-tools
    python3 -m venv target/models-venv && target/models-venv/bin/pip install -r bench/models/requirements.txt
    target/models-venv/bin/python bench/models/chapter3.py TRANSACTIONS.parquet --out DIRECTORY

Every step writes to the directory:

    features.parquet       what each decision saw: `tollctl features export`
    logistic.toml, lightgbm.txt, test.csv     handbook.py
    golden.csv             the payments tested on, and the margins that LightGBM has for them
    *.tgm                  `tollctl model import`; of LightGBM with all of golden.csv
    *.margins.csv          `tollctl model predict`, of test.csv
    models.policy          handbook.policy, with both models
    rules.parquet, models.parquet             `tollctl replay` of all payments with the policy as it was, and with the models

It fails unless

- the margins of `predict` are Python's: of LightGBM to the last bit, of the logistic regression to a billionth (its terms are
  added up in another order there);
- each payment of the replay has an answer of both models, and those of the test set are Python's to a billionth, or to half of
  one for LightGBM: answers are rounded to billionths;
- the logistic regression's AUC and average precision, from the answers in the replay, are the published ones within .003;
- all features are the same in both replays.
"""

import argparse
import os
import re
import subprocess
import sys

import handbook
import numpy
import pandas

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
POLICY = os.path.join(ROOT, "config/handbook/handbook.policy")
MAP = os.path.join(ROOT, "config/handbook/map.toml")
# The handbook, 3.5: AUC ROC, average precision, card precision@100.
PUBLISHED = dict(auc=0.871, average_precision=0.606, card_precision_100=0.291)
PUBLISHED_WITHIN = 0.003
# Of what the policy calls a model: its file, and what handbook.py calls it.
MODELS = dict(logistic="logistic", gbdt="lightgbm")
BILLIONTH = 1e-9
# Half a billionth, and what is lost when the rounded number and a probability are told as doubles.
ROUNDED = 0.5 * BILLIONTH + 1e-15

REASON = """reason MODEL    6 {
  analyst "the boosted trees take it for fraud, more likely than not",
  withhold,
  iso "59"
}
"""

RULES = """
rule likely on payment { when gbdt >= 0.5 then challenge, reason MODEL }
rule challenger on payment monitor { when logistic >= 0.5 then challenge }
"""

TESTS = """
test "what the trees are sure of is blocked, whatever the rules say" {
  stub gbdt = 0.95
  when payment { customer: c1, terminal: t1, amount: 20 USD } at 0m then block, score 95, because MODEL
}
test "without them the rules decide" {
  stub gbdt = missing
  when payment { customer: c1, terminal: t1, amount: 20 USD } at 0m then allow, not fires likely
  when payment { customer: c2, terminal: t1, amount: 300 USD } at 0m then block, score 95, because LARGE
}
"""

checks = []


def check(what, holds):
    checks.append(holds)
    print(f"  {'ok    ' if holds else 'FAILED'}  {what}")


def expression(name):
    """What a policy gives a model for one of the inputs: money as whole units, as it was exported."""
    if name == "amount":
        return "major(amount in USD)"
    return f"major({name})" if "AVG_AMOUNT" in name else name


def policy():
    """handbook.policy with both models, asked in `decide` and in two rules."""
    with open(POLICY, encoding="utf-8") as file:
        text = file.read()
    inputs = ",\n  ".join(expression(name) for name in handbook.INPUTS)
    # Only a monitored rule asks the logistic regression: lazy, it has no part in any verdict.
    heads = dict(logistic="model logistic on payment lazy", gbdt="model gbdt on payment")
    models = "".join(f'\n{heads[name]} = "{file}.tgm" (\n  {inputs}\n)\n' for name, file in MODELS.items())
    for before, after in [
        ("policy handbook revision 1\n", "policy handbook revision 2\n"),
        ("\nevent payment {", REASON + "\nevent payment {"),
        ("\ndecide payment {", models + RULES + "\ndecide payment {"),
        ("score = rule_scores\n", "score = max(rule_scores, 100 * gbdt)\n"),
    ]:
        if text.count(before) != 1:
            sys.exit(f"{POLICY} does not have {before!r} once")
        text = text.replace(before, after)
    # What it says of its thresholds is of the policy without models.
    return text[text.index("\npolicy handbook") + 1 :] + TESTS


class Walk:
    def __init__(self, options):
        self.tollctl = os.path.abspath(options.tollctl)
        self.transactions = os.path.abspath(options.transactions)
        self.out = options.out

    def path(self, name):
        return os.path.join(self.out, name)

    def run(self, *arguments):
        """One command of tollctl, in the directory; what it says."""
        print("$ tollctl " + " ".join(os.path.relpath(a, ROOT) if os.path.isabs(a) else a for a in arguments), flush=True)
        done = subprocess.run([self.tollctl, *arguments], cwd=self.out, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"tollctl failed with {done.returncode}\n{done.stdout}")
        for line in done.stdout.splitlines():
            print(f"  {line}", flush=True)
        return done.stdout

    def events(self):
        return ["--map", MAP, "--events", self.transactions]

    def replay(self, policy, out):
        """Replays all payments; how many a second the engine took, labels and all."""
        said = self.run("replay", "--policy", policy, *self.events(), "--features", "--out", out)
        seconds = float(re.search(r"engine ([0-9.]+) s", said)[1])
        verdicts = pandas.read_parquet(self.path(out))
        verdicts["id"] = verdicts["id"].astype("int64")
        return verdicts, len(verdicts) / seconds

    def predicted(self, model):
        table = f"{model}.margins.csv"
        self.run("model", "predict", "--model", f"{model}.tgm", "--input", "test.csv", "--out", table, "--extra")
        return pandas.read_csv(self.path(table))


def same_bits(a, b):
    return bool((numpy.asarray(a).view(numpy.uint64) == numpy.asarray(b).view(numpy.uint64)).all())


def furthest(a, b):
    return float(numpy.abs(numpy.asarray(a) - numpy.asarray(b)).max())


def verdicts_worth(name, test, verdicts):
    """Of the payments tested on: how many verdicts are at least this, the share of fraud among them, and of fraud found."""
    actions = test[["id", "fraud"]].merge(verdicts[["id", "action"]], on="id", validate="one_to_one")
    order = ["allow", "challenge", "review", "block"]
    rank = actions.action.map(order.index)
    for least in (3, 2, 1):
        hit = actions[rank >= least]
        precision, recall = hit.fraud.mean(), hit.fraud.sum() / actions.fraud.sum()
        words = order[least] if least == 3 else f"{order[least]} or more"
        print(f"  {name:8} {words:18} {len(hit):6} payments, precision {precision:.3f}, recall {recall:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transactions", help="the handbook's transactions.parquet")
    parser.add_argument("--out", required=True, metavar="DIRECTORY", help="where everything goes")
    parser.add_argument("--tollctl", default=os.path.join(ROOT, "target/release/tollctl"), metavar="FILE")
    options = parser.parse_args()
    if not os.path.isfile(options.transactions):
        sys.exit(f"SKIPPED: {options.transactions} is not there. The payments are kept outside the project")
    os.makedirs(options.out, exist_ok=True)
    walk = Walk(options)

    labels = ["--labels", "label.is_fraud", "--mature", "7d"]
    walk.run("features", "export", "--policy", POLICY, *walk.events(), *labels, "--out", "features.parquet")

    test = handbook.train(options.transactions, walk.path("features.parquet"), options.out)
    golden = test[handbook.INPUTS].assign(margin=test.lightgbm_margin)
    golden.to_csv(walk.path("golden.csv"), index=False)

    walk.run("model", "import", "--format", "linear", "logistic.toml", "--out", "logistic.tgm")
    trained = ["--trained-from", "2018-07-25", "--trained-to", "2018-08-01"]
    lightgbm = ["lightgbm.txt", "--golden", "golden.csv", *trained, "--out", "lightgbm.tgm"]
    walk.run("model", "import", "--format", "lightgbm", *lightgbm)
    predicted = {model: walk.predicted(model) for model in MODELS.values()}

    with open(walk.path("models.policy"), "w", encoding="utf-8") as file:
        file.write(policy())
    walk.run("policy", "fmt", "models.policy")
    walk.run("policy", "check", "models.policy", "--deny-warnings")
    walk.run("policy", "test", "models.policy")

    rules, without = walk.replay(POLICY, "rules.parquet")
    models, with_models = walk.replay("models.policy", "models.parquet")

    print("checks")
    margins = {model: table.margin.to_numpy() for model, table in predicted.items()}
    check("predict: LightGBM's margins, to the last bit", same_bits(margins["lightgbm"], test.lightgbm_margin))
    worst = furthest(margins["logistic"], test.logistic_margin)
    check(f"predict: the logistic regression's margins, within {worst:.1e}", worst <= BILLIONTH)
    missing = int(models[list(MODELS)].isna().sum().sum())
    check(f"replay: answers of both models for {len(models)} payments, {missing} missing", missing == 0)
    told = test.merge(models[["id", *MODELS]], on="id", validate="one_to_one")
    check(f"replay: the {len(test)} payments tested on are in it", len(told) == len(test))
    for name, model in MODELS.items():
        worst = furthest(told[name], told[f"{model}_probability"])
        check(f"replay: {name} is Python's, within {worst:.2e}", worst <= (ROUNDED if name == "gbdt" else BILLIONTH))
    features = [name for name in handbook.INPUTS if name != "amount"]
    check("replay: the features are the same with and without models", models[features].equals(rules[features]))
    worths = {name: handbook.worth(told, told[name]) for name in MODELS}
    for metric in ("auc", "average_precision"):
        value = worths["logistic"][metric]
        holds = abs(value - PUBLISHED[metric]) <= PUBLISHED_WITHIN
        check(f"replay: logistic's {metric} is {value:.4f}, published {PUBLISHED[metric]}", holds)

    print("models, tested on the handbook's test set")
    print(f"  {'':32} {'AUC':>6} {'AP':>6} {'CP@100':>7}")
    rows = [("logistic regression, published", PUBLISHED)]
    for title, name in [("logistic regression", "logistic"), ("LightGBM", "gbdt")]:
        rows.append((f"{title}, Python", handbook.worth(told, told[f"{MODELS[name]}_probability"])))
        rows.append((f"{title}, replay", worths[name]))
    for title, worth in rows:
        places = 3 if worth is PUBLISHED else 4
        auc, ap, cards = (f"{value:.{places}f}".lstrip("0") for value in worth.values())
        print(f"  {title:32} {auc:>6} {ap:>6} {cards:>7}")
    print("verdicts, of the same payments")
    verdicts_worth("rules", test, rules)
    verdicts_worth("models", test, models)
    print(f"replay: {without:.0f} payments/s without models, {with_models:.0f} with both, in the engine, labels and all")
    if not all(checks):
        sys.exit(1)


if __name__ == "__main__":
    main()
