"""Neurons: what a population does with its current. One file a kind; the ONNX function text is the specification.

To add a neuron: one file here (parameters, rule, function text) and one entry in `KINDS`. It then saves, verifies and
runs on onnxruntime; the agreement test names the kernel that the fast runtime still lacks.
"""

from snncc.neurons.base import Neuron, State
from snncc.neurons.ideal import LeakyRectifier, Linear, Rectifier
from snncc.neurons.integrate_fire import IntegrateFire
from snncc.neurons.leaky import Leaky
from snncc.neurons.max_gate import MaxGate
from snncc.neurons.multi_threshold import MultiThreshold
from snncc.neurons.radix import Radix
from snncc.neurons.readout import Readout
from snncc.neurons.settled import Settled
from snncc.neurons.signed import Signed

KINDS: tuple[type[Neuron], ...] = (
    IntegrateFire,
    Leaky,
    Signed,
    MultiThreshold,
    Settled,
    Radix,
    MaxGate,
    Readout,
)

__all__ = [
    "KINDS",
    "IntegrateFire",
    "Leaky",
    "LeakyRectifier",
    "Linear",
    "MaxGate",
    "MultiThreshold",
    "Neuron",
    "Radix",
    "Readout",
    "Rectifier",
    "Settled",
    "Signed",
    "State",
]
