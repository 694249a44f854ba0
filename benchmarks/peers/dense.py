"""Dense torch by hand: weights in units of the threshold, membranes and spikes written in place, the first layer's
constant current computed once, the output's convolution once on the mean of the spikes. Channels `last` or `first`."""

from __future__ import annotations

from typing import Any

from benchmarks.networks import in_units_of
from benchmarks.peers.torch_net import build, channels_last, system
from benchmarks.peers.worker import Job, System, serve


def prepare(job: Job, variant: str) -> System:
    import torch

    class IntegrateFire(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v: Any = None

        def forward(self, x: Any) -> Any:
            if self.v is None:
                self.v, self.spikes = torch.full_like(x, 0.5), torch.empty_like(x)
            torch.ge(self.v.add_(x), 1.0, out=self.spikes)
            self.v.sub_(self.spikes)
            return self.spikes

    module, image = build(job.net, in_units_of(job.thresholds, job.net), IntegrateFire), torch.from_numpy(job.image)
    if variant == "last":
        module, image = (channels_last(x, len(job.net.size)) for x in (module, image))
    first, last = job.net.layers[0].name, job.net.layers[-1].name
    encode, readout = module.plain[first], module.plain[last]
    module.plain[first] = module.plain[last] = torch.nn.Identity()

    def run() -> Any:
        for neuron in module.neurons.values():
            if neuron.v is not None:
                neuron.v.fill_(0.5)
        current = encode(image)
        total = module(current).clone()
        for _ in range(job.timesteps - 1):
            total.add_(module(current))
        return readout(total.div_(job.timesteps))

    return system(job, module, run)


if __name__ == "__main__":
    serve("torch", prepare)
