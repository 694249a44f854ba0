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
    """One input as float32 of `shape`; the batch may be missing. A leading 0 stands for any number of time steps."""
    where = f"input {name}"
    timed = shape[0] == 0
    if not (value.shape[1:] == shape[1:] and len(value) if timed else value.shape in (shape, shape[1:])):
        wanted = ("T", *shape[1:]) if timed else shape[1:]
        raise DataError(f"an array of shape {value.shape}", node=where, remedy=f"the network wants {wanted}")
    if value.dtype.kind != "f" and not (timed and value.dtype.kind in "iu"):
        raise DataError(f"an array of dtype {value.dtype}", node=where, remedy="scale it as in training, to float32")
    with np.errstate(over="ignore"):
        value = np.ascontiguousarray(value, np.float32)
    if not np.isfinite(value).all():
        raise DataError("the array holds NaN or infinity (as float32)", node=where, remedy="replace those values")
    return value if timed else value.reshape(shape)
