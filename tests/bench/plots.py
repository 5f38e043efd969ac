"""Figures as SVG under docs/, for the README."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pygal  # type: ignore[import-untyped]
from pygal.style import CleanStyle  # type: ignore[import-untyped]

OPTIONS: Mapping[str, Any] = {
    "style": CleanStyle,
    "print_values": True,
    "js": (),
    "width": 800,
    "height": 360,
    "legend_at_bottom": True,
    "no_prefix": True,
    "truncate_legend": -1,
    "truncate_label": -1,
    "value_formatter": lambda value: f"{value:,.0f}" if value else "",
}


def draw(found: Mapping[str, Any], folder: Path) -> None:
    """Throughput by stage, cost by stage, and latency; what was not measured is not drawn."""
    if stages := found.get("stages"):
        names = list(stages)
        _bar(
            "Records a second, each stage alone, one worker", names, {"": _medians(stages, "records_per_s")}
        ).render_to_file(folder / "throughput.svg")
        parts = {"worker": "worker_us", "PostgreSQL": "postgres_us", "Kafka": "kafka_us"}
        series = {label: _medians(stages, key) for label, key in parts.items()}
        _bar("CPU microseconds a record, by stage", names, series, pygal.StackedBar).render_to_file(folder / "cost.svg")
    if end := found.get("end_to_end"):
        names = [f"{end[key]['rate']:,} events/s" for key in ("at_100", "at_half")]
        series = {
            label: [end["at_100"][key], end["at_half"][key]] for label, key in (("p50", "p50_ms"), ("p99", "p99_ms"))
        }
        _bar("Milliseconds from the door's answer to the outbound topic", names, series).render_to_file(
            folder / "latency.svg"
        )


def _medians(stages: Mapping[str, Any], key: str) -> list[float]:
    return [figures[key]["median"] for figures in stages.values()]


def _bar(title: str, labels: list[str], series: Mapping[str, list[float]], kind: Any = pygal.Bar) -> Any:
    chart = kind(title=title, x_labels=labels, show_legend=len(series) > 1, **OPTIONS)
    for label, values in series.items():
        chart.add(label, values)
    return chart
