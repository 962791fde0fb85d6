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
        self.repetitions = 0
        for row in data["benchmarks"]:
            # What was run once has no median but itself.
            kind = row.get("aggregate_name", "")
            if kind not in ("", "median") or row.get("error_occurred"):
                continue
            self.repetitions = max(self.repetitions,
                                   row.get("repetitions", 1))
            row["wall"] = "/real_time" in row["run_name"]
            # What google benchmark adds to a name.
            name = re.sub("/real_time|/(min_time|iterations):[^/]*", "",
                          row["run_name"])
            if kind == "median" or name not in self.rows:
                self.rows[name] = row

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

    def machine(self):
        caches = ", ".join(f"L{cache['level']} {cache['type']} "
                           f"{cache['size'] // 1024} KiB"
                           for cache in self.context["caches"])
        return (f"{self.context.get('cpu', 'unknown processor')}, "
                f"{self.context['num_cpus']} processors; {caches}")
