"""How fast the handbook's fourteen features are computed: by Tollgate, in SQL, and by an engine for streams.

    python3 -m venv target/replay-venv && target/replay-venv/bin/pip install -r bench/replay/requirements.txt
    target/replay-venv/bin/python bench/replay/compare.py

Builds what it measures, checks that all come to the same values on every row, then lets them take turns in rounds. What is
measured and how to read it: docs/BENCHMARKS.md, `replay`. Needs the handbook's payments, which are kept outside the project:
transactions.parquet in `--data`.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
DAY = 86_400
DAYS = (1, 7, 30)
# How many payments of one customer fit into one second, when they are told apart by rank.
RANKS = 1000

# One row a payment. `k` is the time and the rank among the customer's payments of that second: in SQL a frame holds later rows
# of an equal time too, and a payment must not see those that come after it.
PAYMENTS = f"""select id, ts, t, t * {RANKS} + rank as k, rank, customer, terminal, amount, fraud from (
    select *, row_number() over (partition by customer, t order by id) - 1 as rank from (
        select TRANSACTION_ID::bigint as id, TX_DATETIME as ts, epoch(TX_DATETIME)::bigint as t, CUSTOMER_ID::integer as customer,
        TERMINAL_ID::integer as terminal, round(TX_AMOUNT, 2) as amount, TX_FRAUD::double as fraud
        from read_parquet('%s')))"""


def features():
    """Name to SQL, in the policy's order, and the windows: (t - n d, t] of the customer, (t - 7 d - n d, t - 7 d] of the
    terminal. All bounds are constants, which is the form that DuckDB is fastest with."""
    columns = {"TX_DURING_WEEKEND": "isodow(ts) >= 6", "TX_DURING_NIGHT": "hour(ts) <= 6"}
    windows = {}
    for days in DAYS:
        columns[f"CUSTOMER_ID_NB_TX_{days}DAY_WINDOW"] = f"count(*) over c{days}"
        columns[f"CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW"] = f"avg(amount) over c{days}"
        windows[f"c{days}"] = (
            f"partition by customer order by k range between {days * DAY * RANKS - 1} preceding and current row"
        )
    for days in DAYS:
        columns[f"TERMINAL_ID_NB_TX_{days}DAY_WINDOW"] = f"count(*) over t{days}"
        columns[f"TERMINAL_ID_RISK_{days}DAY_WINDOW"] = f"coalesce(avg(fraud) over t{days}, 0)"
        windows[f"t{days}"] = (
            f"partition by terminal order by t range between {(days + 7) * DAY - 1} preceding and {7 * DAY} preceding"
        )
    return columns, windows


def query(source):
    columns, windows = features()
    told = ", ".join(f"{sql} as {name}" for name, sql in columns.items())
    return f"select id, {told} from {source} window " + ", ".join(f"{name} as ({sql})" for name, sql in windows.items())


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def cargo(*arguments):
    if subprocess.run(["cargo", "build", "--release", "--locked", *arguments], cwd=ROOT).returncode != 0:
        sys.exit("the build failed")


class Tollgate:
    """A `tollctl` over the payments; what it says of the engine, and how long the whole took."""

    def __init__(self, tollctl, data):
        self.command = [
            tollctl, "replay", "--features", "--policy", f"{ROOT}/config/handbook/handbook.policy",
            "--map", f"{ROOT}/config/handbook/map.toml", "--events", data, "--out",
        ]  # fmt: skip
        self.preload = ["--preload"] if "--preload" in run([tollctl, "replay", "--help"]) else []

    def engine(self, out):
        """Seconds in the engine, one thread doing all: reading came first, and writing is not counted."""
        return float(re.search(r"engine ([\d.]+) s", run([*self.command, out, *self.preload]))[1])

    def whole(self, out):
        begun = time.perf_counter()
        run([*self.command, out])
        return time.perf_counter() - begun


class Dbsp:
    """A circuit that is given a number of events at a time."""

    def __init__(self, program, events):
        self.program, self.events = program, events

    def seconds(self, batch, limit, out=()):
        said = run([self.program, self.events, str(batch), str(limit), *out])
        return float(re.search(r"([\d.]+) s,", said)[1])


class Sql:
    def __init__(self, duckdb, data):
        self.con = duckdb.connect()
        self.threads = self.con.execute("select current_setting('threads')").fetchone()[0]
        self.data = data
        self.con.execute(f"create table payments as {PAYMENTS % data} order by id")
        self.payments = self.con.execute("select count(*) from payments").fetchone()[0]

    def timed(self, sql, threads):
        self.con.execute(f"set threads = {threads}")
        begun = time.perf_counter()
        self.con.execute(sql)
        return time.perf_counter() - begun

    def table(self, threads):
        """From a table to a table, both in memory."""
        self.con.execute("drop table if exists features")
        return self.timed(f"create table features as {query('payments')}", threads)

    def whole(self, out):
        """From a Parquet file to a Parquet file."""
        return self.timed(f"copy ({query('(' + PAYMENTS % self.data + ')')}) to '{out}' (format parquet)", self.threads)

    def export(self, out):
        """What the circuit reads."""
        columns = "t, rank, customer, terminal, round(amount * 100)::bigint, fraud::integer"
        self.con.execute(f"copy (select {columns} from payments order by id) to '{out}' (format csv, header false)")

    def check_verdicts(self, file):
        """Compares every value of a verdict file with the table of features."""
        names, _ = features()
        near = [f"coalesce(abs(s.{name}::double - v.{name}::double) <= 1e-9, false)" for name in names]
        differing = ", ".join(f"count(*) filter (not {equal})" for equal in near)
        rows, *counts = self.con.execute(
            f"""select count(*), {differing} from features as s
            join (select * from read_parquet('{file}') where event = 'payment') as v on v.id::bigint = s.id"""
        ).fetchone()
        self.agreed("tollgate", rows, dict(zip(names, counts)))

    def check_circuit(self, file):
        """Compares every count and sum that the circuit told with the table of features."""
        self.con.execute(
            f"""create table told as select * from read_csv('{file}', header = false, names =
            ['w', 'key', 'time', 'total', 'n', 'weight'], types = ['integer', 'integer', 'bigint', 'bigint', 'bigint', 'integer'])"""
        )
        if self.con.execute("select count(*) from told where weight <> 1").fetchone()[0] != 0:
            sys.exit("dbsp: corrects what it said before")
        differing, rows = {}, self.payments
        for window in range(6):
            kind, days = ("CUSTOMER", "TERMINAL")[window // 3], DAYS[window % 3]
            mean, per = (("AVG_AMOUNT", 100), ("RISK", 1))[window // 3]
            key, at = (("customer", "k"), ("terminal", "t"))[window // 3]
            count, mean = f"{kind}_ID_NB_TX_{days}DAY_WINDOW", f"{kind}_ID_{mean}_{days}DAY_WINDOW"
            found, *counts = self.con.execute(
                f"""select count(*), count(*) filter (n <> {count}),
                count(*) filter (not abs(if(n = 0, 0, total / n / {per}.0) - {mean}) <= 1e-9)
                from features join payments using (id) join told on w = {window} and key = {key} and time = {at}"""
            ).fetchone()
            differing |= dict(zip((count, mean), counts))
            rows = min(rows, found)
        self.con.execute("drop table told")
        self.agreed("dbsp", rows, differing)

    def agreed(self, who, rows, differing):
        for name, count in differing.items():
            if count:
                print(f"{who}: {name} differs from SQL on {count} rows", file=sys.stderr)
        if rows != self.payments or any(differing.values()):
            sys.exit(f"{who}: {rows} of {self.payments} rows compared, and not all are equal: nothing was measured")
        print(f"{who}: {len(differing)} features equal to DuckDB's on all {rows} payments", flush=True)


def table(times, events, first):
    """One line a name: the median rate, the least and the greatest, and the ratio to `first` round by round."""
    print(f"\n{'':18} {'payments/s':>12} {'least':>12} {'greatest':>12} {'µs each':>9} {'ratio':>7}")
    for name, taken in times.items():
        rates = [events[name] / seconds for seconds in taken]
        base = [events[first] / seconds for seconds in times[first]]
        ratio = statistics.median(rate / other for rate, other in zip(rates, base))
        median = statistics.median(rates)
        print(f"{name:18} {median:12,.0f} {min(rates):12,.0f} {max(rates):12,.0f} {1e6 / median:9.2f} {ratio:7.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=f"{ROOT}/../shared/data/handbook", help="directory of transactions.parquet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-dbsp", action="store_true", help="leave out the engine for streams, which is minutes to build")
    parser.add_argument("--before", metavar="TOLLCTL", help="another tollctl beside this one, to compare two builds")
    options = parser.parse_args()
    data = os.path.join(options.data, "transactions.parquet")
    if not os.path.isfile(data):
        sys.exit(f"SKIPPED: {data} is not there. The payments are kept outside the project; `--data` says where")
    try:
        import duckdb
    except ImportError:
        sys.exit(f"duckdb is not installed: pip install -r {HERE}/requirements.txt")

    cargo("--package", "tollgate-tools")
    if not options.without_dbsp:
        cargo("--manifest-path", f"{HERE}/dbsp/Cargo.toml", "--target-dir", f"{ROOT}/target/replay-dbsp")
    with tempfile.TemporaryDirectory() as directory:
        measure(options, os.path.abspath(data), duckdb, directory)


def measure(options, data, duckdb, directory):
    out = f"{directory}/out.parquet"
    tollgate = Tollgate(f"{ROOT}/target/release/tollctl", data)
    before = Tollgate(os.path.abspath(options.before), data) if options.before else None
    sql = Sql(duckdb, data)
    systems = {"tollgate": lambda: tollgate.engine(out)}
    if before:
        systems["before"] = lambda: before.engine(out)
    systems["duckdb.1"] = lambda: sql.table(1)
    systems[f"duckdb.{sql.threads}"] = lambda: sql.table(sql.threads)
    events = dict.fromkeys(systems, sql.payments)

    # Warms up, too.
    for system in systems.values():
        system()
    tollgate.engine(out)
    sql.check_verdicts(out)
    if not options.without_dbsp:
        dbsp = Dbsp(f"{ROOT}/target/replay-dbsp/release/replay-dbsp", f"{directory}/events.csv")
        sql.export(dbsp.events)
        dbsp.seconds(100_000, sql.payments, [f"{directory}/told.csv"])
        sql.check_circuit(f"{directory}/told.csv")
        # A small batch over all payments would take minutes.
        for batch, limit in ((100_000, sql.payments), (1_000, sql.payments // 5)):
            systems[f"dbsp.{batch}"] = lambda batch=batch, limit=limit: dbsp.seconds(batch, limit)
            events[f"dbsp.{batch}"] = limit
    systems["tollgate.file"] = lambda: tollgate.whole(out)
    systems["duckdb.file"] = lambda: sql.whole(f"{directory}/features.parquet")
    events |= {"tollgate.file": sql.payments, "duckdb.file": sql.payments}

    times = {name: [] for name in systems}
    for number in range(1, options.rounds + 1):
        for name, system in systems.items():
            times[name].append(system())
        told = ", ".join(f"{name} {taken[-1]:.2f} s" for name, taken in times.items())
        print(f"round {number}, load {os.getloadavg()[0]:.1f}: {told}", flush=True)
    table(times, events, "tollgate")


if __name__ == "__main__":
    main()
