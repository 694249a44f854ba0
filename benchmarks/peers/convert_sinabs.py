"""sinabs 3.1.3's from_model on a teacher, with the help it needs.

from_model puts an integrate-and-fire layer with threshold 1 in the place of each nn.ReLU and leaves everything else as
it is; the weights must be in units of the thresholds. Its own utils.normalize_weights is not used: it divides a layer's
weights and bias by one number although the layer's input has been scaled too, which changes the function of every
network with biases. Each ReLU stands between a division by its threshold per channel and a multiplication with it
instead, which is weight normalisation in the same arithmetic.

`default-MODE`: its defaults: MultiSpike (as many spikes a step as the membrane holds, each counted as an event) and a
lower bound of -1 for the membrane. `multi-`, `double-`, `single-MODE-half`: MultiSpike, MaxSpike(2), MaxSpike(1) (the
plain integrate-and-fire of the others) without the bound, and the membrane set to 1/2 after each reset, as the note in
StatefulLayer.reset_states describes. MODE: a percentile over the calibration data. `...-pool-first`: max pooling before
the neurons; without it max pooling compares the spike counts of one step. NeuromorphicReLU and its quantised networks
need training, so they are no recipe here. Conv3d, ConvTranspose, Upsample and Concat stay plain torch modules and work.
"""

from __future__ import annotations

from typing import Any

from benchmarks.peers.convert import Module, Recipe, Spiking, Tensor, serve


def thresholds(module: Module, calibration: Tensor, percent: float) -> dict[str, Tensor]:
    """Per channel and ReLU, [C, 1, ...]; 1 for a channel that is silent."""
    import torch
    from torch import nn

    outputs: dict[str, list[Tensor]] = {}
    relus = {name: m for name, m in module.named_children() if isinstance(m, nn.ReLU)}
    found = {}
    for name, relu in relus.items():  # one at a time: all activations of a layer are held
        outputs[name] = []
        hook = relu.register_forward_hook(lambda _, __, out, kept=outputs[name]: kept.append(out.transpose(0, 1)))
        for batch in calibration.split(8):
            module(batch)
        hook.remove()
        values = torch.cat([v.flatten(1) for v in outputs[name]], 1)
        rank = outputs.pop(name)[0].ndim - 2
        place = max(1, round(values.shape[1] * percent / 100))
        level = values.kthvalue(place, 1).values
        found[name] = torch.where(level > 0, level, torch.ones(())).reshape(-1, *(1,) * rank)
    return found


def times(factor: Tensor) -> Module:
    """A module that multiplies."""
    from torch import nn

    class Times(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("factor", factor)

        def forward(self, x: Tensor) -> Tensor:
            return x * self.factor

    return Times()


def model(
    percent: float, half: bool = False, teacher: str = "plain", most: int | None = None, **options: Any
) -> Recipe:
    """from_model with these options; most: spikes a step (None: any number)."""

    def build(module: Module, calibration: Tensor) -> Spiking:
        from sinabs.activation import MaxSpike, MultiSpike
        from sinabs.from_torch import from_model
        from torch import nn

        units = thresholds(module, calibration, percent)
        for name, unit in units.items():
            setattr(module, name, nn.Sequential(times(1 / unit), nn.ReLU(), times(unit)))
        kind = MaxSpike(most) if most else MultiSpike
        network = from_model(module, num_timesteps=1, spike_fn=kind, **options).spiking_model
        layers = {name: network.get_submodule(name)[1] for name in units}
        fresh: set[Module] = set()

        def start(layer: Module, inputs: tuple[Tensor]) -> None:
            if layer in fresh:
                fresh.discard(layer)
                layer.init_state_with_shape(inputs[0].shape)
                layer.v_mem.add_(0.5 if half else 0.0)

        for layer in layers.values():
            layer.register_forward_pre_hook(start)

        def events(name: str, spikes: Tensor) -> Tensor:
            counts = spikes if name in layers else spikes / units[module.gates[name]]
            return counts.round()

        return Spiking(network, network, lambda: fresh.update(layers.values()), layers, events)

    return Recipe(teacher, build)


def all_recipes() -> dict[str, Recipe]:
    found = {"default-99.9": model(99.9)}
    for end, form in (("", "plain"), ("-pool-first", "pool-first")):
        for name, most, percent in (
            ("single", 1, 99.9),
            ("single", 1, 99.0),
            ("double", 2, 99.0),
            ("multi", None, 99.0),
        ):
            found[f"{name}-{percent:g}-half{end}"] = model(percent, True, form, most, min_v_mem=None)
    return found


if __name__ == "__main__":
    serve("sinabs", all_recipes())
