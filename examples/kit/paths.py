"""Where the repository and the data sets are."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def data_root() -> Path:
    """The folder of all data sets: $SNNCC_SHARED/data, or ../shared/data beside the repository."""
    return Path(os.environ.get("SNNCC_SHARED", ROOT.parent / "shared")) / "data"
