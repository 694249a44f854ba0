"""What every encoder has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from snncc.graph import Array


class Encoder(ABC):
    """Turns an analog value x float32 [C, *spatial] into a current or spikes; `function` is its specification."""

    op: ClassVar[str]
    function: ClassVar[str]
    fires: ClassVar[bool]
    timed: ClassVar[bool] = False  # is its value a whole train [T, C, *spatial]?
    signed: bool = False

    @abstractmethod
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the ONNX node."""

    @abstractmethod
    def encode(self, x: Array, step: int, seed: int) -> Array:
        """The output [C, *spatial] at step 1, 2, ...: float32 current, or spikes int8."""

    @abstractmethod
    def clipped(self, x: Array) -> int:
        """How many elements of x lie outside what this encoder can say."""
