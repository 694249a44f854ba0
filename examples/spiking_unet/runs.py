"""Teachers and spiking networks on patches, and patches put together again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import snncc
from examples.spiking_unet.tasks import IGNORED, Array, Picture, Task, patches
from snncc.network import Network
from snncc.synapses.pool import Pool

PREFIXES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class Exact:
    """The teacher on onnxruntime; its one prefix is called 0. A grey one takes colours one by one."""

    steps = (0,)

    def __init__(self, file: Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def __call__(self, image: Array) -> list[Array]:
        step = self.session.get_inputs()[0].shape[1]
        parts = [self.session.run(["out"], {"image": image[None, c : c + step]})[0] for c in range(0, len(image), step)]
        return [np.concatenate(parts, 1)]

    def spent(self) -> dict[str, Any]:
        return {}


class Spiking:
    """A compiled network on the fast engine, with what it spends. One of neurons that wait has one prefix, the last."""

    def __init__(self, file: Path):
        self.model = snncc.load(file)
        self.last = self.model.network.meta["timesteps"]
        self.waits = any(p.waits for p in self.model.network.populations)
        self.steps = (self.last,) if self.waits else tuple(t for t in PREFIXES if t <= self.last)
        self.synops, self.sent, self.events = (np.zeros(self.last, np.int64) for _ in range(3))
        self.pools = pooled(self.model.network)
        self.macs = self.teacher_macs = self.patches = 0

    def __call__(self, image: Array) -> list[Array]:
        result = self.model.run(image, over_time=not self.waits)
        self.synops += np.cumsum(result.counts.synops_per_step)
        assert result.counts.counts is not None
        for name, events in result.counts.counts.events.items():
            sent = np.cumsum(events.astype(np.int64))
            self.sent += sent
            if name not in self.pools:
                self.events += sent
        self.macs += result.counts.totals["macs"]
        self.teacher_macs += result.counts.totals["teacher_macs"]
        self.patches += 1
        return [result.outputs["out"]] if self.waits else [result.over_time["out"][t - 1] for t in self.steps]

    def spent(self) -> dict[str, Any]:
        at = [t - 1 for t in self.steps]
        return {"synops": self.synops[at].tolist(), "sent": self.sent[at].tolist(),
                "events": self.events[at].tolist(), "macs": self.macs,
                "teacher_macs": self.teacher_macs, "patches": self.patches,
                "windows": self.model.network.windows}  # fmt: skip


def pooled(network: Network) -> set[str]:
    """Populations that stand behind a pooling: the paper's count of spikes leaves them out."""
    return {
        p.name for p in network.populations
        if (read := network.incoming(p)) and all(isinstance(j.synapse, Pool) for j in read)
    }  # fmt: skip


def whole(picture: Picture, task: Task, run: Callable[[Array], Array]) -> Array:
    """Of what `run` gives for patches [C, h, w], namely [1, K, h, w]: labels [H, W], IGNORED where the target is, or
    the image [C, H, W] as far as whole patches go."""
    w = task.patch[1]
    outputs = [np.asarray(run(image))[0] for image, _ in patches(picture, task)]
    size = picture.image.shape[1:]
    across = size[1] // w if task.denoises else -(-size[1] // w)
    rows = [np.concatenate(outputs[k : k + across], 2) for k in range(0, len(outputs), across)]
    found = np.concatenate(rows, 1)[:, : size[0], : size[1]]
    return found if task.denoises else np.where(picture.target == IGNORED, IGNORED, found.argmax(0))
