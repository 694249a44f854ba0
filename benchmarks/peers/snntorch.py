"""snnTorch: Leaky neurons of beta = 1 that reset by subtraction, step by step, weights in units of the threshold."""

from __future__ import annotations

from typing import Any

from benchmarks.networks import in_units_of
from benchmarks.peers.torch_net import build, mean_of_steps, system
from benchmarks.peers.worker import Job, System, serve


def prepare(job: Job, variant: str) -> System:
    import torch
    from snntorch import Leaky

    def neuron() -> Any:
        return Leaky(beta=1.0, threshold=1.0, reset_mechanism="subtract", init_hidden=True)

    module = build(job.net, in_units_of(job.thresholds, job.net), neuron)
    image = torch.from_numpy(job.image)

    def run() -> Any:
        for layer in module.neurons.values():
            layer.reset_mem()
        return mean_of_steps(module, image, job.timesteps)

    return system(job, module, run)


if __name__ == "__main__":
    serve("snntorch", prepare)
