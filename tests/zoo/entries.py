"""The zoo: every entry, and what should come of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from tests.zoo import classification as c
from tests.zoo import segmentation as s
from tests.zoo.harness import Entry
from tests.zoo.layers import Residual, UNet, double, leaky, plain

IMAGE, ODD, COLOURS, SMALL, VOLUME = (1, 32, 32), (1, 27, 30), (3, 32, 32), (1, 16, 16), (1, 16, 16, 16)
UPS = (
    "transposed-2", "transposed-3", "transposed-4", "nearest", "nearest-size", "linear", "linear-size",
    "linear-corners", "shuffle",
)  # fmt: skip
FREEZE = {"passes": ("freeze-norm",)}
APPROXIMATE: dict[str, Any] = {"options": FREEZE, "lowered": 1.0, "bound": 1.0}


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


def exporters() -> Iterator[Entry]:
    """One U-Net through every exporter."""
    name, build = "U-Net 2D, max down, transposed up", UNet
    for exporter in (
        "dynamo 23", "dynamo 20, unoptimised", "dynamo 20, open batch", "legacy 9", "legacy 11", "legacy 13",
        "legacy 20", "legacy 17, unfolded", "legacy 17, open shape",
    ):  # fmt: skip
        yield one(name, build, IMAGE, exporter=exporter)
    yield refused(name, build, IMAGE, exporter="dynamo 20, float16", because="float16")
    yield refused(name, build, IMAGE, exporter="legacy 17, open shape", because="open dimension|depends")
    yield refused(name, build, IMAGE, exporter="legacy 17, train mode", because="training mode")
    yield refused("U-Net of Yue et al.", s.hippocampus_unet, IMAGE, exporter="dynamo 20, train mode", because="random")


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
        yield one(f"nnU-Net, {nd}D", build, shape, **APPROXIMATE)
        yield one(f"DnCNN, {nd}D", partial(s.Denoiser, nd), shape)
    grouped = partial(UNet, layer=partial(double, kind="group"))
    for exporter in ("dynamo 20", "legacy 17"):
        yield refused("U-Net 2D, GroupNorm", grouped, IMAGE, exporter=exporter, because="GroupNorm|InstanceNorm")
        yield one("U-Net 2D, GroupNorm", grouped, IMAGE, exporter=exporter, **APPROXIMATE)


def activations() -> Iterator[Entry]:
    for name, act in {"ReLU6": nn.ReLU6, "LeakyReLU": leaky, "PReLU": nn.PReLU}.items():
        for exporter in ("dynamo 20", "legacy 11"):
            yield one(f"U-Net 2D, {name}", partial(s.acting, act), IMAGE, exporter=exporter)
    for act in (nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Softplus, nn.Mish, nn.SELU):
        yield refused(f"U-Net 2D, {act.__name__}", partial(s.acting, act), IMAGE, because="")
    yield refused("U-Net 2D, GELU", partial(s.acting, nn.GELU), IMAGE, exporter="legacy 17", because="")


def images() -> Iterator[Entry]:
    yield one("DeepLab, dilated branches", s.Pyramid, IMAGE)
    yield one("DeepLab, dilated branches and image mean", partial(s.Pyramid, True), IMAGE)
    yield one("FCN, scores at two scales", s.FullyConvolutional, IMAGE)
    yield one("ESPCN super-resolution", s.superresolution, IMAGE)
    yield one("Autoencoder with a linear code", s.autoencoder, SMALL)
    yield one("Siamese difference, shared weights", s.Siamese, IMAGE, IMAGE)
    yield one("Reflect padding", partial(s.padded, "reflect"), SMALL)
    yield one("Reflect padding", partial(s.padded, "reflect"), SMALL, exporter="legacy 11")
    yield one("Replicate padding", partial(s.padded, "replicate"), SMALL)
    yield refused("Circular padding", partial(s.padded, "circular"), SMALL, because="")


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
    yield refused("VGG, adaptive pooling 8x8 to 3x3", partial(c.vgg, None, 3), COLOURS, because="")
    yield one("VGG, ReLU6", partial(c.vgg, None, 1, nn.ReLU6), COLOURS)
    for exporter in ("dynamo 20", "legacy 13"):
        yield one("ResNet, basic blocks", c.resnet, COLOURS, exporter=exporter)
        yield one("MobileNetV2", c.mobilenet, COLOURS, exporter=exporter)
    yield one("ResNet, bottlenecks", partial(c.resnet, 1, 4), COLOURS)
    yield one("ResNeXt, groups of 4", partial(c.resnet, 4, 8), COLOURS)
    yield one("MobileNetV2 with ReLU", partial(c.mobilenet, nn.ReLU), COLOURS)
    yield one("MobileNet, depthwise separable", c.mobilenet_v1, COLOURS)
    yield refused("ShuffleNet", c.Shuffle, COLOURS, because="")
    yield one("DenseNet", c.Dense, COLOURS)
    yield one("Inception", c.Inception, COLOURS)
    yield one("SqueezeNet", c.squeezenet, COLOURS)
    yield one("LeNet-5, average pooling", c.lenet, (1, 28, 28))
    yield one("Mean as code", lambda: nn.Sequential(c.conv(3, 8), c.Mean(), nn.Linear(8, 4)), COLOURS)
    yield one("1D CNN", c.signal, (2, 128))
    yield one("MLP, softmax", c.perceptron, SMALL)
    yield one("MLP, softmax", c.perceptron, SMALL, exporter="legacy 17")
    yield one("Image and numbers", c.Fused, IMAGE, (6,))
    yield refused("PointNet", c.Points, (3, 24), because="")
    yield refused("Squeeze and excitation", c.Excited, COLOURS, because="Sigmoid|Mul")
    yield refused("GRU", c.Recurrent, (8, 4), because="")
    yield refused("Vision transformer", c.Transformer, SMALL, because="")


ENTRIES = (*unets(), *exporters(), *seeds(), *activations(), *images(), *classifiers())
