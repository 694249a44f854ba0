"""sinabs: from_model on the teacher with weights in units of the threshold, time folded into the batch; `single` has at
most one spike a step, `multi` (its default) as many as the membrane holds."""

from __future__ import annotations

from typing import Any

from benchmarks.networks import in_units_of
from benchmarks.peers.torch_net import build, system
from benchmarks.peers.worker import Job, System, serve


def prepare(job: Job, variant: str) -> System:
    import torch
    from sinabs.activation import MultiSpike, SingleSpike
    from sinabs.from_torch import from_model

    teacher = build(job.net, in_units_of(job.thresholds, job.net), torch.nn.ReLU)
    kind = SingleSpike if variant == "single" else MultiSpike
    network = from_model(teacher, batch_size=1, spike_fn=kind, min_v_mem=None)
    module = network.spiking_model
    image = torch.from_numpy(job.image)
    steps = image.repeat(job.timesteps, *(1,) * (image.ndim - 1))

    def run() -> Any:
        network.reset_states()
        return module(steps).mean(0, keepdim=True)

    return system(job, module, run)


if __name__ == "__main__":
    serve("sinabs", prepare)
