"""Random inputs for a specialisation: nothing, everything, and what meets the ends of lines and of channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from snncc.encoders import Constant, SpikeTrain
from snncc.graph import Array
from tests.random_geometry import Rng, Shape, one_of
from tests.specialisations import Specialisation

PATTERNS = (
    "nothing", "all", "all", "1%", "13%", "50%", "corner", "column", "ends", "even channels", "last channel",
    "one step",
)  # fmt: skip


def pattern(rng: Rng, name: str, shape: Shape) -> Array:
    """bool [T, C, *spatial]"""
    steps, channels, *space = shape
    out = np.zeros(shape, bool)
    match name:
        case "all":
            out[:] = True
        case "corner":
            place: tuple[Any, ...] = tuple(one_of(rng, (0, n - 1)) for n in (channels, *space))
            out[(int(rng.integers(steps)), *place)] = True
        case "column":
            place = tuple(int(rng.integers(n)) for n in space)
            out[(slice(None), slice(None), *place)] = True
        case "ends":
            out[..., :1] = out[..., -int(rng.integers(1, 4)) :] = True
        case "even channels":
            out[:, ::2] = True
        case "last channel":
            out[:, -1] = rng.random(out[:, -1].shape) < 0.5
        case "one step":
            out[int(rng.integers(steps))] = True
        case _ if name.endswith("%"):
            out = rng.random(shape) < int(name[:-1]) / 100
    return out


def data_set(made: Specialisation, number: int) -> tuple[dict[str, Array], int, str]:
    """(value of every encoder, steps, what it is); the first sets are one pattern for all encoders."""
    rng = np.random.default_rng([made.seed, made.index, number, 1])
    steps = int(rng.integers(1, made.steps, endpoint=True))
    values, told = {}, []
    for population in made.network.encoders:
        name = PATTERNS[number] if number < len(PATTERNS) else one_of(rng, PATTERNS)
        kind, signs = population.kind, one_of(rng, ("+", "-", "+-", "even +, odd -"))
        train = isinstance(kind, SpikeTrain)
        shape = (steps if train else 1, *population.shape)
        x = pattern(rng, name, shape).astype(np.float32)
        if isinstance(kind, Constant):
            x = x[0] * (kind.high if signs != "+-" else rng.integers(0, kind.high + 1, population.shape))
        if kind.signed or (isinstance(kind, Constant) and kind.low < 0):
            parity = 1 - 2 * (np.arange(population.channels) % 2).reshape(-1, *(1,) * (len(population.shape) - 1))
            x = x * {"+": 1, "-": -1, "+-": rng.choice([-1, 1], x.shape), "even +, odd -": parity}[signs]
            name += f" {signs}"
        values[population.name] = x.astype(np.float32)
        told.append(name)
    return values, steps, ", ".join(told)
