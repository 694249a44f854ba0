"""The networks as torch modules, with any module where the teacher has a ReLU; for the peers that run on torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.networks import INPUT, Architecture, Array, Layer, Weights
from benchmarks.peers.worker import Job, System

Module = Any  # torch.nn.Module; torch itself is imported when a module is built


def build(
    net: Architecture,
    weights: Weights,
    neuron: Callable[[], Module],
    fold: Callable[[Any, Module], Any] = lambda x, module: module(x),
    channels: int = 1,
) -> Module:
    """The network on an input [1, channels, *size], in evaluation mode.

    Args:
        neuron: makes what follows each convolution but the last.
        fold: applies a module without state; channels: the axis that a concatenation joins. For inputs with a leading
            axis of time, say functional.seq_to_ann_forward and 2.
    """
    import torch
    from torch import nn

    rank = len(net.size)
    last = {name: layer.name for layer in net.layers for name in layer.inputs}

    def plain(layer: Layer) -> Module:
        if layer.op == "pool":
            return (nn.AvgPool2d, nn.AvgPool3d)[rank - 2](2)
        if layer.op == "up":
            return nn.Upsample(scale_factor=2, mode="nearest")
        weight = weights[f"{layer.name}.weight"]
        kind = (nn.Conv2d, nn.Conv3d)[rank - 2]
        conv = kind(weight.shape[1], weight.shape[0], layer.kernel, layer.stride, layer.kernel // 2)
        conv.weight = nn.Parameter(torch.from_numpy(weight))
        conv.bias = nn.Parameter(torch.from_numpy(weights[f"{layer.name}.bias"]))
        return conv

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain = nn.ModuleDict({layer.name: plain(layer) for layer in net.layers})
            self.neurons = nn.ModuleDict({layer.name: neuron() for layer in net.spiking})

        def forward(self, x: Any) -> Any:
            values = {INPUT: x}
            for layer in net.layers:
                inputs = [values[name] for name in layer.inputs]
                x = fold(inputs[0] if len(inputs) == 1 else torch.cat(inputs, channels), self.plain[layer.name])
                if layer.name in self.neurons:
                    x = self.neurons[layer.name](x)
                values[layer.name] = x
                for name in layer.inputs:  # free what nothing reads any more
                    if last[name] == layer.name:
                        del values[name]
                del inputs
            return x

    torch.set_grad_enabled(False)
    return Net().eval()


def mean_of_steps(module: Module, image: Any, timesteps: int) -> Any:
    """The mean output of neurons that keep their state from call to call."""
    total = module(image)
    for _ in range(timesteps - 1):
        total = total + module(image)
    return total / timesteps


def channels_last(what: Any, rank: int) -> Any:
    """A module or a tensor [1, channels, *size]."""
    import torch

    return what.to(memory_format=(torch.channels_last, torch.channels_last_3d)[rank - 2])


def system(job: Job, module: Module, run: Callable[[], Any], spiking: dict[str, Module] | None = None) -> System:
    """`run` gives the output of `module` as a tensor. The spikes of its spiking layers are what they put out, in
    whatever unit."""
    import torch

    layers = spiking if spiking is not None else dict(module.neurons)

    def output() -> Array:
        return np.asarray(run().numpy())

    def rates() -> dict[str, float]:
        counts = dict.fromkeys(layers, 0)
        sizes = dict.fromkeys(layers, 0)
        hooks = []
        for name, layer in layers.items():

            def count(_: Any, __: Any, out: Any, name: str = name) -> None:
                counts[name] += int(torch.count_nonzero(out))
                sizes[name] += out.numel()

            hooks.append(layer.register_forward_hook(count))
        run()
        for hook in hooks:
            hook.remove()
        return {name: counts[name] / sizes[name] for name in layers}

    return System(output, torch.set_num_threads, rates)
