"""How many instructions it takes to find the rules that fire, by how many rules there are.

    python3 bench/rules.py [--rules 10,100,1000,10000]

Runs `tollgate-bench policy --growth` under callgrind, once for each number. Needs valgrind. How to read it: docs/COST.md.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

from stages import ROOT, read

FIRED = "tollgate::engine::matching::Rules::fired"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rules", default="10,100,1000,10000", help="how many rules; several with commas between")
    given = arguments.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("rules.py: skipped: valgrind is not installed; the package is called valgrind")
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "tollgate-bench"], cwd=ROOT, check=True)
    print(f"{'rules':>6}{'instructions':>14}{'first-level misses':>20}{'last-level misses':>19}")
    for rules in given.rules.split(","):
        with tempfile.TemporaryDirectory() as directory:
            out = os.path.join(directory, "callgrind")
            command = [
                "valgrind", "--quiet", "--tool=callgrind", "--cache-sim=yes", "--LL=2097152,16,64", f"--callgrind-out-file={out}",
                f"--toggle-collect={FIRED}", os.path.join(ROOT, "target/release/tollgate-bench"), "policy", "--growth", "--rules", rules,
                "--slices", "1", "--slice-ms", "100",
            ]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            events, inclusive, calls = read(out)
        counts = dict(zip(events, inclusive[FIRED]))
        of = lambda *names: sum(counts[name] for name in names) / calls[FIRED]
        print(f"{rules:>6}{of('Ir'):>14.0f}{of('D1mr', 'D1mw'):>20.1f}{of('DLmr', 'DLmw'):>19.1f}")


if __name__ == "__main__":
    main()
