"""What a result was measured on."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding

PACKAGES = ("snncc", "numpy", "numba", "llvmlite", "onnxruntime")


def machine() -> dict[str, Any]:
    """Processor, what LLVM compiles for, versions, the load before the run, and when."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = found[0] if found else model
    return {
        "processor": model,
        "target": str(llvmlite.binding.get_host_cpu_name()),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "load": os.getloadavg()[0],  # well above 0 before a run: others were at work, and times are too long
        "date": time.strftime("%Y-%m-%d %H:%M"),
    }


def line(found: dict[str, Any]) -> str:
    """All of it in a line."""
    versions = ", ".join(f"{name} {found[name]}" for name in ("python", *PACKAGES))
    return (
        f"{found['processor']}, LLVM target {found['target']}, {found['cores']} cores, {found['system']}; {versions}; "
        f"{found['date']}, load before {found['load']:.1f}."
    )
