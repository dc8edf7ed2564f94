"""What each stage of a decision costs: instructions, and misses of a simulated cache.

    python3 bench/stages.py [--keys-log2 17]

Runs `tollgate-bench features` under callgrind, which counts every instruction and simulates the first cache of the
processor that it runs on and a last one of 2 MiB, and prints a table a decision. Needs valgrind. Valgrind has no AVX-512, so that the
kernel for AVX2 is what is counted. How to read it: docs/COST.md.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENGINE = "tollgate::engine::Engine::"
AHEAD = "tollgate::engine::ahead::Ahead::"
NOTE = ENGINE + "note_keys"
STORE = "tollgate::engine::store::<impl tollgate::engine::Engine>::store_own_rows"
STAGES = [
    ("note the keys of an event to come", NOTE),
    ("ask for its index buckets, and for the first lines of its records", AHEAD + "ask_for_records"),
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


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--keys-log2", default="14", help="keys of each entity, as a power of two (default 14)")
    arguments.add_argument("--slice-ms", default="400", help="length of each measured slice; valgrind takes fifty times as long for what is in it")
    given = arguments.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("stages.py: valgrind is not installed; the package is called valgrind")
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "tollgate-bench"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "callgrind")
        command = [
            "valgrind", "--quiet", "--tool=callgrind", "--cache-sim=yes", "--LL=2097152,16,64", f"--callgrind-out-file={out}",
            os.path.join(ROOT, "target/release/tollgate-bench"), "features", "--keys-log2", given.keys_log2,
            "--slices", "1", "--slice-ms", given.slice_ms, "--memory-keys-log2", "1", "--decisions-only",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        events, inclusive, calls = read(out)
    place = {event: number for number, event in enumerate(events)}
    decisions = calls[ENGINE + "step"]
    print(f"{decisions} decisions\n")
    print(f"{'stage':<36}{'instructions':>13}{'first-level misses':>20}{'last-level misses':>19}")
    for stage, function in STAGES:
        counts = inclusive.get(function, [0] * len(events))
        # Not every decision is looked ahead at.
        times = calls[NOTE] if function == NOTE or function.startswith(AHEAD) else decisions
        of = lambda *names: sum(counts[place[name]] for name in names) / times
        print(f"{stage:<36}{of('Ir'):>13.0f}{of('D1mr', 'D1mw'):>20.1f}{of('DLmr', 'DLmw'):>19.1f}")


if __name__ == "__main__":
    main()
