"""The whole compiler on one page: the passes of `snncc compile`, top to bottom."""

from __future__ import annotations

from collections.abc import Iterable

from snncc.bounds import RADIX_STEPS
from snncc.errors import OptionError
from snncc.neurons.base import total_count
from snncc.passes.graph.clip_to_relu import ClipToRelu
from snncc.passes.graph.dead_nodes import DeadNodes
from snncc.passes.graph.drop_noop import DropNoop
from snncc.passes.graph.fold_affine import FoldAffine
from snncc.passes.graph.fold_batchnorm import FoldBatchNorm
from snncc.passes.graph.fold_pad import FoldPad
from snncc.passes.graph.layout import Layout
from snncc.passes.graph.matmul_to_gemm import MatMulToGemm
from snncc.passes.graph.relu_before_maxpool import ReluBeforeMaxPool
from snncc.passes.graph.repeat_to_resize import RepeatToResize
from snncc.passes.graph.sink_concat import SinkConcat
from snncc.passes.lower import Lower
from snncc.passes.network.calibrate import Calibrate
from snncc.passes.network.choose import choice
from snncc.passes.network.neurons import Neurons
from snncc.passes.network.quantize import Quantize
from snncc.passes.network.threshold_scale import ThresholdScale
from snncc.pipeline import Pass

DEFAULT_CODE = "radix:4"
MARGIN = 1.25  # of a radix code's thresholds above those of least squares: less clipped, and fewer spikes (decision 16)
RATE_STEPS = 32
PLAIN = ("if", "leaky")  # what such a neuron fires too early it cannot take back: it wants lower thresholds than mse's


def graph_passes() -> list[Pass]:
    """The teacher made simple, without changing a number beyond rounding."""
    return [
        DropNoop(),
        Layout(),
        RepeatToResize(),
        MatMulToGemm(),
        ClipToRelu(),
        SinkConcat(),
        ReluBeforeMaxPool(),
        FoldBatchNorm(),
        FoldAffine(),
        FoldPad(),
        DropNoop(),
        DeadNodes(),
    ]


def default_pipeline(
    *,
    precision: str = "int8",
    calibration: str | None = None,
    per: str = "channel",
    code: str | None = None,
    neuron: str | None = None,
    encoder: str = "constant",
    allow_analog: bool = False,
    timesteps: int | None = None,
) -> list[Pass]:
    """The default recipe for the options of `snncc compile`.

    neuron None: radix in a radix code, else signed. calibration None: mse (in a radix code times MARGIN), or the 99th
    percentile for PLAIN neurons.
    code, timesteps: see `code_of`; with the neuron they tell mse how many levels a population can say.

    Raises:
        OptionError: an option means nothing, or does not go with another.
    """
    code, timesteps = code_of(code, neuron, encoder, timesteps)
    neuron = neuron or ("signed" if code == "rate" else "radix")
    chosen = choice(neuron)
    if (code == "rate") != (chosen.base == 1):
        remedy = "--code radix:K without --neuron and -T, or another neuron without --code"
        raise OptionError(f"neuron {neuron!r} with the code {code}", remedy=remedy)
    levels = total_count(chosen.base, timesteps) * chosen.most
    levels = 0 if levels == timesteps else levels
    usual = calibration or ("percentile:99" if chosen.kind in PLAIN else "mse")
    passes = [*graph_passes(), Lower(allow_analog=allow_analog), _calibrate(usual, per, levels)]
    if calibration is None and chosen.base == 2:
        passes.append(ThresholdScale(MARGIN))
    passes.append(Neurons(kind=neuron, encoder=encoder))
    if precision.startswith("int") and precision[3:].isdecimal():
        passes.append(Quantize(bits=int(precision[3:])))
    elif precision != "float32":
        raise OptionError(f"precision {precision!r} is unknown", remedy="int8 or float32")
    return passes


def code_of(code: str | None, neuron: str | None, encoder: str, timesteps: int | None) -> tuple[str, int]:
    """The code and its time steps. Without `code`: DEFAULT_CODE, but rate where a neuron, an encoder that gives spikes
    or a T is named.

    Raises:
        OptionError: the code is unknown, or does not go with the encoder or T.
    """
    if code is None:
        free = neuron in (None, "radix") and encoder == "constant" and timesteps is None
        code = DEFAULT_CODE if free else "rate"
    digits = digits_of(code)
    if digits and encoder != "constant":
        remedy = "--code rate, or the encoder constant"
        raise OptionError(f"the encoder {encoder} gives no digits of the code {code}", remedy=remedy)
    if timesteps is None:
        timesteps = digits or RATE_STEPS
    if digits and timesteps != digits:
        remedy = "its number of digits is its T: leave -T out; for a rate code leave --code out"
        raise OptionError(f"T = {timesteps} with the code {code}", remedy=remedy)
    return code, timesteps


def speaks_radix(passes: Iterable[Pass]) -> bool:
    """Does this pipeline make a network of radix neurons?"""
    return any(isinstance(step, Neurons) and choice(step.kind).base == 2 for step in passes)


def digits_of(code: str) -> int | None:
    """K of `radix:K`, None for `rate`. Raises OptionError for anything else."""
    name, _, digits = code.partition(":")
    if code == "rate":
        return None
    if name == "radix" and digits.isdecimal() and 1 <= int(digits) <= RADIX_STEPS:
        return int(digits)
    raise OptionError(f"code {code!r} is unknown", remedy=f"rate, or radix:K with K from 1 to {RADIX_STEPS}")


def _calibrate(text: str, per: str, levels: int) -> Calibrate:
    method, *parts = text.split(":")
    if text == "max":
        return Calibrate(method=text, per=per)
    if text == "mse":
        return Calibrate(method=text, per=per, levels=levels)
    try:
        if method != "percentile" or len(parts) not in (1, 2) or parts[1:] not in ([], ["positive"]):
            raise ValueError
        return Calibrate(q=float(parts[0]), per=per, zeros=len(parts) == 1)
    except ValueError:
        raise OptionError(
            f"calibration {text!r} is unknown", remedy="percentile:99.9, percentile:99.9:positive, max or mse"
        ) from None
