"""`python -m tests.faults`: the experiments one after another, what each says, and one line of JSON at the end.

ONLY=W1,P1 runs these; SEED=7 takes another seed; QUICK=1 runs a few of them, shortened, in five minutes; SCALE=0.3
shortens all. The exit code is 1 where an invariant is violated or too little happened.
"""

import json
import os
import sys
from collections import Counter
from dataclasses import asdict

from tests.faults.attempt import attempt
from tests.faults.row import Row

EXPERIMENTS = (
    *("W1", "W4", "W7", "N1", "N2", "N7", "B1", "B12", "P1", "P5", "P8", "D1", "D7"),
    *("Q1", "Q2", "Q3", "Q4", "M1", "R1", "R3", "E1", "E4", "X1"),
)
QUICK = ("W1", "P1", "N2", "E1")
QUICK_SCALE = 0.2


def main() -> int:
    quick = os.environ.get("QUICK", "") not in ("", "0")
    only = [name.strip().upper() for name in os.environ.get("ONLY", "").split(",") if name.strip()]
    if unknown := sorted(set(only) - set(EXPERIMENTS)):
        print(f"no such experiment: {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}", file=sys.stderr)
        return 2
    seed = int(os.environ.get("SEED") or 1)
    scale = float(os.environ.get("SCALE") or (QUICK_SCALE if quick else 1))
    rows: list[Row] = []
    try:
        for name in only or (QUICK if quick else EXPERIMENTS):
            rows.append(attempt(name, seed, scale))
            tell(rows[-1])
    finally:  # what was found until Ctrl-C is worth something too
        print(json.dumps(summary(rows, seed, scale)))
    return 0 if all(row.passed for row in rows) else 1


def tell(row: Row) -> None:
    """One line, and one more for whatever was wrong."""
    verdict = "skipped" if row.skipped else "ok" if row.passed else "INVALID" if not row.violations else "VIOLATED"
    recovery = "     -" if row.recovery_s is None else f"{row.recovery_s:4.1f} s"
    print(
        f"{row.experiment:4} {verdict:8} {row.events_acknowledged:>9,} events  {row.faults:>3} faults  "
        f"recovery {recovery}  drained {row.drain_s:5.1f} s  {row.seconds:5.0f} s  {row.notes}",
        file=sys.stderr,
        flush=True,
    )
    counts = " ".join(f"{invariant}:{count}" for invariant, count in sorted(row.violations.items()))
    for line in [row.skipped, counts, *row.words, *row.invalid]:
        if line:
            print(f"     {line[:1500]}", file=sys.stderr, flush=True)


def summary(rows: list[Row], seed: int, scale: float) -> dict[str, object]:
    """All rows, and their sums."""
    kinds = Counter[str]()
    for row in rows:
        kinds.update(row.kinds)
    return {
        "experiments": len(rows),
        "seed": seed,
        "scale": scale,
        "events_acknowledged": sum(row.events_acknowledged for row in rows),
        "faults": sum(row.faults for row in rows),
        "lost": kinds["lost"],
        "duplicated": kinds["duplicated"],
        "out_of_order": kinds["out_of_order"],
        "other_violations": kinds["other"],
        "worst_recovery_s": max((row.recovery_s or 0.0 for row in rows), default=0.0),
        "failed": [row.experiment for row in rows if not row.passed],
        "rows": [asdict(row) for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main())
