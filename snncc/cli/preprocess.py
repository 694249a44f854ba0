"""The teacher's `snncc.preprocess` metadata: how a volume or image becomes network input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from snncc.errors import OptionError
from snncc.graph import Array

KEYS = {"version", "orientation", "intensity", "slice_axis", "labels", "displacement"}
FORM = (
    '{"version": 1, "orientation": "RAS" | null, "intensity": {"percentiles": [0.5, 99.5]} | null, '
    '"slice_axis": 0 | 1 | 2 | null, "labels": {"threshold": 0.5} | null, '
    '"displacement": {"output": NAME, "moving": NAME} | null}'
)


@dataclass(frozen=True)
class Preprocess:
    """orientation: axis codes a volume is turned to (None: left as stored); percentiles: those mapped to 0 and 1, per
    channel (None: values as they are); slice_axis: of 2D networks; threshold: of one-channel labels (None: no labels);
    labels: False where "labels" is given as null: the outputs are values (a flow, a denoised image), not classes;
    displacement: (output, input): the output is a displacement, in voxels by array axis, that warps this input onto
    the other one (None: there is none).
    """

    orientation: str | None = None
    percentiles: tuple[float, float] | None = None
    slice_axis: int | None = None
    threshold: float | None = None
    labels: bool = True
    displacement: tuple[str, str] | None = None

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Self:
        """From JSON-like entries. Raises OptionError for what it does not know."""
        if unknown := set(entries) - KEYS:
            raise OptionError(f"preprocessing has no {', '.join(sorted(unknown))}", remedy=f"form: {FORM}")
        try:
            if entries.get("version", 1) != 1:
                raise ValueError
            intensity, labels = entries.get("intensity") or {}, entries.get("labels") or {}
            if set(intensity) - {"percentiles"} or set(labels) - {"threshold"}:
                raise ValueError
            orientation, axis = entries.get("orientation"), entries.get("slice_axis")
            if orientation is not None and sorted("".join(_SIDES[c] for c in orientation.upper())) != list("xyz"):
                raise ValueError
            if axis not in (None, 0, 1, 2):
                raise ValueError
            limits = intensity.get("percentiles")
            if limits is not None:
                low, high = (float(v) for v in limits)
                if not 0 <= low < high <= 100:
                    raise ValueError
                limits = (low, high)
            threshold = labels.get("threshold")
            threshold = None if threshold is None else float(threshold)
            classes = "labels" not in entries or entries["labels"] is not None
            moves = entries.get("displacement")
            moves = None if moves is None else (str(moves["output"]), str(moves["moving"]))
            return cls(orientation and orientation.upper(), limits, axis, threshold, classes, moves)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise OptionError(f"preprocessing cannot be {dict(entries)}", remedy=f"form: {FORM}") from None

    def scaled(self, data: Array) -> Array:
        """float64 [C, ...] -> float32 [C, ...]; with percentiles in [0, 1] on the grid k / 255."""
        if self.percentiles is None:
            return data.astype(np.float32)
        return np.stack([_unit(channel, self.percentiles) for channel in data])


_SIDES = {"L": "x", "R": "x", "P": "y", "A": "y", "I": "z", "S": "z"}


def _unit(channel: Array, percentiles: tuple[float, float]) -> Array:
    low, high = np.percentile(channel, percentiles)
    unit = (np.clip(channel, low, high) - low) / max(high - low, np.finfo(np.float64).tiny)
    return np.asarray(np.rint(unit * 255).astype(np.float32) / np.float32(255))
