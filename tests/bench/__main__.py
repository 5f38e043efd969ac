"""`python -m tests.bench`: measures, a table for people, and one line of JSON at the end.

ONLY=door,pressed,stages,workers,automation,destinations,end_to_end,stock,backfill,scaling takes some of them; QUICK=1
takes the door, stages, end_to_end and stock in two minutes; PLOTS=1 draws docs/*.svg anew.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.machine import describe
from tests.bench.measures import FULL, QUICK, Bench
from tests.bench.rig import Servers
from tests.bench.table import print_table

MEASURES = (
    *("door", "pressed", "stages", "workers", "automation", "destinations", "end_to_end", "stock", "backfill"),
    "scaling",
)
QUICK_MEASURES = ("door", "stages", "end_to_end", "stock")


def main() -> int:
    quick = os.environ.get("QUICK", "") not in ("", "0")
    only = [name.strip() for name in os.environ.get("ONLY", "").split(",") if name.strip()]
    if unknown := sorted(set(only) - set(MEASURES)):
        print(f"no such measure: {', '.join(unknown)}; there are {', '.join(MEASURES)}", file=sys.stderr)
        return 2
    if quick and os.environ.get("PLOTS"):
        print("PLOTS=1 wants the whole bench: what QUICK=1 measures is too short to be drawn", file=sys.stderr)
        return 2
    names = only or (QUICK_MEASURES if quick else MEASURES)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        servers = Servers(folder / "servers")
        try:
            bench = Bench(servers.start(), QUICK if quick else FULL, folder, _tell)
            found: dict[str, Any] = {}
            for name in names:
                begun = time.monotonic()
                found[name] = getattr(bench, name)()
                _tell(f"{name}: {time.monotonic() - begun:.0f} s")
        finally:
            servers.stop()
    machine = describe()
    print_table(found, machine)
    if os.environ.get("PLOTS"):
        from tests.bench.plots import draw

        draw(found, Path(__file__).parents[2] / "docs")
    about = {"seconds": round(time.monotonic() - started), "quick": quick, "machine": machine}
    print(json.dumps({**about, **_line(found)}))
    return 0


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _line(found: dict[str, Any]) -> dict[str, Any]:
    """The figures under the names that whoever compares runs looks for."""
    line = dict(found)
    if end := line.get("end_to_end"):
        line["end_to_end"] = {**end, "p50_ms": end["at_half"]["p50_ms"], "p99_ms": end["at_half"]["p99_ms"]}
        line["memory_mb"] = end["memory_mb"]
    if stock := line.pop("stock", None):
        line["ratio_over_stock_faust"] = stock
    return line


if __name__ == "__main__":
    sys.exit(main())
