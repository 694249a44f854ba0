"""What the peers' converters share: the teacher as a torch module, and a loop that runs and counts what they make.

A worker is `python -m benchmarks.peers.convert_NAME FOLDER THREADS`. FOLDER holds, as conversion/peers.py writes it:
TEACHER.json, .npz (the layers and weights) and -fan.npz (synapses of each neuron, by layer) for TEACHER = `plain` and,
where there is a max pooling, `pool-first`; calibration.npy. The worker prints one line of JSON when it is ready, with
its recipes, and one for each command on its standard input, `{"recipe", "samples", "timesteps", "out"}`: OUT.npz gets
`outputs-T` [n, *shape] (mean output of the first T steps), `delayed-T` (without the first steps, if the peer proposes
that), `synops-T`, `events-T` [n].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Module = Any  # torch.nn.Module; torch itself is imported when a module is built
Tensor = Any
ELEMENTS = 2**20  # of the largest activation of a batch


def nonzero(_: str, spikes: Tensor) -> Tensor:
    """Events of 0/1 spikes of any height, and of -1/0/1."""
    return (spikes != 0).to(spikes.dtype)


@dataclass(frozen=True)
class Spiking:
    """A converted network.

    module: all of it; max poolings keep their names. step: one time step of an input [n, C, *spatial]; reset: before
    new samples. fires: the modules of neurons by the ReLU they stand for. events: those of an output, float32.
    skipped: T -> how many first steps the peer's own read-out leaves out.
    """

    module: Module
    step: Callable[[Tensor], Tensor]
    reset: Callable[[], None]
    fires: Mapping[str, Module]
    events: Callable[[str, Tensor], Tensor] = nonzero
    skipped: Callable[[int], int] | None = None


@dataclass(frozen=True)
class Recipe:
    """teacher: which form of the teacher is converted, `plain` or `pool-first`; build(module, calibration).
    pools: whether it leaves a max pooling behind the neurons; if not, `plain` is for teachers that have none."""

    teacher: str
    build: Callable[[Module, Tensor], Spiking]
    pools: bool = True

    def able(self, folder: Path) -> bool:
        pooled = (folder / "pool-first.json").exists()
        return pooled if self.teacher == "pool-first" else self.pools or not pooled


def teacher(folder: Path, name: str) -> Module:
    """The module in evaluation mode; its layers are attributes with the names of the description. `gates`: max pooling
    of spikes -> the ReLU it reads."""
    import torch
    from torch import nn

    described = json.loads((folder / f"{name}.json").read_text())
    weights = np.load(folder / f"{name}.npz")
    layers = described["layers"]
    last = {value: layer["name"] for layer in layers for value in layer["reads"]}
    spikes = {layer["makes"]: layer["name"] for layer in layers if layer["op"] == "Relu"}
    gates = {}
    for layer in layers:
        if layer["op"] == "MaxPool" and layer["reads"][0] in spikes:
            gates[layer["name"]] = spikes[layer["makes"]] = spikes[layer["reads"][0]]

    class Teacher(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gates = gates
            for layer in layers:
                constants = {k: weights[k] for k in weights.files if k.startswith(layer["name"] + ".")}
                made = module_of(layer, {int(k.rsplit(".", 1)[1]): torch.from_numpy(w) for k, w in constants.items()})
                if made is not None:
                    self.add_module(layer["name"], made)

        def forward(self, x: Tensor) -> Tensor:
            values = {described["input"]: x}
            for layer in layers:
                inputs = [values[value] for value in layer["reads"]]
                if layer["op"] == "Concat":
                    values[layer["makes"]] = torch.cat(inputs, layer["axis"])
                elif layer["op"] in ("Add", "Sub"):
                    a, b = inputs
                    values[layer["makes"]] = a + b if layer["op"] == "Add" else a - b
                else:
                    values[layer["makes"]] = getattr(self, layer["name"])(*inputs)
                for value in layer["reads"]:
                    if last[value] == layer["name"]:
                        values.pop(value, None)
            return values[described["output"]]

    return Teacher().eval()


def module_of(layer: dict[str, Any], weights: dict[int, Tensor]) -> Module:
    """One layer; None for what has no module. Raises ValueError for an operator that is not known here."""
    from torch import nn

    op, rank = layer["op"], len(layer["shape"]) - 2
    made: Any
    if op in ("Conv", "ConvTranspose", "MaxPool", "AveragePool"):
        pads = layer["pads"]
        if pads[:rank] != pads[rank:]:
            raise ValueError(f"{layer['name']}: uneven padding")
        place = {"kernel_size": tuple(layer["kernel_shape"]), "stride": layer["strides"], "padding": pads[:rank]}
        if op == "MaxPool":
            return getattr(nn, f"MaxPool{rank}d")(**place)
        if op == "AveragePool":
            return getattr(nn, f"AvgPool{rank}d")(**place, count_include_pad=bool(layer.get("count_include_pad")))
        place |= {"dilation": layer["dilations"], "groups": layer["group"], "bias": 2 in weights}
        channels = weights[1].shape[1] * layer["group"], weights[1].shape[0]
        if op == "Conv":
            made = getattr(nn, f"Conv{rank}d")(*channels, **place)
        else:
            place["output_padding"] = layer.get("output_padding") or 0
            made = getattr(nn, f"ConvTranspose{rank}d")(*channels[::-1], **place)
        return _filled(made, weight=weights[1], bias=weights.get(2))
    if op == "BatchNormalization":
        made = getattr(nn, f"BatchNorm{rank}d")(weights[1].numel(), eps=layer["epsilon"])
        return _filled(made, weight=weights[1], bias=weights[2], running_mean=weights[3], running_var=weights[4])
    if op == "Gemm":
        made = nn.Linear(weights[1].shape[1], weights[1].shape[0], bias=2 in weights)
        return _filled(made, weight=weights[1], bias=weights.get(2))
    if op == "Resize":
        return nn.Upsample(scale_factor=tuple(float(f) for f in layer["scale"]), mode="nearest")
    if op == "GlobalAveragePool":
        return getattr(nn, f"AdaptiveAvgPool{rank}d")(1)
    simple = {"Relu": nn.ReLU, "Flatten": nn.Flatten, "Reshape": nn.Flatten, "Identity": nn.Identity}
    if op in ("Concat", "Add", "Sub"):
        return None
    if op not in simple:
        raise ValueError(f"{layer['name']}: no torch module for {op}")
    return simple[op]()


def _filled(module: Module, **tensors: Tensor) -> Module:
    for name, value in tensors.items():
        if value is not None:
            getattr(module, name).data = value.clone()
    return module


def run(net: Spiking, fans: Mapping[str, Array], samples: Array, timesteps: list[int], batch: int) -> dict[str, Array]:
    """What OUT.npz holds, from one run of the longest T."""
    import torch

    maps = {name: torch.from_numpy(fan).double().flatten() for name, fan in fans.items()}
    counts: dict[str, Any] = {}

    def watch(name: str, module: Module) -> Any:
        def hook(_: Module, __: Any, out: Tensor) -> None:
            if tuple(out.shape[1:]) != fans[name].shape:
                raise RuntimeError(f"{name}: {tuple(out.shape[1:])} where {fans[name].shape} was expected")
            events = net.events(name, out)
            counts[name] = counts[name].add_(events) if name in counts else events.clone()

        return module.register_forward_hook(hook)

    gates = {name: net.module.get_submodule(name) for name in fans if name not in net.fires}
    hooks = [watch(name, module) for name, module in {**net.fires, **gates}.items()]
    skipped = {t: net.skipped(t) for t in timesteps} if net.skipped else {}
    found: dict[str, list[Any]] = {}

    def keep(name: str, value: Tensor) -> None:
        found.setdefault(name, []).append(value.numpy().copy())

    for start in range(0, len(samples), batch):
        x = torch.from_numpy(samples[start : start + batch])
        net.reset()
        counts.clear()
        before: dict[int, Any] = {}
        total: Any = 0
        for t in range(1, max(timesteps) + 1):
            if t - 1 in skipped.values():
                before[t - 1] = total
            total = total + net.step(x)
            if t not in timesteps:
                continue
            keep(f"outputs-{t}", total / t)
            if skipped.get(t):
                keep(f"delayed-{t}", (total - before[skipped[t]]) / (t - skipped[t]))
            flat = {name: c.flatten(1).double() for name, c in counts.items()}
            keep(f"events-{t}", sum(c.sum(1) for c in flat.values()))
            keep(f"synops-{t}", sum(c @ maps[name] for name, c in flat.items()))
    for hook in hooks:
        hook.remove()
    return {name: np.concatenate(parts) for name, parts in found.items()}


def serve(package: str, recipes: Mapping[str, Recipe]) -> None:
    """Answer commands until the input ends. A fault of a recipe is an answer, too."""
    import torch

    folder = Path(sys.argv[1])
    torch.set_num_threads(int(sys.argv[2]))
    torch.set_grad_enabled(False)
    able = {name: recipe for name, recipe in recipes.items() if recipe.able(folder)}
    _say(ready=True, version=f"{package} {version(package)}", recipes={n: r.teacher for n, r in able.items()})
    made: tuple[str, Spiking] | None = None
    for line in sys.stdin:
        command = json.loads(line)
        name = command["recipe"]
        try:
            fans = dict(np.load(folder / f"{able[name].teacher}-fan.npz"))
            if made is None or made[0] != name:
                calibration = torch.from_numpy(np.load(folder / "calibration.npy"))
                made = name, able[name].build(teacher(folder, able[name].teacher), calibration)
            batch = max(1, ELEMENTS // max(fan.size for fan in fans.values()))
            found = run(made[1], fans, np.load(command["samples"]), command["timesteps"], batch)
        except Exception as fault:  # what the peer cannot convert is a result
            made = None
            _say(failed=f"{type(fault).__name__}: {fault}")
            continue
        np.savez(command["out"], allow_pickle=False, **found)
        _say(done=True)


def _say(**what: Any) -> None:
    print(json.dumps(what), file=sys.__stdout__, flush=True)
