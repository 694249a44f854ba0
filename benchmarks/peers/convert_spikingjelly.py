"""SpikingJelly 2.0.0's ann2snn on a teacher, all recipes for ReLU networks that it has.

`layer-MODE`: RateCodingRecipe(mode=MODE): one threshold per layer, v0 = 0, its default and the classic recipe. MODE is
the maximum or a percentile of all activations.
`channel-MODE`, `channel-MODE-half`: the same with channel_wise=True, and half_threshold=True (v0 = theta / 2).
`ltb`: LocalThresholdBalancingRecipe (per channel, v0 = theta / 2), thresholds adapted over many small batches.
`...-pool-first`: max pooling before the neurons, as its pre_spike_maxpool=True does, done on the teacher beforehand:
its own option knows only MaxPool2d behind a ReLU that nothing else reads, and here skips read it too. The ltb recipe
does it always. Without it max pooling stays on the scaled spikes: an OR gate.
`by-hand-MODE`: neuron_factory=STBIFNode, the signed neuron of its SpikeZIP recipe, in the channel-wise recipe. No
recipe, example or page of SpikingJelly does this with a ReLU network; it is the best its parts give.

Help beyond the defaults: calibration in batches as large as torch.quantile takes (its running mean over batches
otherwise depends on their order), and the read-out that leaves out the first estimate_delay_start steps is offered for
every recipe ("delayed"). Conv, ConvTranspose, BatchNorm, Upsample, Concat, Add and average pooling it converts as they
are. Its weights stay float32.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from benchmarks.peers.convert import Module, Recipe, Spiking, Tensor, nonzero, serve

QUANTILE_LIMIT = 2**24  # elements that torch.quantile takes
MOST_STEPS = 64  # the signed neuron's count saturates there
LTB_UPDATES = 100
LTB_BATCH = 4


def batches(module: Module, calibration: Tensor) -> list[Tensor]:
    """As few as torch.quantile takes."""
    from torch import nn

    sizes: list[int] = []
    hooks = [
        m.register_forward_hook(lambda _, __, out: sizes.append(out.numel()))
        for m in module.modules()
        if isinstance(m, nn.ReLU)
    ]
    module(calibration[:1])
    for hook in hooks:
        hook.remove()
    return list(calibration.split(max(1, QUANTILE_LIMIT // max(sizes))))


def converted(module: Module, calibration: Tensor, recipe: Any) -> Spiking:
    """`recipe` does it; the k-th ReLU becomes the k-th spiking neuron."""
    from spikingjelly.activation_based import ann2snn, functional, neuron
    from torch import nn

    relus = [name for name, m in module.named_children() if isinstance(m, nn.ReLU)]
    spiking = ann2snn.Converter(recipe).convert(module).eval()
    called = [spiking.get_submodule(node.target) for node in spiking.graph.nodes if node.op == "call_module"]
    neurons = [m for m in called if isinstance(m, neuron.BaseNode | neuron.STBIFNode)]

    @cache
    def skipped(timesteps: int) -> int:
        return int(ann2snn.estimate_delay_start(spiking, [calibration[:8]], "cpu", timesteps))

    fires = dict(zip(relus, neurons, strict=True))
    binary = {name for name, m in fires.items() if isinstance(m, neuron.BaseNode)}

    def events(name: str, spikes: Tensor) -> Tensor:
        return spikes if name in binary else nonzero(name, spikes)

    return Spiking(spiking, spiking, lambda: functional.reset_net(spiking), fires, events, skipped)


def rate(teacher: str = "plain", signed: bool = False, **options: Any) -> Recipe:
    """RateCodingRecipe with these options."""

    def build(module: Module, calibration: Tensor) -> Spiking:
        from spikingjelly.activation_based import neuron
        from spikingjelly.activation_based.ann2snn import RateCodingRecipe

        def ternary(threshold: float) -> Any:
            return neuron.STBIFNode(1.0, level=MOST_STEPS + 1)

        if signed:
            options["neuron_factory"] = ternary
        return converted(module, calibration, RateCodingRecipe(batches(module, calibration), **options))

    return Recipe(teacher, build)


def ltb(teacher: str) -> Recipe:
    """LocalThresholdBalancingRecipe."""

    def build(module: Module, calibration: Tensor) -> Spiking:
        from spikingjelly.activation_based.ann2snn import LocalThresholdBalancingRecipe

        some = calibration.split(LTB_BATCH)
        loader = [some[k % len(some)] for k in range(LTB_UPDATES)]
        return converted(module, calibration, LocalThresholdBalancingRecipe(loader))

    return Recipe(teacher, build, pools=False)


def all_recipes() -> dict[str, Recipe]:
    found = {"layer-max": rate(mode="Max"), "layer-99.9": rate(mode="99.9%")}
    found["channel-max-half"] = rate(mode="Max", channel_wise=True, half_threshold=True)
    for end, form in (("", "plain"), ("-pool-first", "pool-first")):
        for percent in ("99.9", "99"):
            options: dict[str, Any] = {"teacher": form, "mode": f"{percent}%", "channel_wise": True}
            found[f"channel-{percent}{end}"] = rate(**options)
            found[f"channel-{percent}-half{end}"] = rate(half_threshold=True, **options)
        found[f"by-hand-99{end}"] = rate(signed=True, **options)
        found[f"ltb{end}"] = ltb(form)
    return found


if __name__ == "__main__":
    serve("spikingjelly", all_recipes())
