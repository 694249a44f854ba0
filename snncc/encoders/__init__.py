"""Encoders: how an analog value enters the spiking network."""

from snncc.encoders.base import Encoder
from snncc.encoders.constant import Constant
from snncc.encoders.poisson import Poisson
from snncc.encoders.signed_poisson import SignedPoisson
from snncc.encoders.spike_train import SpikeTrain

KINDS: tuple[type[Encoder], ...] = (Constant, Poisson, SignedPoisson, SpikeTrain)

__all__ = ["KINDS", "Constant", "Encoder", "Poisson", "SignedPoisson", "SpikeTrain"]
