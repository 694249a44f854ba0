"""Checks arrays that a user hands in as network input."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from snncc.errors import DataError
from snncc.graph import Array

Shapes = Mapping[str, tuple[int, ...]]


def checked(values: Array | Mapping[str, Array], shapes: Shapes) -> dict[str, Array]:
    """Inputs by name as float32 [1, C, *spatial]. Raises DataError for a wrong name, shape, dtype or NaN."""
    if not isinstance(values, Mapping):
        if len(shapes) != 1:
            raise DataError(f"one array for the inputs {', '.join(shapes)}", remedy="give a dict by input name")
        values = {next(iter(shapes)): values}
    if values.keys() != shapes.keys():
        raise DataError(f"inputs {', '.join(values) or 'none'}", remedy=f"the network wants {', '.join(shapes)}")
    return {name: checked_array(name, np.asarray(values[name]), shape) for name, shape in shapes.items()}


def checked_array(name: str, value: Array, shape: tuple[int, ...]) -> Array:
    """One input as float32 of `shape`; the batch may be missing."""
    where = f"input {name}"
    if value.shape not in (shape, shape[1:]):
        raise DataError(f"an array of shape {value.shape}", node=where, remedy=f"the network wants {shape[1:]}")
    if value.dtype.kind != "f":
        raise DataError(f"an array of dtype {value.dtype}", node=where, remedy="scale it as in training, to float32")
    if not np.isfinite(value).all():
        raise DataError("the array holds NaN or infinity", node=where, remedy="replace those values")
    return np.ascontiguousarray(value, np.float32).reshape(shape)
