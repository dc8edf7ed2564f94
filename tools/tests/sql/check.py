"""The windows of two policies computed a second time, by DuckDB, from the same files.

    python check.py golden             writes the golden files, from DuckDB alone
    python check.py compare VERDICTS   compares a verdict file of `tollctl replay --features` (csv) with DuckDB, row by row
                                       (which policy it is of is told by its columns)

`golden` writes currencies.csv and rates.csv (drawn from a fixed seed), currencies.golden.csv (every value) and, when the
handbook's payments are there, handbook.golden (a digest of each feature's values): what the plain tests compare with,
so that they need no Python. Values are whole: counts, minor units, or nothing.

Windows here are (t - T, t]: a SQL frame keeps its left edge and sees later rows of an equal time. So rows are ordered by a key
that is the time in nanoseconds plus their rank among equal times, and the bounds of each frame are written in that key.
"""

import os
import random
import sys

import blake3
import duckdb

HERE = os.path.dirname(os.path.abspath(__file__))
HANDBOOK = os.path.join(HERE, "../../../../shared/data/handbook/transactions.parquet")
SECOND = 1_000_000
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
DIGITS = {"USD": 2, "EUR": 2, "GBP": 2, "JPY": 0, "KWD": 3}


def frame(by, span, delay=0):
    """`last span delayed delay` over rows with time t, key k_BY and rank r_BY among equal times of one `by`."""
    lower = f"{(span + delay) * 1000 - 1000}::bigint + r_{by} preceding"
    upper = "current row" if delay == 0 else f"{delay * 1000 - 999}::bigint + r_{by} preceding"
    return f"over (partition by {by} order by k_{by} range between {lower} and {upper})"


def rows(by, count):
    return f"over (partition by {by} order by k_{by} rows between {count - 1} preceding and current row)"


def latest(by, count, what):
    """`what` (a list function) of `last count events`: of all that came so far, the latest by time, then id tag."""
    near = f"list({{'t': t, 'tag': tag, 'minor': minor}}) over (partition by {by} order by k_{by} rows between {count + 20} preceding and current row)"
    return f"{what}([x.minor for x in list_reverse_sort({near})[1:{count}]])"


MASK = (1 << 64) - 1


def id_tag(kind, text):
    """The tag by which events of equal times are ordered, as `Tokenizer::event_id` and `EventId::tag` make it."""
    secret = blake3.blake3((1).to_bytes(4, "little") + b"not secret", derive_key_context="tollgate 2026 key tokens").digest()
    words = blake3.blake3(len(kind).to_bytes(8, "little") + kind.encode() + text.encode(), key=secret).digest(16)
    a, b = (int.from_bytes(words[i : i + 8], "little") for i in (0, 8))
    b ^= 0x9E37_79B9_7F4A_7C15
    product = (a ^ 0xA076_1D64_78BD_642F) * (b ^ 0xE703_7ED1_A0B4_28DB)
    return (product >> 64) ^ (product & MASK) ^ (a << 32 & MASK | a >> 32) ^ b


def so_far(by, period):
    return f"over (partition by {by}, {period} order by k_{by} rows unbounded preceding)"


def ranked(table, keys):
    """Adds to `table` a rank among equal times and a strictly increasing key, for each column of `keys`."""
    columns = "".join(
        f", row_number() over (partition by {by}, t order by seq) - 1 as r_{by}"
        f", t * 1000 + row_number() over (partition by {by}, t order by seq) - 1 as k_{by}"
        for by in keys
    )
    return f"select *{columns} from {table}"


def select(con, table, features):
    columns = ", ".join(f"({sql})::bigint as {name}" for name, sql in features.items())
    return con.execute(f"select id, {columns} from {table} order by seq").fetchall()


def handbook():
    con = duckdb.connect()
    con.execute(
        f"""create table raw as select TRANSACTION_ID::bigint as id, TRANSACTION_ID::bigint as seq,
        epoch_us(TX_DATETIME) as t, CUSTOMER_ID::bigint as customer, TERMINAL_ID::bigint as terminal,
        round(TX_AMOUNT * 100)::bigint as minor, (CUSTOMER_ID::bigint * 1000000 + TERMINAL_ID::bigint) as pair
        from read_parquet('{HANDBOOK}')"""
    )
    con.execute("create table e1 as " + ranked("raw", ["customer", "terminal", "pair"]))
    # Tags only where they decide.
    tied = con.execute("select id from (select id, count(*) over (partition by customer, t) as n from e1) where n > 1").fetchall()
    con.execute("create table tags (id bigint, tag ubigint)")
    con.executemany("insert into tags values (?, ?)", [(id, id_tag("payment", str(id))) for (id,) in tied])
    # A session begins where the payment before is more than the gap away.
    con.execute(
        f"""create table e as select *, sum(begins) over (partition by customer order by k_customer rows unbounded preceding)
        as session from (select *, case when t - lag(t) over (partition by customer order by k_customer) <= {6 * HOUR}
        then 0 else 1 end as begins from (select e1.*, coalesce(tag, 0) as tag from e1 left join tags using (id)))"""
    )
    features = {
        "c_n_1h": f"count(*) {frame('customer', HOUR)}",
        "c_sum_7d": f"sum(minor) {frame('customer', 7 * DAY)}",
        "c_min_1d": f"min(minor) {frame('customer', DAY)}",
        "c_max_7d": f"max(minor) {frame('customer', 7 * DAY)}",
        "c_shops_7d": f"count(distinct terminal) {frame('customer', 7 * DAY)}",
        "t_payers_1d": f"count(distinct customer) {frame('terminal', DAY)}",
        "t_n_7d_d7": f"count(*) {frame('terminal', 7 * DAY, 7 * DAY)}",
        "t_max_1d_d7": f"max(minor) {frame('terminal', DAY, 7 * DAY)}",
        "c_sum_last5": latest("customer", 5, "list_sum"),
        "c_max_last5": latest("customer", 5, "list_max"),
        "c_n_every1d": f"count(*) {so_far('customer', f't // {DAY}')}",
        "t_sum_every6h": f"sum(minor) {so_far('terminal', f't // {6 * HOUR}')}",
        "c_n_month": "count(*) " + so_far("customer", "date_trunc('month', make_timestamp(t))"),
        "c_sum_week": "sum(minor) " + so_far("customer", "date_trunc('week', make_timestamp(t))"),
        "c_session": f"count(*) {so_far('customer', 'session')}",
        "ct_n_30d": f"count(*) {frame('pair', 30 * DAY)}",
    }
    return list(features), select(con, "e", features)


def draw():
    """Payments at unequal times and rates with gaps, so that some money has no rate and some a rate too old."""
    draw = random.Random(20)
    path = os.path.join(HERE, "currencies.csv")
    start = 1_577_923_200 * SECOND  # 2020-01-02
    with open(path, "w") as file:
        file.write("id,time,card,shop,amount,currency\n")
        t = start
        for number in range(4000):
            t += draw.choice([1, 1000, SECOND, 60 * SECOND, HOUR]) * draw.randint(1, 3)
            currency = draw.choice(list(DIGITS))
            minor = draw.choice([draw.randint(0, 9), draw.randint(0, 99_999), draw.randint(0, 10**9)])
            digits = DIGITS[currency]
            amount = f"{minor // 10**digits}" + (f".{minor % 10**digits:0{digits}d}" if digits else "")
            file.write(f"{number},{t},card{draw.randrange(12)},shop{draw.randrange(5)},{amount},{currency}\n")
        end = t
    with open(os.path.join(HERE, "rates.csv"), "w") as file:
        file.write("time,from,to,rate\n")
        lines = []
        for source in DIGITS:
            for target in ["USD", "JPY", "KWD"]:
                if source == target or (source, target) == ("GBP", "KWD"):
                    continue
                t = start - 2 * DAY + 7 * SECOND
                while t < end + DAY:
                    base = {"USD": 1.0, "EUR": 1.1, "GBP": 1.3, "JPY": 0.0091, "KWD": 3.25}
                    rate = base[source] / base[target] * draw.uniform(0.9, 1.1)
                    lines.append((t, source, target, f"{rate:.{draw.randint(4, 8)}f}"))
                    t += draw.choice([1, 1, 1, 2, 3, 6]) * DAY + draw.randint(-3600, 3600) * SECOND
        for t, source, target, rate in sorted(lines):
            seconds, micros = divmod(t, SECOND)
            file.write(f"{iso(seconds)},{source},{target},{rate}\n")


def iso(seconds):
    import datetime

    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def currencies():
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    con.execute(
        f"""create table payments as select id::bigint as id, id::bigint as seq, time::bigint as t, card, shop, currency,
        replace(amount, '.', '')::hugeint as minor, card || '/' || shop as pair
        from read_csv('{HERE}/currencies.csv', all_varchar = true)"""
    )
    # num / den, exactly as written.
    con.execute(
        f"""create table rates as select epoch_us(time::timestamptz) as t, "from", "to",
        replace(rate, '.', '')::hugeint as num, (10::hugeint ** length(split_part(rate, '.', 2)))::hugeint as den
        from read_csv('{HERE}/rates.csv', all_varchar = true)"""
    )
    con.execute("create table digits (currency varchar, d integer)")
    con.executemany("insert into digits values (?, ?)", list(DIGITS.items()))
    for target in ["USD", "JPY", "KWD"]:
        up = f"(minor * num * power10(greatest({DIGITS[target]} - d, 0)))"
        down = f"(den * power10(greatest(d - {DIGITS[target]}, 0)))"
        con.execute("create or replace macro power10(n) as ('1' || repeat('0', n))::hugeint")
        con.execute("create or replace macro half_even(n, d) as case when (n % d) * 2 > d or ((n % d) * 2 = d and (n // d) % 2 = 1) "
                    "then n // d + 1 else n // d end")
        con.execute(
            f"""create table in_{target} as select payments.id, case
            when currency = '{target}' then minor
            when num is null or payments.t - rates.t > {3 * DAY} then null
            else half_even({up}, {down}) end as value
            from payments join digits using (currency)
            asof left join (select * from rates where "to" = '{target}') as rates
            on payments.currency = rates."from" and payments.t >= rates.t"""
        )
    con.execute(
        """create table joined as select payments.*, in_USD.value as usd, in_JPY.value as jpy, in_KWD.value as kwd
        from payments join in_USD using (id) join in_JPY using (id) join in_KWD using (id)"""
    )
    con.execute("create table e as " + ranked("joined", ["card", "shop", "pair"]))
    features = {
        "usd_sum_1d": f"coalesce(sum(usd) {frame('card', DAY)}, 0)",
        "usd_sum_7d": f"coalesce(sum(usd) {frame('shop', 7 * DAY)}, 0)",
        "usd_max_2d": f"max(usd) {frame('card', 2 * DAY)}",
        "usd_min_last4": f"min(usd) {rows('card', 4)}",
        "usd_n_2d": f"count(distinct usd) {frame('card', 2 * DAY)}",
        "jpy_sum_every": f"coalesce(sum(jpy) {so_far('card', f't // {12 * HOUR}')}, 0)",
        # Shanghai is eight hours ahead all year.
        "kwd_sum_day": f"coalesce(sum(kwd) {so_far('shop', f'(t + {8 * HOUR}) // {DAY}')}, 0)",
        "usd_last": f"last_value(usd ignore nulls) {frame('shop', DAY, DAY)}",
        "n_pair_5d": f"count(*) {frame('pair', 5 * DAY)}",
    }
    return list(features), select(con, "e", features)


def told(value):
    return "" if value is None else str(value)


def golden():
    draw()
    names, values = currencies()
    with open(os.path.join(HERE, "currencies.golden.csv"), "w") as file:
        file.write(",".join(["id", *names]) + "\n")
        for row in values:
            file.write(",".join(map(told, row)) + "\n")
    if not os.path.exists(HANDBOOK):
        print("SKIPPED: the handbook's payments are not there; handbook.golden stays as it is")
        return
    names, values = handbook()
    with open(os.path.join(HERE, "handbook.golden"), "w") as file:
        for column, name in enumerate(names, 1):
            digest = blake3.blake3()
            for row in values:
                digest.update(f"{row[0]},{told(row[column])}\n".encode())
            file.write(f"{name} {len(values)} {digest.hexdigest()}\n")


def compare(path):
    import csv

    with open(path) as file:
        found = list(csv.DictReader(file))
    names, values = handbook() if "c_n_1h" in found[0] else currencies()
    differing = dict.fromkeys(names, 0)
    if len(found) != len(values):
        sys.exit(f"{len(found)} verdicts, {len(values)} rows in SQL")
    digits = {"usd": 2, "jpy": 0, "kwd": 3}
    for row, verdict in zip(values, found):
        if str(row[0]) != verdict["id"]:
            sys.exit(f"verdict of {verdict['id']} where SQL has {row[0]}")
        for name, value in zip(names, row[1:]):
            text = verdict[name]
            money = "sum" in name or "min" in name or "max" in name or name == "usd_last"
            scale = 10 ** digits.get(name.split("_")[0], 2) if money else 1
            here = None if text == "" else round(float(text) * scale)
            if here != value:
                differing[name] += 1
                if differing[name] == 1:
                    print(f"{name} of {row[0]}: {here} here, {value} in SQL")
    for name, count in differing.items():
        print(f"{name:16} {len(values)} rows, {count} differ")
    sys.exit(1 if any(differing.values()) else 0)


if __name__ == "__main__":
    if sys.argv[1:] == ["golden"]:
        golden()
    elif len(sys.argv) == 3 and sys.argv[1] == "compare":
        compare(sys.argv[2])
    else:
        sys.exit(__doc__)
