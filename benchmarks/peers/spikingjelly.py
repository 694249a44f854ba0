"""SpikingJelly: `step` is what ann2snn makes of the teacher, run step by step, with the thresholds it calibrates itself
on the same image; `multi` a module in step_mode="m" (time folded into the batch), weights in units of the threshold."""

from __future__ import annotations

from typing import Any

from benchmarks.networks import in_units_of, weights
from benchmarks.peers.torch_net import build, mean_of_steps, system
from benchmarks.peers.worker import Job, System, serve


def step(job: Job) -> System:
    import torch
    from spikingjelly.activation_based import ann2snn, functional, neuron
    from spikingjelly.activation_based.ann2snn.recipes import RateCodingRecipe

    image = torch.from_numpy(job.image)
    teacher = build(job.net, weights(job.net), torch.nn.ReLU)
    mode = "Max" if job.net.calibration == "max" else job.net.calibration.removeprefix("percentile:") + "%"
    recipe = RateCodingRecipe(dataloader=[(image, torch.zeros(1))], mode=mode, fuse_flag=False)
    module = ann2snn.Converter(recipe).convert(teacher).eval()

    def run() -> Any:
        functional.reset_net(module)
        return mean_of_steps(module, image, job.timesteps)

    found = (m for m in module.modules() if isinstance(m, neuron.IFNode))
    return system(job, module, run, {layer.name: node for layer, node in zip(job.net.spiking, found, strict=True)})


def multi(job: Job) -> System:
    import torch
    from spikingjelly.activation_based import functional, neuron

    def node() -> Any:
        found = neuron.IFNode(v_threshold=1.0, v_reset=None, step_mode="m")
        found.set_reset_value("v", 0.5)
        return found

    module = build(job.net, in_units_of(job.thresholds, job.net), node, functional.seq_to_ann_forward, 2)
    image = torch.from_numpy(job.image)
    steps = image[None].repeat(job.timesteps, *(1,) * image.ndim)

    def run() -> Any:
        functional.reset_net(module)
        return module(steps).mean(0)

    return system(job, module, run)


def prepare(job: Job, variant: str) -> System:
    return step(job) if variant == "step" else multi(job)


if __name__ == "__main__":
    serve("spikingjelly", prepare)
