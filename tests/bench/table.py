"""The figures as a table for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def print_table(found: Mapping[str, Any], machine: Mapping[str, str]) -> None:
    """Print all figures, medians with the lowest and highest run behind them."""
    console = Console(stderr=True, width=110)
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
    for name, figures in found.items():
        table = Table("", "median", "low", "high", title=name.replace("_", " "), title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        for label, values in _rows("", figures):
            table.add_row(label, *values)
        console.print(table)


def _rows(label: str, figures: Any) -> Iterator[tuple[str, list[str]]]:
    if not isinstance(figures, dict):
        yield label, [_number(figures)]
    elif "median" in figures:
        low, high = figures["low"], figures["high"]
        rest = [_number(low), _number(high)] if low != high else []
        yield label, [_number(figures["median"]), *rest]
    else:
        for name, value in figures.items():
            yield from _rows(f"{label} {name}".strip(), value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:,.2f}"
