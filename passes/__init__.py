"""Passes that come with snncc. To add one: a file, a line here, a golden text."""

from snncc.passes.graph.clip_to_relu import ClipToRelu
from snncc.passes.graph.dead_nodes import DeadNodes
from snncc.passes.graph.drop_noop import DropNoop
from snncc.passes.graph.fold_affine import FoldAffine
from snncc.passes.graph.fold_batchnorm import FoldBatchNorm
from snncc.passes.graph.fold_pad import FoldPad
from snncc.passes.graph.freeze_norm import FreezeNorm
from snncc.passes.graph.layout import Layout
from snncc.passes.graph.matmul_to_gemm import MatMulToGemm
from snncc.passes.graph.maxpool_to_avgpool import MaxPoolToAvgPool
from snncc.passes.graph.relu_before_maxpool import ReluBeforeMaxPool
from snncc.passes.graph.repeat_to_resize import RepeatToResize
from snncc.passes.graph.sink_concat import SinkConcat
from snncc.passes.lower import Lower
from snncc.passes.network.balance_thresholds import BalanceThresholds
from snncc.passes.network.bias_correction import BiasCorrection
from snncc.passes.network.calibrate import Calibrate
from snncc.passes.network.calibrate_weights import CalibrateWeights
from snncc.passes.network.neurons import Neurons
from snncc.passes.network.quantize import Quantize
from snncc.passes.network.rate_barriers import RateBarriers
from snncc.passes.network.threshold_scale import ThresholdScale
from snncc.passes.network.v_init import VInit
from snncc.pipeline import Pass

BUILTIN: tuple[type[Pass], ...] = (
    DropNoop,
    Layout,
    RepeatToResize,
    MatMulToGemm,
    ClipToRelu,
    SinkConcat,
    ReluBeforeMaxPool,
    FoldBatchNorm,
    FoldAffine,
    FoldPad,
    DeadNodes,
    FreezeNorm,
    MaxPoolToAvgPool,
    Lower,
    Calibrate,
    BalanceThresholds,
    ThresholdScale,
    Neurons,
    VInit,
    BiasCorrection,
    RateBarriers,
    Quantize,
    CalibrateWeights,
)
