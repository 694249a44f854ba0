"""Kinds of neuron by their text: `if`, `if:zero`, `leaky:0.9`, `signed`, `multi-threshold:3:signed`, ..."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snncc.errors import OptionError
from snncc.neurons import (
    IntegrateFire,
    Leaky,
    LeakyRectifier,
    MultiThreshold,
    Neuron,
    Radix,
    Rectifier,
    Settled,
    Signed,
)
from snncc.neurons.leaky import DIVISOR

FORMS = "if[:zero][:first], leaky[:TAU][:zero][:first], signed, multi-threshold:N[:signed], settled or radix"
MOST_LEVELS = 4
DEFAULT_TAU = 0.9


@dataclass(frozen=True)
class Choice:
    """A kind of neuron with its options.

    Args:
        kind: its name. levels: of a multi-threshold neuron. negative: may a rectifier of this kind take spikes back?
        to_zero, fire_first, tau: of integrate-and-fire neurons.
    """

    kind: str
    levels: int = 1
    negative: bool = False
    to_zero: bool = False
    fire_first: bool = False
    tau: float = 1.0

    @property
    def base(self) -> int:
        return 2 if self.kind == "radix" else 1

    @property
    def most(self) -> int:
        """The largest value of one spike."""
        return (1 << self.levels) - 1

    def neuron(self, ideal: Neuron, channels: int) -> Neuron:
        """The neuron of threshold 1 that stands for `ideal` (Rectifier, LeakyRectifier or Linear).

        Only integrate-and-fire neurons have no form that carries negative values: there `Signed` stands in.
        """
        theta = np.ones(channels, np.float32)
        v0 = theta / 2
        rectifies = isinstance(ideal, Rectifier)
        slope = ideal.slope if isinstance(ideal, LeakyRectifier) else np.ones(channels)
        dip = ((1 / slope - 1) / 2).astype(np.float32)
        match self.kind:
            case "settled":
                return Settled(theta, v0, not rectifies, dip)
            case "radix":
                return Radix(theta, v0, not rectifies, dip)
            case "multi-threshold":
                return MultiThreshold(theta, v0, self.levels, self.negative or not rectifies, rectifies, dip)
            case "leaky" if rectifies:
                return Leaky(theta, v0, self.to_zero, self.fire_first, round(self.tau * DIVISOR))
            case "if" if rectifies:
                return IntegrateFire(theta, v0, self.to_zero, self.fire_first)
        return Signed(theta, v0, rectifies, dip)


def choice(text: str) -> Choice:
    """Raises OptionError for a text that names no neuron."""
    kind, *options = text.split(":")
    wrong = OptionError(f"the neuron {text!r} is unknown", remedy=FORMS)
    resets = {"to_zero": "zero" in options, "fire_first": "first" in options}
    rest = [o for o in options if o not in ("zero", "first")]
    if kind in ("signed", "settled", "radix") and not options:
        return Choice(kind)
    if kind == "if" and not rest:
        return Choice(kind, **resets)
    try:
        if kind == "leaky" and len(rest) <= 1:
            tau = float(rest[0]) if rest else DEFAULT_TAU
            if 1 / DIVISOR <= tau <= 1:
                return Choice(kind, tau=tau, **resets)
            raise OptionError(f"the neuron {text!r}: a leak of {tau:g}", remedy=f"1/{DIVISOR} to 1")
        if kind == "multi-threshold" and options and options[1:] in ([], ["signed"]):
            levels = int(options[0])
            if 1 <= levels <= MOST_LEVELS:
                return Choice(kind, levels, bool(options[1:]))
            raise OptionError(f"the neuron {text!r} has {levels} levels", remedy=f"1 to {MOST_LEVELS}")
    except ValueError:
        raise wrong from None
    raise wrong
