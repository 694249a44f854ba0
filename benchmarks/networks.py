"""The networks of the benchmarks: architecture as data, random weights and images from a seed, and their ONNX.

Importing this needs NumPy alone, so that the peers' environments build their modules from the same description.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import onnx

Array = np.ndarray[Any, np.dtype[Any]]
Weights = dict[str, Array]  # "NAME.weight" [out, in, *kernel] and "NAME.bias" [out] of each convolution
INPUT, OUTPUT = "image", "out"


@dataclass(frozen=True)
class Layer:
    """One step of a network. Several inputs are concatenated along the channels.

    conv: kernel sizes odd, zero padding that keeps the size (divided by the stride), then a ReLU unless `linear`.
    pool: means over blocks of 2 in each axis. up: nearest neighbour, twice the size in each axis.
    """

    name: str
    inputs: tuple[str, ...]
    op: Literal["conv", "pool", "up"] = "conv"
    channels: int = 0
    kernel: int = 3
    stride: int = 1
    linear: bool = False


@dataclass(frozen=True)
class Architecture:
    """A fully convolutional network on images [1, channels, *size]; its last layer is the output.

    seed (of the weights) and calibration (per layer, one sample) are chosen for the rate of the spiking network."""

    name: str
    channels: int
    size: tuple[int, ...]
    layers: tuple[Layer, ...]
    timesteps: int
    seed: int
    calibration: str

    @property
    def convs(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.op == "conv")

    @property
    def spiking(self) -> tuple[Layer, ...]:
        """What a ReLU follows: a population of neurons in the spiking network."""
        return tuple(layer for layer in self.convs if not layer.linear)


def unet_2d(size: int = 128, widths: tuple[int, int, int] = (16, 32, 64), timesteps: int = 32) -> Architecture:
    """U-Net of three levels, two 3x3 convolutions each, average pooling, nearest upsampling, two channels in and out:
    0.458 GMAC at 128x128. Layers fire at 6.6 to 15 %, on average 11 %."""
    a, b, c = widths
    layers = (
        Layer("e1a", (INPUT,), channels=a), Layer("e1b", ("e1a",), channels=a), Layer("p1", ("e1b",), "pool"),
        Layer("e2a", ("p1",), channels=b), Layer("e2b", ("e2a",), channels=b), Layer("p2", ("e2b",), "pool"),
        Layer("e3a", ("p2",), channels=c), Layer("e3b", ("e3a",), channels=c), Layer("u2", ("e3b",), "up"),
        Layer("d2a", ("u2", "e2b"), channels=b), Layer("d2b", ("d2a",), channels=b), Layer("u1", ("d2b",), "up"),
        Layer("d1a", ("u1", "e1b"), channels=a), Layer("d1b", ("d1a",), channels=a),
        Layer(OUTPUT, ("d1b",), channels=2, kernel=1, linear=True),
    )  # fmt: skip
    return Architecture(f"2D U-Net {size}x{size}", 2, (size, size), layers, timesteps, 1, "percentile:99.9")


def unet_3d(size: tuple[int, int, int] = (64, 64, 64), timesteps: int = 4) -> Architecture:
    """Registration U-Net (VoxelMorph's, as SpikeReg has it): four encoder levels by stride 2, nearest upsampling, a
    pair of volumes in, a displacement out: 10.45 GMAC at 64x64x64. Sides must divide by 8. Layers fire at 8 to 20 %,
    on average 12.5 %, and neurons at 13.3 %."""
    layers = (
        Layer("e1", (INPUT,), channels=16), Layer("e2", ("e1",), channels=32, stride=2),
        Layer("e3", ("e2",), channels=32, stride=2), Layer("e4", ("e3",), channels=32, stride=2),
        Layer("d1", ("e4",), channels=32), Layer("u1", ("d1",), "up"),
        Layer("d2", ("u1", "e3"), channels=32), Layer("u2", ("d2",), "up"),
        Layer("d3", ("u2", "e2"), channels=32), Layer("u3", ("d3",), "up"),
        Layer("d4", ("u3", "e1"), channels=16), Layer("d5", ("d4",), channels=16),
        Layer(OUTPUT, ("d5",), channels=3, linear=True),
    )  # fmt: skip
    return Architecture(f"3D U-Net {'x'.join(map(str, size))}", 2, size, layers, timesteps, 4, "max")


NETWORKS: dict[str, Callable[..., Architecture]] = {"unet_2d": unet_2d, "unet_3d": unet_3d}


def shapes(net: Architecture) -> dict[str, tuple[int, ...]]:
    """Value -> (channels, *size)."""
    found = {INPUT: (net.channels, *net.size)}
    for layer in net.layers:
        channels = sum(found[name][0] for name in layer.inputs)
        size = found[layer.inputs[0]][1:]
        if layer.op == "conv":
            channels, size = layer.channels, tuple((n - 1) // layer.stride + 1 for n in size)
        else:
            size = tuple(n * 2 if layer.op == "up" else n // 2 for n in size)
        found[layer.name] = (channels, *size)
    return found


def fan_in(net: Architecture, layer: Layer) -> int:
    """Channels that a layer reads."""
    sizes = shapes(net)
    return sum(sizes[name][0] for name in layer.inputs)


def macs(net: Architecture) -> int:
    """Multiply-accumulates of one dense pass, padding included."""
    sizes = shapes(net)
    return sum(prod(sizes[c.name]) * fan_in(net, c) * c.kernel ** len(net.size) for c in net.convs)


def weights(net: Architecture) -> Weights:
    """Normal weights of He's variance 2 / fan-in, biases of standard deviation 0.05; float32."""
    rng = np.random.default_rng(net.seed)
    found: Weights = {}
    for layer in net.convs:
        shape = (layer.channels, fan_in(net, layer), *(layer.kernel,) * len(net.size))
        found[f"{layer.name}.weight"] = rng.normal(0, (2 / prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        found[f"{layer.name}.bias"] = rng.normal(0, 0.05, layer.channels).astype(np.float32)
    return found


def in_units_of(thresholds: Mapping[str, float], net: Architecture) -> Weights:
    """The weights where spikes stand for 1 and every threshold is 1: w' = w lambda_pre / lambda_post, b' = b /
    lambda_post; of the output b alone stays. Behind each ReLU this network has 1 / lambda of the teacher's values."""
    found, sizes = weights(net), shapes(net)
    scale = {INPUT: 1.0, **thresholds}
    for layer in net.layers:
        before = [np.full(sizes[name][0], scale[name]) for name in layer.inputs]
        if layer.op != "conv":
            scale[layer.name] = scale[layer.inputs[0]]
            continue
        after = scale.get(layer.name, 1.0)
        factor = (np.concatenate(before) / after).reshape(-1, *(1,) * len(net.size))
        found[f"{layer.name}.weight"] = (found[f"{layer.name}.weight"] * factor).astype(np.float32)
        found[f"{layer.name}.bias"] = (found[f"{layer.name}.bias"] / after).astype(np.float32)
    return found


def image(net: Architecture, seed: int = 1) -> Array:
    """A smooth random image [1, channels, *size] in [0, 1], on the grid k/255 that a constant current can say exactly:
    uniform noise of a quarter of the size, interpolated linearly."""
    rng = np.random.default_rng(seed)
    found = rng.random((net.channels, *(max(n // 4, 2) for n in net.size)), np.float32)
    for axis, n in enumerate(net.size, 1):
        at = np.linspace(0, found.shape[axis] - 1, n, dtype=np.float32)
        low = np.minimum(at.astype(int), found.shape[axis] - 2)
        part = (at - low).reshape(-1, *(1,) * (found.ndim - axis - 1))
        found = np.take(found, low, axis) * (1 - part) + np.take(found, low + 1, axis) * part
    return np.rint(found[None] * 255).astype(np.float32) / np.float32(255)


def compile_options(net: Architecture) -> dict[str, Any]:
    """For `snncc.compile`, beside calibrate=image(net) and the precision: integrate and fire, one threshold a layer, as
    the peers have it."""
    return {"timesteps": net.timesteps, "neuron": "if", "per": "layer", "calibration": net.calibration}


def to_onnx(net: Architecture) -> onnx.ModelProto:
    """The network as an ONNX model. The value behind a ReLU has its layer's name, and so has the population that comes
    of it. No torch is needed."""
    from onnx import TensorProto, checker, helper, numpy_helper

    sizes = shapes(net)

    def info(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *sizes[name]))

    constants = {**weights(net), "twice": np.array([1, 1, *(2,) * len(net.size)], np.float32)}
    graph = helper.make_graph(
        list(_nodes(net)), "benchmark", [info(INPUT)], [info(net.layers[-1].name)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(model)
    return model


def _nodes(net: Architecture) -> Iterator[onnx.NodeProto]:
    from onnx import helper

    rank = len(net.size)
    for layer in net.layers:
        name, source = layer.name, layer.inputs[0]
        if len(layer.inputs) > 1:
            source = f"{name}.in"
            yield helper.make_node("Concat", layer.inputs, [source], axis=1)
        if layer.op == "conv":
            sums = name if layer.linear else f"{name}.sum"
            pads, strides = [layer.kernel // 2] * 2 * rank, [layer.stride] * rank
            yield helper.make_node(
                "Conv", [source, f"{name}.weight", f"{name}.bias"], [sums], pads=pads, strides=strides,
                kernel_shape=[layer.kernel] * rank,
            )  # fmt: skip
            if not layer.linear:
                yield helper.make_node("Relu", [sums], [name])
        elif layer.op == "pool":
            yield helper.make_node("AveragePool", [source], [name], kernel_shape=[2] * rank, strides=[2] * rank)
        else:
            yield helper.make_node(
                "Resize", [source, "", "twice"], [name], mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )  # fmt: skip
