"""What a run of an engine gives, and what every engine offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from snncc.counting import Counts
from snncc.errors import DataError
from snncc.graph import Array
from snncc.network import Population

# (encoder that reads the interlude, potentials of the readouts so far, as in Trace) -> what it reads, [C, *spatial]
Interlude = Callable[[Population, Mapping[str, Array]], Array]


@dataclass(eq=False)
class Trace:
    """One inference of one sample.

    Args:
        potentials: readout name -> V [C, *spatial] after the last step, or [T, C, *spatial] with prefixes;
            int32 or float32, not yet scaled.
        spikes: population name -> int8 [T, C, *spatial] with |s| < 2^levels; empty unless recorded.
        counts: what the engine executed.
    """

    potentials: dict[str, Array]
    spikes: dict[str, Array] = field(default_factory=dict)
    counts: Counts = field(default_factory=lambda: Counts(0))


def checked_value(
    values: Mapping[str, Array],
    encoder: Population,
    timesteps: int,
    interlude: Interlude | None,
    potentials: Mapping[str, Array],
) -> Array:
    """What an encoder reads: [C, *spatial], or a whole train [T, C, *spatial]; by the interlude if `values` lacks it.
    Raises DataError for nothing, another shape, NaN or infinity."""
    wanted = (timesteps, *encoder.shape) if encoder.timed else encoder.shape
    given = values.get(encoder.name)
    if given is None and interlude is not None:
        given = interlude(encoder, potentials)
    if given is None or np.shape(given) != wanted:
        found = "nothing" if given is None else f"the shape {np.shape(given)}"
        raise DataError(f"{found} was given, where {wanted} is wanted", node=encoder.name)
    if not np.isfinite(given).all():
        raise not_finite(encoder, midway=False)
    return np.asarray(given)


def not_finite(encoder: Population, midway: bool) -> DataError:
    """Of an encoder that reads NaN or infinity: engines do not agree on what it makes of that."""
    remedy = "try more time steps" if midway else "prepare the input as in training: the teacher cannot take it, either"
    return DataError("NaN or infinity cannot be encoded", node=encoder.name, remedy=remedy)


class Engine(Protocol):
    """Runs a network step by step, or as if it did."""

    def run(
        self,
        values: Mapping[str, Array],
        timesteps: int,
        *,
        seed: int = 0,
        record: bool = False,
        prefixes: bool = False,
        interlude: Interlude | None = None,
    ) -> Trace:
        """values: encoder population name -> float32 [C, *spatial], without a batch axis; [T, C, *spatial] for a
        spike train given. Encoders in the middle of the network ask `interlude` instead. Raises DataError for a missing
        value or a wrong shape."""
        ...
