"""Rows that are easily scored wrong, and tollctl to score them with."""

import csv
import pathlib
import subprocess

import numpy as np

ROWS = 20_000
ZERO = float(np.float32(1e-35))
EDGES = [0.0, -0.0, 5e-324, -5e-324, 1e-310, -1e-310, 1e-40, -1e-40, 1e-36, 1e-35, -1e-35, ZERO, -ZERO]
EDGES += [np.nextafter(edge, toward) for edge in (ZERO, -ZERO) for toward in (-np.inf, np.inf)]
CATEGORIES = [-1.0, -0.5, -0.0, 0.25, 0.999, -1e-36, -1e-300, 1.5, 31.0, 31.9, 32.0, 63.0, 64.0, 65.0]
CATEGORIES += [65535.0, 65536.0, 1e6, 2.0**24, 2.0**31 - 1, 2.0**31, 2.0**32, 2.0**32 + 1, 2.0**33, 2.0**63, 1e300, -1e300]


def beside(thresholds, dtype):
    """Each threshold, and the numbers next to it."""
    t = np.unique(np.asarray(thresholds, dtype=dtype))
    with np.errstate(over="ignore"):
        down, up = np.nextafter(t, dtype(-np.inf)), np.nextafter(t, dtype(np.inf))
    return np.concatenate([t, down, up]).astype(np.float64)


def adversarial(rng, natural, candidates):
    """As many rows as it takes for each candidate to stand in one; half of them natural but for one number in four."""
    count = max(ROWS, 2 * max(len(column) for column in candidates))
    rows = natural[rng.integers(0, len(natural), count)].astype(np.float64)
    for input_, column in enumerate(candidates):
        if len(column) == 0:
            continue
        order = np.concatenate([rng.permutation(column) for _ in range(-(-count // len(column)))])[:count]
        taken = np.arange(count) % 2 == 0
        # Every candidate has its turn in the even rows.
        half = np.concatenate([rng.permutation(column) for _ in range(-(-count // len(column)))])[: taken.sum()]
        rows[taken, input_] = half
        some = ~taken & (rng.random(count) < 0.25)
        rows[some, input_] = order[some]
    return rows


def write(path, names, rows, margins=None):
    """Numbers with as many digits as they need; what is missing is an empty cell."""
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(list(names) + ([] if margins is None else ["margin"]))
        for at, row in enumerate(rows.tolist()):
            cells = ["" if x != x else repr(x) for x in row]
            out.writerow(cells if margins is None else cells + [repr(float(margins[at]))])


class Tollctl:
    """The binary, in a folder for its files."""

    def __init__(self, binary, folder):
        self.binary, self.folder = str(binary), pathlib.Path(folder)
        self.failures = 0

    def run(self, *arguments):
        return subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True, check=False)

    def must(self, *arguments):
        done = self.run(*arguments)
        if done.returncode != 0:
            raise SystemExit(f"tollctl {' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout

    def kernels(self, model, rows):
        """Those that this processor has, by what is said when one is asked for that there is not."""
        said = self.run("model", "predict", "--model", model, "--input", rows, "--out", self.folder / "x", "--kernel", "none").stderr
        return said.strip().rsplit("has ", 1)[1].split(", ")

    def load(self, path):
        """Columns of predictions, by name."""
        with open(path) as file:
            names = file.readline().strip().split(",")
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
        return {name: table[:, at] for at, name in enumerate(names)}

    def check(self, name, source, format_, names, rows, margins, told, *options, leaves=None):
        """Imports a model and compares margins of all kernels, bit for bit; and leaves, walked."""
        model, table, out = (self.folder / f"{name}.{end}" for end in ("tgm", "csv", "out"))
        self.must("model", "import", "--format", format_, source, "--out", model, *options)
        write(table, names, rows)
        kernels, wrong = self.kernels(model, table), 0
        for kernel in kernels:
            self.must("model", "predict", "--model", model, "--input", table, "--out", out, "--kernel", kernel)
            found = self.load(out)
            differ = np.flatnonzero(found["margin"].view(np.int64) != margins.astype(np.float64).view(np.int64))
            wrong += len(differ)
            for row in differ[:3]:
                print(f"  {name}, {kernel}, row {row}: {margins[row]!r} became {found['margin'][row]!r}: {rows[row].tolist()}")
            if told is not None and not np.allclose(found["probability"], told, rtol=1e-5, atol=1e-300):
                wrong += 1
                print(f"  {name}, {kernel}: probabilities differ by more than rounding")
        said = ""
        if leaves is not None:
            self.must("model", "predict", "--model", model, "--input", table, "--out", out, "--kernel", "walk", "--leaves")
            found = self.load(out)
            ours = np.stack([found[f"leaf_{tree}"] for tree in range(leaves.shape[1])], axis=1).astype(np.int64)
            differ = int((ours != leaves).sum())
            wrong += differ
            said = f", {leaves.size} leaves, {differ} differ"
        self.failures += wrong
        print(f"{name}: {len(rows)} rows, kernels {' '.join(kernels)}, {wrong} mismatches{said}", flush=True)
        return model
