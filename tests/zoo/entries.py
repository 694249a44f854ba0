"""The zoo: every entry, and what should come of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from torch import nn

from tests.zoo import classification as c
from tests.zoo import segmentation as s
from tests.zoo.harness import LOOSE, Entry, Outcome, examine
from tests.zoo.layers import Residual, UNet, conv, double, leaky, plain

IMAGE, ODD, COLOURS, SMALL, VOLUME = (1, 32, 32), (1, 27, 30), (3, 32, 32), (1, 16, 16), (1, 16, 16, 16)
UPS = (
    "transposed-2", "transposed-3", "transposed-4", "nearest", "nearest-size", "linear", "linear-size",
    "linear-corners", "shuffle",
)  # fmt: skip
EXPORTS = Path(__file__).parents[1] / "exports"
FROZEN: dict[str, Any] = {"options": {"passes": ("freeze-norm",)}, "lowered": 0.7, "bound": 0.5}
ANALOG: dict[str, Any] = {"options": {"passes": ("lower{allow_analog=true}",)}}


def one(architecture: str, build: Any, *inputs: tuple[int, ...], **more: Any) -> Entry:
    return Entry(architecture, build, inputs, **more)


def refused(architecture: str, build: Any, *inputs: tuple[int, ...], because: str, **more: Any) -> Entry:
    return Entry(architecture, build, inputs, intended="refused", because=because, **more)


def unets() -> Iterator[Entry]:
    for up in UPS:
        name = f"U-Net 2D, {up} up"
        yield one(name, partial(UNet, up=up), IMAGE)
        if up != "linear-size":
            yield one(name, partial(UNet, up=up), IMAGE, exporter="legacy 17")
        if up in ("transposed-2", "transposed-3", "transposed-4", "nearest", "linear", "linear-corners"):
            yield one(f"U-Net 3D, {up} up", partial(UNet, 3, width=4, up=up), VOLUME)
    for down in ("average", "stride"):
        yield one(f"U-Net 2D, {down} down", partial(UNet, down=down), IMAGE)
        yield one(f"U-Net 3D, {down} down", partial(UNet, 3, width=4, down=down), VOLUME)
    for end in (nn.Sigmoid(), nn.Softmax(1)):
        yield one(f"U-Net 2D, {type(end).__name__.lower()} head", partial(UNet, end=end), IMAGE, exporter="legacy 13")
    for exporter in ("dynamo 20", "legacy 11", "legacy 17"):
        yield one("U-Net 2D, odd sizes, decoder padded", partial(UNet, crop=True), ODD, exporter=exporter)
    yield one("U-Net 2D, argmax head", partial(s.Standardised, 4, True), IMAGE)
    yield one("U-Net 2D, input standardised inside", s.Standardised, IMAGE)
    yield one("U-Net 2D without BatchNorm", partial(UNet, layer=plain), IMAGE)
    yield one("U-Net 2D, residual", partial(UNet, layer=Residual), IMAGE)
    yield one("U-Net 3D, residual", partial(UNet, 3, layer=Residual, width=4), VOLUME)
    yield one("U-Net 2D, skips averaged", partial(UNet, merge="mean"), IMAGE)
    yield one("U-Net 2D, skips added", partial(UNet, merge="add"), IMAGE)
    yield one("U-Net 2D, deep supervision", partial(UNet, deep=True), IMAGE)
    yield one("U-Net 2D, two channels of input", partial(UNet, inputs=2, outputs=3), (2, 32, 32))
    yield one("U-Net 1D", partial(UNet, 1), (1, 64))
    yield one("U-Net++", s.Nested, IMAGE)
    yield one("LinkNet", s.Link, IMAGE)
    yield refused("Attention U-Net", partial(UNet, merge="gate"), IMAGE, because="Sigmoid|Mul")
    yield one("Attention U-Net", partial(UNet, merge="gate"), IMAGE, **ANALOG)


def exporters() -> Iterator[Entry]:
    """One U-Net through every exporter."""
    name, build = "U-Net 2D, max down, transposed up", UNet
    for exporter in (
        "dynamo 23", "dynamo 20, unoptimised", "dynamo 20, open batch", "legacy 9", "legacy 11", "legacy 13",
        "legacy 20", "legacy 17, unfolded",
    ):  # fmt: skip
        yield one(name, build, IMAGE, exporter=exporter)
    shapes = {"shapes": {"in0": (1, *IMAGE)}}
    yield one(name, build, IMAGE, exporter="legacy 17, open shape", options=shapes)
    yield one(name, build, IMAGE, exporter="dynamo 20, float16", lowered=LOOSE)
    yield refused(name, build, IMAGE, exporter="legacy 17, open shape", because="is open")
    yield refused(name, build, IMAGE, exporter="legacy 17, train mode", because="training mode")
    yue = "U-Net of Yue et al."  # it has dropout
    yield refused(yue, s.hippocampus_unet, IMAGE, exporter="dynamo 20, train mode", because="training mode|random")


def seeds() -> Iterator[Entry]:
    yield one("SpikeReg teacher", s.SpikeReg, VOLUME, VOLUME)
    yield one("SpikeReg teacher", s.SpikeReg, VOLUME, VOLUME, exporter="legacy 17")
    for exporter in ("dynamo 20", "legacy 17"):
        yield one("U-Net of Yue et al.", s.hippocampus_unet, IMAGE, exporter=exporter)
        yield one("Spiking-UNet teacher", s.spiking_unet, IMAGE, exporter=exporter)
    yield one("VoxelMorph with ReLU, 3D", partial(s.Registration, (16, 16, 16)), VOLUME, VOLUME)
    slope = partial(nn.LeakyReLU, 0.2)
    yield one("VoxelMorph, 2D", partial(s.Registration, (32, 32), act=slope), IMAGE, IMAGE)
    for warp in (False, True):
        name = f"VoxelMorph, 3D{', image warped inside' if warp else ''}"
        yield one(name, partial(s.Registration, (16, 16, 16), warp, slope), VOLUME, VOLUME)
    for nd, shape in ((2, IMAGE), (3, VOLUME)):
        build = partial(s.nn_unet, nd)
        yield refused(f"nnU-Net, {nd}D", build, shape, because="InstanceNormalization")
        yield one(f"nnU-Net, {nd}D", build, shape, **FROZEN)
        yield one(f"nnU-Net, {nd}D", build, shape, **ANALOG)
        yield one(f"DnCNN, {nd}D", partial(s.Denoiser, nd), shape)
    grouped = partial(UNet, layer=partial(double, kind="group"))
    for exporter in ("dynamo 20", "legacy 17"):
        yield refused("U-Net 2D, GroupNorm", grouped, IMAGE, exporter=exporter, because="GroupNorm|InstanceNorm")
        yield one("U-Net 2D, GroupNorm", grouped, IMAGE, exporter=exporter, **FROZEN)


def activations() -> Iterator[Entry]:
    mended: dict[str, Any] = {"ReLU6": nn.ReLU6, "LeakyReLU": leaky, "PReLU": nn.PReLU}
    for name, act in mended.items():
        for exporter in ("dynamo 20", "legacy 11"):
            yield one(f"U-Net 2D, {name}", partial(s.acting, act), IMAGE, exporter=exporter)
    for act in (nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Softplus, nn.Mish, nn.SELU):
        name, build = f"U-Net 2D, {act.__name__}", partial(s.acting, act)
        yield refused(name, build, IMAGE, because="has no exact spiking counterpart", exporter="legacy 20")
    for act in (nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid):
        yield one(f"U-Net 2D, {act.__name__}", partial(s.acting, act), IMAGE, **ANALOG)
    yield refused("U-Net 2D, GELU", partial(s.acting, nn.GELU), IMAGE, exporter="legacy 17", because="Erf|Div|Mul")


def images() -> Iterator[Entry]:
    yield one("DeepLab, dilated branches", s.Pyramid, IMAGE)
    yield one("DeepLab, dilated branches and image mean", partial(s.Pyramid, True), IMAGE)
    yield one("FCN, scores at two scales", s.FullyConvolutional, IMAGE)
    yield one("ESPCN super-resolution", s.superresolution, IMAGE)
    yield one("Autoencoder with a linear code", s.autoencoder, SMALL)
    yield one("Autoencoder with a linear code", s.autoencoder, SMALL, options={"per": "layer"})
    yield one("Siamese difference, shared weights", s.Siamese, IMAGE, IMAGE)
    yield one("Reflect padding", partial(s.padded, "reflect"), SMALL)
    yield one("Reflect padding", partial(s.padded, "reflect"), SMALL, exporter="legacy 11")
    yield one("Replicate padding", partial(s.padded, "replicate"), SMALL)
    yield one("Circular padding", partial(s.padded, "circular"), SMALL)


def classifiers() -> Iterator[Entry]:
    pools = {
        "max": None,
        "max 3x3 s2 p1": nn.MaxPool2d(3, 2, 1),
        "max 3x3 s2, ceil_mode": nn.MaxPool2d(3, 2, ceil_mode=True),
        "average": nn.AvgPool2d(2),
        "average 3x3 s2 p1": nn.AvgPool2d(3, 2, 1),
        "average 3x3 s2 p1, padding not counted": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        "average 3x3 s2, ceil_mode": nn.AvgPool2d(3, 2, ceil_mode=True),
    }
    for name, pool in pools.items():
        yield one(f"VGG, {name} pooling", partial(c.vgg, pool), COLOURS)
    yield one("VGG, adaptive pooling to 4x4", partial(c.vgg, None, 4), COLOURS)
    yield one("VGG, adaptive pooling to 4x4", partial(c.vgg, None, 4), COLOURS, exporter="legacy 9")
    yield refused("VGG, adaptive pooling 8x8 to 3x3", partial(c.vgg, None, 3), COLOURS, because="Transpose|Gather")
    yield one("VGG, ReLU6", partial(c.vgg, None, 1, nn.ReLU6), COLOURS)
    for exporter in ("dynamo 20", "legacy 13"):
        yield one("ResNet, basic blocks", c.resnet, COLOURS, exporter=exporter)
        yield one("MobileNetV2", c.mobilenet, COLOURS, exporter=exporter)
    yield one("ResNet, bottlenecks", partial(c.resnet, 1, 4), COLOURS)
    yield one("ResNeXt, groups of 4", partial(c.resnet, 4, 8), COLOURS)
    yield one("MobileNetV2 with ReLU", partial(c.mobilenet, nn.ReLU), COLOURS)
    yield one("MobileNet, depthwise separable", c.mobilenet_v1, COLOURS)
    yield one("ShuffleNet", c.Shuffle, COLOURS)
    yield one("ResNet, pre-activation", c.Preactivated, COLOURS)
    yield one("DenseNet", c.Dense, COLOURS)
    yield one("Inception", c.Inception, COLOURS)
    yield one("SqueezeNet", c.squeezenet, COLOURS)
    yield one("LeNet-5, average pooling", c.lenet, (1, 28, 28))
    yield one("Mean as code", lambda: nn.Sequential(conv(3, 8), c.Mean(), nn.Linear(8, 4)), COLOURS)
    yield one("1D CNN", c.signal, (2, 128))
    yield one("MLP, softmax", c.perceptron, (1, 8, 8), bound=0.25)
    yield one("MLP, softmax", c.perceptron, (1, 8, 8), exporter="legacy 17", bound=0.25)
    yield one("Image and numbers", c.Fused, IMAGE, (6,))
    yield one("PointNet", c.Points, (3, 24))
    yield refused("Squeeze and excitation", c.Excited, COLOURS, because="Sigmoid|Mul")
    yield one("Squeeze and excitation", c.Excited, COLOURS, **ANALOG)
    yield one("VGG, adaptive pooling 8x8 to 3x3", partial(c.vgg, None, 3), COLOURS, **ANALOG)
    yield refused("GRU", c.Recurrent, (8, 4), because="recurrent")
    yield refused("Vision transformer", c.Transformer, SMALL, because="Transpose|Softmax|Mat")


def codes() -> Iterator[Entry]:
    """Some of them with other neurons, codes and encoders."""
    chosen: dict[str, tuple[Any, tuple[tuple[int, ...], ...]]] = {
        "U-Net 2D, transposed-3 up": (partial(UNet, up="transposed-3"), (IMAGE,)),
        "VoxelMorph, 2D": (partial(s.Registration, (32, 32), act=partial(nn.LeakyReLU, 0.2)), (IMAGE, IMAGE)),
        "MobileNetV2": (c.mobilenet, (COLOURS,)),
        "Inception": (c.Inception, (COLOURS,)),
    }
    ways = (
        ("neuron", "if", 0.3), ("neuron", "settled", 0.25), ("neuron", "multi-threshold:4:signed", 0.2),
        ("code", "radix:4", 0.5), ("encoder", "poisson", 0.6), ("precision", "int4", 0.9),
    )  # fmt: skip
    for (name, (build, inputs)), (option, choice, bound) in product(chosen.items(), ways):
        yield Entry(name, build, inputs, "legacy 17", {option: choice}, bound=bound)


def files() -> Iterator[Entry]:
    """Teachers that other tools exported, where the files are there."""
    shapes = {"U-Net": (16, 12, 1), "classifier": (8, 8, 3)}
    for (name, shape), tool in product(shapes.items(), ("keras", "tf2onnx")):
        file = EXPORTS / f"{tool}_{name.lower().replace('-', '')}.onnx"
        if file.exists():
            yield Entry(f"Keras {name}, channels last", file, (shape,), tool)


GAPS: dict[str, str] = {}  # pattern of the entries' names -> what is missing today

DEEP = 0.25  # the bound behind ten layers and more, of which rounding the weights to 8 bits alone is 0.07


def _all() -> Iterator[Entry]:
    for entry in (*unets(), *exporters(), *seeds(), *activations()):
        yield replace(entry, bound=max(DEEP, entry.bound))
    yield from images()
    yield from classifiers()
    yield from files()
    yield from codes()


def _with_gap(entry: Entry) -> Entry:
    missing = next((what for pattern, what in GAPS.items() if re.search(pattern, entry.name)), "")
    return replace(entry, gap=missing)


ENTRIES = tuple(map(_with_gap, _all()))
LIMITS = (  # architectures whose spiking network, not rounded, is seen to tend to the teacher
    "U-Net 2D, transposed-3 up", "U-Net 2D, average down", "U-Net 2D, residual", "SpikeReg teacher", "DnCNN, 2D",
    "ResNet, bottlenecks", "DenseNet", "VGG, average 3x3 s2 p1 pooling", "MobileNetV2 with ReLU", "Inception",
)  # fmt: skip


def outcome(index: int) -> Outcome:
    """Of an entry by its number: what makes its module cannot be sent to another process."""
    return examine(ENTRIES[index])
