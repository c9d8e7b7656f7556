"""Where results of benchmarks are kept, and with what they were made."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

import jax

RESULTS = Path(__file__).parent / "results"
_BEGUN = time.perf_counter()


def write(name: str, result: dict[str, Any]) -> None:
    """Writes benchmarks/results/NAME.json, with the machine and the minutes since the start."""
    machine = {
        "processor": platform.processor() or platform.machine(),
        "devices": [str(device) for device in jax.devices()],
        "python": platform.python_version(),
        "jax": jax.__version__,
    }
    minutes = round((time.perf_counter() - _BEGUN) / 60, 1)
    content = json.dumps(result | {"minutes": minutes, "machine": machine}, indent=1)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(content + "\n", encoding="utf-8")
    print(f"wrote benchmarks/results/{name}.json")
