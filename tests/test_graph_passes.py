"""Every graph pass keeps the function, in the cases that other tools got wrong."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from snncc.graph import Graph
from snncc.ingest import ingest
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
from snncc.pipeline import Context, Pass
from snncc.runtime.host import run_graph
from snncc.verify import verify_graph
from tests.onnx_models import expected, feeds, model

PASSES: dict[str, Pass] = {
    step.name: step
    for step in (
        FoldBatchNorm(),
        FoldAffine(),
        FoldPad(),
        MatMulToGemm(),
        SinkConcat(),
        ReluBeforeMaxPool(),
        Layout(),
        RepeatToResize(),
        ClipToRelu(),
        DropNoop(),
        DeadNodes(),
    )
}
X = "float[1,4,8,8] x"
CONV = "float[4,4,3,3] w, float[4] b"
BN = "float[4] g, float[4] t, float[4] m, float[4] v"
SPATIAL_PADS = {"p": [0, 0, 1, 1, 0, 0, 1, 1]}

# name: (passes, graph text, given weights, operators afterwards)
CASES: dict[str, tuple[str, str, Mapping[str, Any], str]] = {
    "conv-bn": (
        "fold-batchnorm",
        f"agraph ({X}, {CONV}, {BN}) => (float y) "
        "{ c = Conv <pads=[1,1,1,1]> (x, w, b)  y = BatchNormalization (c, g, t, m, v) }",
        {},
        "Conv",
    ),
    "second consumer": (
        "fold-batchnorm",
        f"agraph ({X}, {CONV}, {BN}) => (float y) "
        "{ c = Conv <pads=[1,1,1,1]> (x, w, b)  d = BatchNormalization (c, g, t, m, v)  y = Add (c, d) }",
        {},
        "Conv BatchNormalization Add",
    ),
    "conv output is a graph output": (
        "fold-batchnorm",
        f"agraph ({X}, {CONV}, {BN}) => (float y, float c) "
        "{ c = Conv <pads=[1,1,1,1]> (x, w, b)  y = BatchNormalization (c, g, t, m, v) }",
        {},
        "Conv BatchNormalization",
    ),
    "transposed, two groups": (
        "fold-batchnorm",
        f"agraph ({X}, float[4,3,2,2] w, float[6] g, float[6] t, float[6] m, float[6] v) => (float y) "
        "{ c = ConvTranspose <group=2, strides=[2,2]> (x, w)  y = BatchNormalization (c, g, t, m, v) }",
        {},
        "ConvTranspose",
    ),
    "depthwise": (
        "fold-batchnorm",
        f"agraph ({X}, float[4,1,3,3] w, {BN}) => (float y) "
        "{ c = Conv <group=4> (x, w)  y = BatchNormalization (c, g, t, m, v) }",
        {},
        "Conv",
    ),
    "bn before a padded conv": (
        "fold-batchnorm,fold-affine",
        f"agraph ({X}, {CONV}, {BN}) => (float y) "
        "{ d = BatchNormalization (x, g, t, m, v)  y = Conv <pads=[1,1,1,1]> (d, w, b) }",
        {},
        "Mul Add Conv",
    ),
    "shared weights": (
        "fold-batchnorm",
        f"agraph ({X}, float[4,4,3,3] w, {BN}, float[4] g2, float[4] t2, float[4] m2, float[4] v2) => (float y) "
        "{ c = Conv (x, w)  d = BatchNormalization (c, g, t, m, v) "
        "  e = Conv (x, w)  f = BatchNormalization (e, g2, t2, m2, v2)  y = Add (d, f) }",
        {},
        "Conv Conv Add",
    ),
    "gemm alpha beta": (
        "fold-batchnorm",
        "agraph (float[1,6] x, float[4,6] w, float[4] b, float[4] g, float[4] t, float[4] m, float[4] v) => (float y) "
        "{ c = Gemm <transB=1, alpha=2.0, beta=0.5> (x, w, b)  y = BatchNormalization (c, g, t, m, v) }",
        {},
        "Gemm",
    ),
    "gemm not transposed": (
        "fold-batchnorm",
        "agraph (float[1,6] x, float[6,4] w, float[4] g, float[4] t, float[4] m, float[4] v) => (float y) "
        "{ c = Gemm (x, w)  y = BatchNormalization (c, g, t, m, v) }",
        {},
        "Gemm",
    ),
    "mul and add per channel": (
        "fold-affine",
        f"agraph ({X}, {CONV}, float[4,1,1] s, float[1,4,1,1] u) => (float y) "
        "{ c = Conv (x, w, b)  d = Mul (c, s)  y = Add (u, d) }",
        {},
        "Conv",
    ),
    "sub and div, constants first and second": (
        "fold-affine",
        f"agraph ({X}, {CONV}, float[4,1,1] s, float q) => (float y) "
        "{ c = Conv (x, w, b)  d = Sub (s, c)  y = Div (d, q) }",
        {"q": 3.0},
        "Conv",
    ),
    "constant over columns": (
        "fold-affine",
        f"agraph ({X}, float[4,4,1,1] w, float[8] s) => (float y) {{ c = Conv (x, w)  y = Add (c, s) }}",
        {},
        "Conv Add",
    ),
    "constant divided by channel": (
        "fold-affine",
        f"agraph ({X}, float[4,4,1,1] w, float q) => (float y) {{ c = Conv (x, w)  y = Div (q, c) }}",
        {},
        "Conv Div",
    ),
    "constant widens the channels": (
        "fold-affine",
        "agraph (float[1,1,4,4] x, float[1,1,1,1] w, float[3,1,1] s) => (float y) { c = Conv (x, w)  y = Mul (c, s) }",
        {},
        "Conv Mul",
    ),
    "zero pad": (
        "fold-pad",
        f"agraph ({X}, {CONV}, int64[8] p) => (float y) {{ c = Pad (x, p)  y = Conv <pads=[0,1,0,1]> (c, w, b) }}",
        {"p": [0, 0, 0, 1, 0, 0, 1, 2]},
        "Conv",
    ),
    "pad by axes": (
        "fold-pad",
        f"agraph ({X}, {CONV}, int64[4] p, float f, int64[2] a) => (float y) "
        "{ c = Pad (x, p, f, a)  y = Conv (c, w, b) }",
        {"p": [1, 0, 2, 0], "f": 0, "a": [-1, 2]},
        "Conv",
    ),
    "zero pad, auto_pad conv": (
        "fold-pad",
        f"agraph ({X}, {CONV}, int64[8] p) => (float y) "
        '{ c = Pad (x, p)  y = Conv <auto_pad="SAME_UPPER", strides=[2,2]> (c, w, b) }',
        {"p": [0, 0, 0, 1, 0, 0, 1, 2]},
        "Conv",
    ),
    "pad of 1.5": (
        "fold-pad",
        f"agraph ({X}, {CONV}, int64[8] p, float q) => (float y) {{ c = Pad (x, p, q)  y = Conv (c, w, b) }}",
        {**SPATIAL_PADS, "q": 1.5},
        "Pad Conv",
    ),
    "reflected pad": (
        "fold-pad",
        f'agraph ({X}, {CONV}, int64[8] p) => (float y) {{ c = Pad <mode="reflect"> (x, p)  y = Conv (c, w, b) }}',
        SPATIAL_PADS,
        "Pad Conv",
    ),
    "negative pad": (
        "fold-pad",
        f"agraph ({X}, {CONV}, int64[8] p) => (float y) {{ c = Pad (x, p)  y = Conv <pads=[1,1,1,1]> (c, w, b) }}",
        {"p": [0, 0, -1, 0, 0, 0, 0, 0]},
        "Pad Conv",
    ),
    "channel pad": (
        "fold-pad",
        f"agraph ({X}, float[4,5,3,3] w, int64[8] p) => (float y) {{ c = Pad (x, p)  y = Conv (c, w) }}",
        {"p": [0, 1, 0, 0, 0, 0, 0, 0]},
        "Pad Conv",
    ),
    "pad read twice": (
        "fold-pad",
        f"agraph ({X}, {CONV}, int64[8] p) => (float y) "
        "{ c = Pad (x, p)  d = Conv <pads=[1,1,1,1]> (c, w, b)  y = Add (c, d) }",
        SPATIAL_PADS,
        "Pad Conv Add",
    ),
    "pad, max pool of any sign": (
        "fold-pad",
        f"agraph ({X}, int64[8] p) => (float y) "
        "{ c = Pad (x, p)  y = MaxPool <kernel_shape=[3,3], strides=[2,2]> (c) }",
        SPATIAL_PADS,
        "Pad MaxPool",
    ),
    "pad, max pool of a relu": (
        "fold-pad",
        f"agraph ({X}, int64[8] p) => (float y) "
        "{ r = Relu (x)  c = Pad (r, p)  y = MaxPool <kernel_shape=[3,3], strides=[2,2]> (c) }",
        SPATIAL_PADS,
        "Relu MaxPool",
    ),
    "pad as wide as the window": (
        "fold-pad",
        f"agraph ({X}, int64[8] p) => (float y) "
        "{ r = Relu (x)  c = Pad (r, p)  y = MaxPool <kernel_shape=[2,2], strides=[2,2]> (c) }",
        {"p": [0, 0, 2, 2, 0, 0, 2, 2]},
        "Relu Pad MaxPool",
    ),
    "pad, average pool": (
        "fold-pad",
        f"agraph ({X}, int64[8] p) => (float y) "
        "{ c = Pad (x, p)  y = AveragePool <kernel_shape=[3,3], strides=[2,2], count_include_pad=0> (c) }",
        SPATIAL_PADS,
        "AveragePool",
    ),
    "pad, average pool with pads it does not count": (
        "fold-pad",
        f"agraph ({X}, int64[8] p) => (float y) "
        "{ c = Pad (x, p)  y = AveragePool <kernel_shape=[3,3], pads=[1,1,0,0], count_include_pad=0> (c) }",
        SPATIAL_PADS,
        "Pad AveragePool",
    ),
    "matmul add": (
        "matmul-to-gemm",
        "agraph (float[1,6] x, float[6,4] w, float[4] b) => (float y) { c = MatMul (x, w)  y = Add (b, c) }",
        {},
        "Gemm",
    ),
    "matmul read twice": (
        "matmul-to-gemm",
        "agraph (float[1,6] x, float[6,4] w, float[4] b) => (float y) "
        "{ c = MatMul (x, w)  d = Add (c, b)  y = Mul (c, d) }",
        {},
        "Gemm Add Mul",
    ),
    "matmul of rank 3": (
        "matmul-to-gemm",
        "agraph (float[1,2,6] x, float[6,4] w) => (float y) { y = MatMul (x, w) }",
        {},
        "MatMul",
    ),
    "concat, relu, batchnorm, pools": (
        "sink-concat",
        f"agraph ({X}, float[3,4,1,1] w, float[7] g, float[7] t, float[7] m, float[7] v) => (float y) "
        "{ a = Conv (x, w)  c = Concat <axis=-3> (a, x)  d = BatchNormalization (c, g, t, m, v)  e = Relu (d) "
        "  f = MaxPool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1> (e) "
        "  h = AveragePool <kernel_shape=[2,2]> (f)  y = GlobalAveragePool (h) }",
        {},
        "Conv BatchNormalization BatchNormalization Relu Relu MaxPool MaxPool AveragePool AveragePool "
        "GlobalAveragePool GlobalAveragePool Concat",
    ),
    "concat, per-channel constants": (
        "sink-concat",
        f"agraph ({X}, float[8,1,1] s, float q) => (float y) "
        "{ r = Relu (x)  c = Concat <axis=1> (x, r)  d = Mul (s, c)  y = Sub (q, d) }",
        {},
        "Relu Mul Mul Sub Sub Concat",
    ),
    "concat, constant over columns": (
        "sink-concat",
        f"agraph ({X}, float[8] s) => (float y) {{ r = Relu (x)  c = Concat <axis=1> (x, r)  y = Mul (c, s) }}",
        {},
        "Relu Concat Mul",
    ),
    "concat of rows": (
        "sink-concat",
        f"agraph ({X}) => (float y) {{ r = Sigmoid (x)  c = Concat <axis=2> (x, r)  y = Relu (c) }}",
        {},
        "Sigmoid Concat Relu",
    ),
    "concat read twice": (
        "sink-concat",
        f"agraph ({X}) => (float y) {{ r = Sigmoid (x)  c = Concat <axis=1> (x, r)  d = Relu (c)  y = Add (c, d) }}",
        {},
        "Sigmoid Concat Relu Add",
    ),
    "concat is a graph output": (
        "sink-concat",
        f"agraph ({X}) => (float y, float c) {{ r = Sigmoid (x)  c = Concat <axis=1> (x, r)  y = Relu (c) }}",
        {},
        "Sigmoid Concat Relu",
    ),
    "nested concat, resize, pad": (
        "sink-concat",
        f"agraph ({X}, float[4] k, int64[8] p) => (float y) "
        '{ r = Sigmoid (x)  c = Concat <axis=1> (x, r)  d = Concat <axis=1> (r, c)  e = Resize <mode="nearest", '
        'coordinate_transformation_mode="asymmetric", nearest_mode="floor"> (d, , k)  y = Pad (e, p) }',
        {"k": [1, 1, 2, 2], **SPATIAL_PADS},
        "Sigmoid Resize Resize Resize Pad Pad Pad Concat",
    ),
    "max pool, batchnorm, relu": (
        "relu-before-maxpool",
        f"agraph ({X}, {BN}) => (float y) "
        "{ c = MaxPool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]> (x) "
        "  d = BatchNormalization (c, g, t, m, v)  y = Relu (d) }",
        {"g": [0.5, 0, 2, 1]},
        "BatchNormalization Relu MaxPool",
    ),
    "max pool, falling batchnorm, relu": (
        "relu-before-maxpool",
        f"agraph ({X}, {BN}) => (float y) "
        "{ c = MaxPool <kernel_shape=[2,2]> (x)  d = BatchNormalization (c, g, t, m, v)  y = Relu (d) }",
        {"g": [0.5, -1, 2, 1]},
        "MaxPool BatchNormalization Relu",
    ),
    "max pool read twice": (
        "relu-before-maxpool",
        f"agraph ({X}) => (float y) {{ c = MaxPool <kernel_shape=[2,2]> (x)  d = Relu (c)  y = Add (c, d) }}",
        {},
        "MaxPool Relu Add",
    ),
    "max pool, constant minus, relu": (
        "relu-before-maxpool",
        f"agraph ({X}, float q) => (float y) {{ c = MaxPool <kernel_shape=[2,2]> (x)  d = Sub (q, c)  y = Relu (d) }}",
        {},
        "MaxPool Sub Relu",
    ),
    "pad and max pool of relu6": (
        "fold-pad,drop-noop",
        f"agraph ({X}, int64[8] p, float n, float u) => (float y) {{ a = Clip (x, n, u)  b = Pad (a, p) "
        "  c = MaxPool <kernel_shape=[3,3], strides=[2,2]> (b)  y = Relu (c) }",
        {**SPATIAL_PADS, "n": 0, "u": 0.5},
        "Clip MaxPool",
    ),
    "pad and max pool of a clip from below 0": (
        "fold-pad,drop-noop",
        f"agraph ({X}, int64[8] p, float n) => (float y) {{ a = Clip (x, n)  b = Pad (a, p) "
        "  c = MaxPool <kernel_shape=[3,3], strides=[2,2]> (b)  y = Relu (c) }",
        {**SPATIAL_PADS, "n": -0.5},
        "Clip Pad MaxPool Relu",
    ),
    "no-ops": (
        "drop-noop",
        f"agraph ({X}, float one, float[4,1,1] zero, int64[8] p, int64[4] s, float[4] k) => (float y) "
        "{ a = Mul (one, x)  b = Add (a, zero)  c = Pad (b, p)  d = Reshape (c, s)  e = Relu (d)  f = Relu (e) "
        "  h = AveragePool <kernel_shape=[1,1]> (f)  i = Resize (h, , k)  j = Sigmoid (i)  y = Dropout (j) }",
        {"one": 1, "zero": [0] * 4, "p": [0] * 8, "s": [1, 4, 8, 8], "k": [1, 1, 1, 1]},
        "Relu Sigmoid",
    ),
    "not quite no-ops": (
        "drop-noop",
        f"agraph ({X}, float one, int64[4] s) => (float y) "
        "{ a = Div (one, x)  b = Reshape (a, s)  c = Sub (one, b)  d = MaxPool <kernel_shape=[1,1], strides=[2,2]> (c) "
        "  y = Relu (d) }",
        {"one": 1, "s": [1, 8, 4, 8]},
        "Div Reshape Sub MaxPool Relu",
    ),
    "no-op between input and output": (
        "drop-noop",
        f"agraph ({X}, float one) => (float y, float z) {{ y = Mul (x, one)  r = Relu (x)  z = Mul (one, r) }}",
        {"one": 1},
        "Mul Relu",
    ),
    "two names for one value": (
        "drop-noop",
        f"agraph ({X}, float one) => (float y, float z) {{ r = Relu (x)  y = Mul (r, one)  z = Mul (r, one) }}",
        {"one": 1},
        "Relu Mul",
    ),
}


TO_FIRST, TO_LAST = "Transpose <perm=[0,3,1,2]>", "Transpose <perm=[0,2,3,1]>"
LAST = "float[1,8,6,4] x"
INNER = f"c = {TO_FIRST} (x)  d = Conv (c, w)  e = {TO_LAST} (d)"  # e: [1, 6, 4, 4]
CHANNELS_LAST: dict[str, tuple[str, str, Mapping[str, Any], str]] = {
    "two convs": (
        "layout",
        f"agraph ({LAST}, float[4,4,3,3] w) => (float y) "
        f"{{ {INNER}  f = Relu (e)  g = {TO_FIRST} (f)  h = Conv (g, w)  y = {TO_LAST} (h) }}",
        {},
        "Transpose Conv Relu Conv Transpose",
    ),
    "bias, scale, slopes": (
        "layout",
        f"agraph ({LAST}, {CONV}, float[1,1,1,4] s, float[4] v, float q) => (float y) "
        f"{{ {INNER}  f = Add (b, e)  g = Mul (f, s)  h = PRelu (g, v)  i = Sub (q, h)  y = {TO_FIRST} (i) }}",
        {},
        "Transpose Conv Add Mul PRelu Sub",
    ),
    "concat, add with a raw input": (
        "layout",
        f"agraph ({LAST}, float[4,4,1,1] w) => (float y) "
        f"{{ {INNER}  f = Add (e, x)  g = Concat <axis=-1> (x, f, e)  h = Concat <axis=1> (g, g) "
        f"  y = {TO_FIRST} (h) }}",
        {},
        "Transpose Conv Transpose Add Concat Concat",
    ),
    "read as both": (
        "layout",
        f"agraph ({LAST}, float[4,4,3,3] w) => (float y, float z) "
        f"{{ {INNER}  y = Relu (e)  f = Softmax <axis=-1> (e)  z = Add (f, y) }}",
        {},
        "Transpose Conv Relu Transpose Softmax Transpose Add Transpose Transpose",
    ),
    "means": (
        "layout",
        f"agraph ({LAST}, float[4,4,3,3] w, int64[2] a, int64[1] r) => (float y, float z, float t, float u) "
        f"{{ {INNER}  y = ReduceMean (e, a)  z = ReduceMean <keepdims=0> (e, a)  t = ReduceMean <keepdims=0> (e, r) "
        "  u = ReduceMax (e, a) }",
        {"a": [1, 2], "r": [1]},
        "Transpose Conv GlobalAveragePool GlobalAveragePool Reshape Transpose ReduceMean MaxPool Transpose Transpose",
    ),
    "pad, resize, slice": (
        "layout",
        f"agraph ({LAST}, float[4,4,3,3] w, int64[4] p, int64[2] a, float[4] k, int64[1] i, int64[1] j, float f) "
        f'=> (float y) {{ {INNER}  g = Pad (e, p, f, a)  h = Resize <mode="nearest", nearest_mode="floor", '
        f'coordinate_transformation_mode="asymmetric"> (g, , k)  l = Slice (h, i, j, i)  y = {TO_FIRST} (l) }}',
        {"p": [1, 0, 0, 1], "a": [1, -1], "k": [1, 2, 3, 1], "i": [1], "j": [5], "f": 0.5},
        "Transpose Conv Pad Resize Slice",
    ),
    "flatten, dense": (
        "layout",
        f"agraph ({LAST}, float[4,4,3,3] w, float[96,5] m, float[3,96] n, float[3] b) => (float y, float z) "
        f"{{ {INNER}  f = Flatten (e)  y = MatMul (f, m)  z = Gemm <transB=1> (f, n, b) }}",
        {},
        "Transpose Conv Reshape MatMul Gemm",
    ),
    "flatten, softmax, dense": (
        "layout",
        f"agraph ({LAST}, float[4,4,3,3] w, float[96,5] m) => (float y) "
        f"{{ {INNER}  f = Flatten (e)  g = Softmax (f)  y = MatMul (g, m) }}",
        {},
        "Transpose Conv Transpose Reshape Softmax MatMul",
    ),
    "dense on a map": (
        "layout",
        f"agraph ({LAST}, float[4,4,3,3] w, float[4,7] m, float[7] b) => (float y) "
        f"{{ {INNER}  f = MatMul (e, m)  g = Add (f, b)  y = Relu (g) }}",
        {},
        "Transpose Conv Conv Add Relu Transpose",
    ),
    "one channel by reshape": (
        "layout",
        "agraph (float[1,8,6,1] x, float[1,1,3,3] w, int64[4] s, int64[4] t) => (float y) "
        "{ a = Reshape (x, s)  b = Conv (a, w)  c = Reshape (b, t)  d = Relu (c)  y = Flatten (d) }",
        {"s": [1, 1, 8, 6], "t": [1, 6, 4, 1]},
        "Reshape Conv Relu Reshape",
    ),
    "gate of another rank": (
        "layout",
        f"agraph ({LAST}, float[4,4,3,3] w, float[4] x2) => (float y) {{ {INNER}  f = Mul (e, x2)  y = Relu (f) }}",
        {},
        "Transpose Conv Transpose Mul Relu",
    ),
    "signal": (
        "layout",
        "agraph (float[1,8,4] x, float[4,4,3] w, float[4] b) => (float y) { a = Transpose <perm=[0,2,1]> (x) "
        "  c = Conv (a, w)  d = Transpose <perm=[0,2,1]> (c)  e = Add (d, b)  f = Relu (e) "
        "  g = Transpose <perm=[0,2,1]> (f)  y = Conv (g, w) }",
        {},
        "Transpose Conv Add Relu Conv",
    ),
    "volume": (
        "layout",
        "agraph (float[1,5,4,6,2] x, float[3,2,3,3,3] w, float[3] b, int64[3] a) => (float y) "
        "{ c = Transpose <perm=[0,4,1,2,3]> (x)  d = Conv (c, w)  e = Transpose <perm=[0,2,3,4,1]> (d)  f = Add (e, b) "
        "  y = ReduceMean <keepdims=0> (f, a) }",
        {"a": [1, 2, 3]},
        "Transpose Conv Add GlobalAveragePool Reshape",
    ),
    "repetition along rows, then columns": (
        "layout,repeat-to-resize",
        f"agraph ({LAST}, float[4,4,3,3] w, int64[5] s, int64[5] r, int64[4] t, int64[5] u, int64[5] q, int64[4] v) "
        f"=> (float y) {{ {INNER}  f = Reshape (e, s)  g = Tile (f, r)  h = Reshape (g, t)  i = Reshape (h, u) "
        f"  j = Expand (i, q)  k = Reshape (j, v)  l = {TO_FIRST} (k)  y = Relu (l) }}",
        {"s": [1, 6, 1, 4, 4], "r": [1, 1, 3, 1, 1], "t": [1, 18, 4, 4], "u": [1, 18, 4, 1, 4], "q": [1, 1, 1, 2, 1],
         "v": [1, 18, 8, 4]},
        "Transpose Conv Resize Resize Relu",
    ),
    "tiling is no repetition": (
        "repeat-to-resize",
        f"agraph ({X}, int64[5] s, int64[5] r, int64[4] t) => (float y) "
        "{ a = Reshape (x, s)  b = Tile (a, r)  c = Reshape (b, t)  y = Relu (c) }",
        {"s": [1, 4, 1, 8, 8], "r": [1, 1, 2, 1, 1], "t": [1, 4, 16, 8]},
        "Reshape Tile Reshape Relu",
    ),
}
CLIPS: dict[str, tuple[str, str, Mapping[str, Any], str]] = {
    name: (
        "clip-to-relu",
        f"agraph ({X}, float l, float h, float i, float j) => (float y) {{ {body} }}",
        {"l": bounds[0], "h": bounds[1], "i": (*bounds, 0, 0)[2], "j": (*bounds, 0, 0)[3]},
        operators,
    )
    for name, bounds, body, operators in (
        ("from 0", (0, 6), "a = Clip (x, l, h)  y = Sigmoid (a)", "Clip Sigmoid"),
        ("relu by clip", (0, 6), "y = Clip (x, l)", "Relu"),
        ("no bound at all", (0, 6), "a = Clip (x)  y = Sigmoid (a)", "Identity Sigmoid"),
        ("largest float32", (0, 3.4e38), "a = Clip (x, l, h)  y = Sigmoid (a)", "Relu Sigmoid"),
        ("from -0.5", (-0.5, 0.7), "a = Clip (x, l, h)  y = Sigmoid (a)", "Add Clip Add Sigmoid"),
        ("from 0.25 up", (0.25, 9), "a = Clip (x, l)  y = Sigmoid (a)", "Add Relu Add Sigmoid"),
        ("up to -0.25", (0, -0.25), "a = Clip (x, , h)  y = Sigmoid (a)", "Mul Add Relu Mul Add Sigmoid"),
        ("at the end", (-0.5, 0.7), "y = Clip (x, l, h)", "Clip"),
        ("relu, clip, clip, crossing", (-1, 0.5, 0.6, 0.55),
         "a = Relu (x)  b = Clip (a, l, h)  c = Clip (b, i, j)  y = Sigmoid (c)", "Clip Sigmoid"),
        ("relu, relu6", (0, 6), "a = Relu (x)  b = Clip (a, l, h)  c = Relu (b)  y = Sigmoid (c)", "Clip Sigmoid"),
        ("relu, clip", (0.25, 0.75), "a = Relu (x)  b = Clip (a, l, h)  y = Sigmoid (b)", "Add Clip Add Sigmoid"),
        ("relu read twice", (-1, 0.5), "a = Relu (x)  b = Clip (a, l, h)  y = Mul (a, b)", "Relu Add Clip Add Mul"),
    )
}
CASES |= {f"channels-last: {name}": case for name, case in CHANNELS_LAST.items()}
CASES |= {f"clip: {name}": case for name, case in CLIPS.items()}


def run(graph: Graph, names: str) -> tuple[Graph, Context]:
    context = Context()
    for name in names.split(","):
        result = PASSES[name].run(graph, context)
        assert isinstance(result, Graph)
        graph = result
        verify_graph(graph)
    return graph, context


@pytest.mark.parametrize("name", CASES)
def test_equal(name: str) -> None:
    passes, text, weights, operators = CASES[name]
    proto = model(text, weights)
    graph = ingest(proto)
    verify_graph(graph)
    after, context = run(graph, passes)
    values = feeds(proto)
    found = run_graph(after, values, after.outputs)
    for output, wanted in expected(proto, values).items():
        np.testing.assert_allclose(found[output], wanted, rtol=1e-5, atol=1e-5)
    assert " ".join(node.op for node in after.nodes) == operators
    assert after.outputs == graph.outputs and after.inputs == graph.inputs
    if after is not graph:
        assert context.notes
    kept = {origin for node in after.nodes for origin in node.origin}
    drops = "drop-noop" in passes or "layout" in passes
    assert drops or kept == {origin for node in graph.nodes for origin in node.origin}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("step", PASSES)
def test_any_pass_keeps_any_function(step: str, name: str) -> None:
    _, text, weights, _ = CASES[name]
    proto = model(text, weights)
    values = feeds(proto, seed=1)
    after, _ = run(ingest(proto), step)
    found = run_graph(after, values, after.outputs)
    for output, wanted in expected(proto, values).items():
        np.testing.assert_allclose(found[output], wanted, rtol=1e-5, atol=1e-5)
    again, _ = run(after, step)
    assert [node.op for node in again.nodes] == [node.op for node in after.nodes]


def test_dead_nodes() -> None:
    graph = ingest(model(f"agraph ({X}) => (float y) {{ y = Relu (x)  d = Sigmoid (x) }}"))
    context = Context()
    assert [node.op for node in DeadNodes().run(graph, context).nodes] == ["Relu"]


def test_batchnorm_of_negative_variance_stays() -> None:
    text, weights = CASES["conv-bn"][1], {"v": [-1.0] * 4}
    graph = ingest(model(text, weights))
    after, context = run(graph, "fold-batchnorm,fold-affine")
    assert [node.op for node in after.nodes] == ["Conv", "BatchNormalization"]
    assert [note.action for note in context.notes] == ["skipped"]
