"""Norse: IAFCell, step by step, weights in units of the threshold. It resets to zero, not by subtraction."""

from __future__ import annotations

from typing import Any

from benchmarks.networks import in_units_of
from benchmarks.peers.torch_net import build, mean_of_steps, system
from benchmarks.peers.worker import Job, System, serve


def prepare(job: Job, variant: str) -> System:
    import torch
    from norse.torch import IAFCell

    class Stateful(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.state = IAFCell(), None

        def forward(self, x: Any) -> Any:
            spikes, self.state = self.cell(x, self.state)
            return spikes

    module = build(job.net, in_units_of(job.thresholds, job.net), Stateful)
    image = torch.from_numpy(job.image)

    def run() -> Any:
        for layer in module.neurons.values():
            layer.state = None
        return mean_of_steps(module, image, job.timesteps)

    return system(job, module, run)


if __name__ == "__main__":
    serve("norse", prepare)
