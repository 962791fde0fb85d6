# SPDX-License-Identifier: BSD-3-Clause
"""The medians of a run of bench, by name (for goals and plots)."""

import json
import re
import sys


class Missing(Exception):
    """That benchmark is not in the results."""


class Results:
    def __init__(self, path):
        try:
            with open(path, encoding="utf-8") as file:
                data = json.load(file)
        except (OSError, ValueError) as error:
            sys.exit(f"cannot read the results of `ninja bench`: {path}: "
                     f"{getattr(error, 'strerror', None) or error}")
        self.context = data["context"]
        self.rows = {}
        runs = set()
        for row in data["benchmarks"]:
            # What was run once has no median but itself.
            kind = row.get("aggregate_name", "")
            if kind not in ("", "median") or row.get("error_occurred"):
                continue
            runs.add(row.get("repetitions", 1))
            row["wall"] = "/real_time" in row["run_name"]
            # What google benchmark adds to a name.
            name = re.sub("/real_time|/(min_time|iterations|repeats):[^/]*",
                          "", row["run_name"])
            if kind == "median" or name not in self.rows:
                self.rows[name] = row
        self.repetitions = " to ".join(
            str(one) for one in sorted({min(runs), max(runs)})) or "none"

    def has(self, name):
        return name in self.rows

    def row(self, name):
        if name not in self.rows:
            raise Missing(name)
        return self.rows[name]

    def time(self, name):
        """Nanoseconds of one unit of work: CPU time, or real time where the
        benchmark is judged by that (of two threads: half of what one of
        them takes)."""
        row = self.row(name)
        return row["real_time" if row["wall"] else "cpu_time"]

    def counter(self, name, counter):
        row = self.row(name)
        if counter not in row:
            raise Missing(f"{name}: {counter}")
        return row[counter]

    def load(self):
        """L: one dependent load from the first-level cache."""
        return self.time("limit/l1_chain")

    def series(self, prefix):
        """[(argument, time)] of PREFIX/ARGUMENT, ascending."""
        found = []
        for name in self.rows:
            head, _, tail = name.rpartition("/")
            if head == prefix and tail.isdigit():
                found.append((int(tail), self.time(name)))
        return sorted(found)

    def names(self, prefix):
        return [name for name in self.rows if name.startswith(prefix)]

    def loads(self):
        """(pages, MiB, name) of the blocks of RAM with loads at random."""
        for name in self.names("ram/prealloc/"):
            if "chained_ns" in self.row(name):
                pages, _, mib = name.split("/")[2:]
                yield pages, int(mib), name

    def by_mib(self, name):
        """{MiB: ns} of these loads, over ever larger parts of the block."""
        return {int(key[3:]): value for key, value in self.row(name).items()
                if key.startswith("ns_")}

    def machine(self):
        caches = ", ".join(f"L{cache['level']} {cache['type']} "
                           f"{cache['size'] // 1024} KiB"
                           for cache in self.context["caches"])
        return (f"{self.context.get('cpu', 'unknown processor')}, "
                f"{self.context['num_cpus']} processors; {caches}")
