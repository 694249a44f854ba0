"""Third-party models give after ingestion what onnxruntime finds for the originals, or are refused as listed here."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from snncc.api import Plan, conversion, plan
from snncc.errors import FormatError
from snncc.runtime.host import run_graph
from tests.backend_cases import light, node_cases
from tests.onnx_models import Array, expected

OPERATORS = {
    "Add": 8, "AveragePool": 20, "BatchNormalization": 4, "Clip": 12, "Concat": 12, "Conv": 6, "ConvTranspose": 11,
    "Flatten": 9, "Gemm": 11, "GlobalAveragePool": 2, "GroupNormalization": 2, "InstanceNormalization": 2,
    "LeakyRelu": 3, "MatMul": 7, "MaxPool": 19, "Pad": 6, "Relu": 1, "Reshape": 10, "Resize": 39, "Sigmoid": 2,
    "Softmax": 7,
}  # fmt: skip
CASES = {case.name: case for case in node_cases(set(OPERATORS))}

TRAINING = "batch normalisation in training mode"  # depends on the whole batch; the file is not a trained network
UNREAD = {
    "batchnorm_example_training_mode": TRAINING,
    "batchnorm_epsilon_training_mode": TRAINING,
    "reshape_allowzero_reordered": "dimension 0 of input 'data' is 0",  # nothing to compute
}
# onnxruntime 1.31 differs from the data of ONNX; after ingestion they give what onnxruntime does
BESIDE_DATA = {"resize_downsample_scales_linear_align_corners", "resize_downsample_scales_cubic_align_corners"}

LIGHT = {  # name -> why the network is not lowered, or None
    "squeezenet": None,
    "densenet121": None,
    "resnet50": None,
    "vgg19": None,
    "shufflenet": "its groups cut across a concatenation",
    "inception_v1": "LRN has no exact spiking counterpart",
    "inception_v2": None,
    "bvlc_alexnet": "LRN has no exact spiking counterpart",
    "zfnet512": "LRN has no exact spiking counterpart",
}
LARGE = {"bvlc_alexnet", "vgg19", "zfnet512"}  # 0.25 to 0.6 GB of weights
RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "conformance.md"


def refusal(todo: Plan) -> str | None:
    """What lowering says of a single node: a network runs one image, and something in it has to spike."""
    (source,) = todo.graph.inputs
    shape, dtype = todo.graph.shape(source), todo.graph.types[source].dtype
    if dtype not in ("float32", "uint8"):
        return f"an input of {dtype} is no image"
    if len(shape) == 1:
        return f"an input of shape {re.escape(str(shape))} has no"
    if shape[0] != 1:
        return f"a fixed batch of {shape[0]}"
    return None if conversion(todo)[1] is None else "nothing in it spikes"


def check_conversion(todo: Plan, refusal: str | None) -> None:
    """`snncc check`: it lowers, or is refused with this message, a node and a remedy."""
    notes, error = conversion(todo)
    if refusal is None:
        assert error is None
        return
    assert error is not None and re.search(refusal, error.message)
    assert error.remedy and (error.node or "nothing" in error.message)
    assert notes


@pytest.mark.parametrize("name", CASES)
def test_node(name: str, tmp_path: Path) -> None:
    case, file = CASES[name], tmp_path / "teacher.onnx"
    onnx.save(case.teacher(), file)
    if name in UNREAD:
        with pytest.raises(FormatError, match=UNREAD[name]) as caught:
            plan(file)
        assert caught.value.remedy and str(file) in str(caught.value)
        return
    todo = plan(file)
    feeds, wanted, given = case.feeds, expected(case.model, case.feeds), case.outputs
    source = next(iter(case.feeds))
    cut = todo.graph.shape(source) != feeds[source].shape  # one sample of the file's batch
    if cut:
        feeds = {**feeds, source: feeds[source][:1]}
        wanted, given = ({name: y[:1] for name, y in outputs.items()} for outputs in (wanted, given))
    found = run_graph(todo.graph, feeds, todo.graph.outputs)
    assert list(found) == list(wanted) == list(given)
    for output, value in found.items():
        np.testing.assert_allclose(value, wanted[output], case.rtol, case.atol, strict=True)
        near = value.shape == given[output].shape and np.allclose(
            value, given[output], case.rtol, case.atol, equal_nan=True
        )
        assert near == (name not in BESIDE_DATA)
    check_conversion(todo, refusal(todo))


def test_the_numbers_in_the_document() -> None:
    assert Counter(case.operator for case in CASES.values()) == OPERATORS
    assert {*UNREAD, *BESIDE_DATA} <= set(CASES)
    read = [case for name, case in CASES.items() if name not in UNREAD]
    refused = Counter(refusal(plan(case.teacher())) for case in read)
    batches = sum(count for why, count in refused.items() if why and "batch" in why)
    whole = sum(count for why, count in refused.items() if why and "no image" in why)
    bare = sum(count for why, count in refused.items() if why and "has no" in why)
    rows = [
        ("single-node cases", len(CASES)),
        ("agree with onnxruntime after ingestion", len(read)),
        ("agree with the data of ONNX too", len(read) - len(BESIDE_DATA)),
        ("refused while reading", len(UNREAD)),
        ("of those read: lower", refused[None]),
        ("of those read: refused for a batch that is more than samples", batches),
        ("of those read: refused for an input without a batch", bare),
        ("of those read: refused for whole numbers as input", whole),
        ("of those read: refused as nothing in them spikes", refused["nothing in it spikes"]),
        ("light networks", len(LIGHT)),
        ("of those: lower", sum(why is None for why in LIGHT.values())),
    ]
    text = RESULTS.read_text()
    for what, number in rows:
        assert f"| {what} | {number} |" in text


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in LIGHT])
def test_light(name: str) -> None:
    model = light(name)
    todo = plan(model)
    (source,) = todo.graph.inputs
    images = [{source: image(seed)} for seed in (1, 2)]
    wanted, other = (expected(model, feeds) for feeds in images)
    found = run_graph(todo.graph, images[0], todo.graph.outputs)
    for output in wanted:
        scale = np.abs(wanted[output]).max()
        np.testing.assert_allclose(found[output], wanted[output], rtol=1e-3, atol=1e-5 * scale, strict=True)
    last = list(wanted)[-1]  # before the softmax, which may be saturated
    effect = np.abs(wanted[last] - other[last]).max()
    error = np.abs(found[last] - wanted[last]).max()
    assert effect > 0 and error < 1e-3 * effect  # the input matters, and far more than the error
    check_conversion(todo, LIGHT[name])


def image(seed: int) -> Array:
    """[1, 3, 224, 224] of coarse random blocks: fine noise would average out before the last layer."""
    blocks = np.random.default_rng(seed).standard_normal((1, 3, 7, 7), np.float32)
    return blocks.repeat(32, 2).repeat(32, 3)
