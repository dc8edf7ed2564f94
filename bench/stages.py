"""What each stage of a decision costs: instructions, and misses of a simulated cache; or nanoseconds.

    python3 bench/stages.py [--keys-log2 17]
    python3 bench/stages.py --time [--keys-log2 21]

Runs `tollgate-bench features` under callgrind, which counts every instruction and simulates the first cache of the
processor that it runs on and a last one of 2 MiB, and prints a table a decision. Needs valgrind. Valgrind has no AVX-512, so that the
kernel for AVX2 is what is counted. How to read it: docs/COST.md.

With `--time` it runs natively, in bursts, and perf looks a thousand times a second where it is: the share of samples in each stage, of
the time that the benchmark itself says a decision takes. Needs perf, and a machine with nothing else to do.
"""

import argparse
import fnmatch
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENGINE = "tollgate::engine::Engine::"
LOOK = "tollgate::engine::ahead::"
AHEAD = LOOK + "Ahead::"
NOTE = ENGINE + "note_keys"
STORE = "tollgate::engine::store::<impl tollgate::engine::Engine>::store_own_rows"
STAGES = [
    ("note the keys of an event to come", NOTE),
    ("ask for its index buckets, and for the first lines of its records", LOOK + "ask::by_*"),
    ("ask for all their lines", AHEAD + "ask_for_lines"),
    ("ask for what is beyond them", AHEAD + "ask_beyond_records"),
    ("ask for what is further away", AHEAD + "ask_for_rows"),
    ("decode, and look for a duplicate", ENGINE + "receive"),
    ("look the keys up", ENGINE + "look_up_keys"),
    ("make the event's own rows", ENGINE + "make_own_rows"),
    ("compute the features", ENGINE + "compute_features"),
    ("rules, decision", ENGINE + "judge"),
    ("store the rows", STORE),
    ("apply an amendment", ENGINE + "amend"),
    ("sweep idle keys", ENGINE + "drop_idle_keys"),
    ("remember the answer", ENGINE + "conclude"),
    ("roll the digest", f"tollgate::engine::digest::{'arm' if platform.machine() == 'aarch64' else 'x86'}::roll"),
    ("all of step", ENGINE + "step"),
]


def read(path):
    """Inclusive events and calls of every function, by name, and the names of the events."""
    names, inclusive, calls = {}, {}, {}
    events, function, callee = [], None, None

    def name(text):
        number, _, given = re.match(r"\((\d+)\)( (.*))?", text).groups()
        if given:
            names[number] = given
        return names[number]

    def add(function, counts):
        total = inclusive.setdefault(function, [0] * len(events))
        for place, count in enumerate(counts):
            total[place] += int(count)

    for line in open(path):
        line = line.rstrip("\n")
        if line.startswith("events:"):
            events = line.split()[1:]
        elif line.startswith("fn="):
            function = name(line[3:])
        elif line.startswith("cfn="):
            callee = name(line[4:])
        elif line.startswith("calls="):
            calls[callee] = calls.get(callee, 0) + int(line[6:].split()[0])
        elif re.match(r"[-+*\d]", line):
            # Its own, or those of a call: callgrind adds recursion up once a level, and there is none in a stage.
            counts = line.split()[1:]
            add(function, counts)
    return events, inclusive, calls


def sampled(path):
    """The stages that each sample of a timed decision is in, one list for each draw: before a draw windows are filled."""
    draws, filling = [], True
    for sample in open(path).read().split("\n\n"):
        frames = [line.split(None, 1)[1].strip() for line in sample.split("\n") if line.split()[1:]]
        if any(frame.endswith("Fed::feed") for frame in frames):
            filling = True
        elif any("::slices::" in frame for frame in frames) and {ENGINE + "step", ENGINE + "look_ahead"} & set(frames):
            if filling:
                draws.append([])
            filling = False
            draws[-1].append([stage for stage, function in STAGES if fnmatch.filter(frames, function)])
    return draws


def nanoseconds(given):
    with tempfile.TemporaryDirectory() as directory:
        data, text = os.path.join(directory, "data"), os.path.join(directory, "text")
        command = [
            "perf", "record", "--quiet", "--event", "cpu-clock", "--freq", "1000", "--call-graph", "dwarf,2048", "--output", data, "--",
            os.path.join(ROOT, "target/release/tollgate-bench"), "features", "--keys-log2", given.keys_log2 or "21", "--ways", "bursts",
            "--slices", "10", "--slice-ms", given.slice_ms or "1000", "--memory-keys-log2", "1", "--decisions-only", "--json",
        ]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        with open(text, "w") as out:
            script = ["perf", "script", "--no-inline", "--fields", "ip,sym", "--input", data]
            subprocess.run(script, check=True, stdout=out, stderr=subprocess.DEVNULL)
        draws = sampled(text)
    lines = [json.loads(line) for line in told.splitlines()]
    values = [line["value"] for line in lines if line["name"].startswith("decision.45.")]
    if len(draws) != len(values):
        sys.exit(f"stages.py: perf saw {len(draws)} draws and the benchmark timed {len(values)}; with more keys filling the windows takes long enough to be seen")
    print(f"{', '.join(str(len(draw)) for draw in draws)} samples of decisions of {', '.join(f'{value:.0f}' for value in values)} ns\n")

    def row(what, cells):
        print(f"{what:<68}" + "".join(f"{cell:>14}" for cell in cells))

    def share(is_counted):
        return [f"{value * sum(map(is_counted, draw)) / len(draw):.0f}" for draw, value in zip(draws, values)]

    row("stage", ["uniform, ns", "zipf, ns"])
    # The last is what a decision is in all the time.
    *stages, (whole, _) = STAGES
    for stage, _ in stages:
        row(stage, share(lambda found: stage in found))
    row("what is in none of these", share(lambda found: set(found) <= {whole}))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--keys-log2", help="keys of each entity, as a power of two (default 14; with --time 21)")
    arguments.add_argument("--slice-ms", help="length of each measured slice (default 400; with --time 1000); valgrind takes fifty times as long for what is in it")
    arguments.add_argument("--time", action="store_true", help="nanoseconds, by samples of perf, in place of instructions and misses")
    given = arguments.parse_args()
    if not given.time and shutil.which("valgrind") is None:
        sys.exit("stages.py: valgrind is not installed; the package is called valgrind")
    if given.time and shutil.which("perf") is None:
        sys.exit("stages.py: perf is not installed; the package is called linux-perf")
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "tollgate-bench"], cwd=ROOT, check=True)
    if given.time:
        return nanoseconds(given)
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "callgrind")
        command = [
            "valgrind", "--quiet", "--tool=callgrind", "--cache-sim=yes", "--LL=2097152,16,64", f"--callgrind-out-file={out}",
            os.path.join(ROOT, "target/release/tollgate-bench"), "features", "--keys-log2", given.keys_log2 or "14",
            "--slices", "1", "--slice-ms", given.slice_ms or "400", "--memory-keys-log2", "1", "--decisions-only",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        events, inclusive, calls = read(out)
    place = {event: number for number, event in enumerate(events)}
    decisions = calls[ENGINE + "step"]
    print(f"{decisions} decisions\n")
    print(f"{'stage':<36}{'instructions':>13}{'first-level misses':>20}{'last-level misses':>19}")
    for stage, function in STAGES:
        # Of those that a name with a star stands for, one runs.
        counts = next((inclusive[found] for found in fnmatch.filter(inclusive, function)), [0] * len(events))
        # Not every decision is looked ahead at.
        times = calls[NOTE] if function == NOTE or function.startswith(LOOK) else decisions
        of = lambda *names: sum(counts[place[name]] for name in names) / times
        print(f"{stage:<36}{of('Ir'):>13.0f}{of('D1mr', 'D1mw'):>20.1f}{of('DLmr', 'DLmw'):>19.1f}")


if __name__ == "__main__":
    main()
