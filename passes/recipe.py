"""The whole compiler on one page: the passes of `snncc compile`, top to bottom."""

from __future__ import annotations

from snncc.errors import OptionError
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
from snncc.passes.network.neurons import Neurons
from snncc.passes.network.quantize import Quantize
from snncc.pipeline import Pass


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
    calibration: str = "percentile:99.9",
    per: str = "channel",
    neuron: str = "signed",
    encoder: str = "constant",
) -> list[Pass]:
    """The default recipe for the options of `snncc compile`.

    Raises:
        OptionError: an option means nothing.
    """
    passes = [*graph_passes(), Lower(), _calibrate(calibration, per), Neurons(kind=neuron, encoder=encoder)]
    if precision.startswith("int") and precision[3:].isdigit():
        passes.append(Quantize(bits=int(precision[3:])))
    elif precision != "float32":
        raise OptionError(f"precision {precision!r} is unknown", remedy="int8 or float32")
    return passes


def _calibrate(text: str, per: str) -> Calibrate:
    method, sign, q = text.partition(":")
    if text == "max":
        return Calibrate(method=text, per=per)
    try:
        if method != "percentile" or not sign:
            raise ValueError
        return Calibrate(q=float(q), per=per)
    except ValueError:
        raise OptionError(f"calibration {text!r} is unknown", remedy="percentile:99.9 or max") from None
