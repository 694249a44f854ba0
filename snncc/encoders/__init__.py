"""Encoders: how an analog value enters the spiking network."""

from snncc.encoders.base import Encoder
from snncc.encoders.constant import Constant
from snncc.encoders.poisson import Poisson

KINDS: tuple[type[Encoder], ...] = (Constant, Poisson)

__all__ = ["KINDS", "Constant", "Encoder", "Poisson"]
