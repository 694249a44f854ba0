"""onnxruntime: one pass of the teacher, VARIANT.onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.networks import Array
from benchmarks.peers.worker import Job, System, serve


def prepare(job: Job, variant: str) -> System:
    images = job.images
    sessions: dict[int, Any] = {}
    now = [1]

    def threads(count: int) -> None:
        now[0] = count
        if count not in sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = count
            file = Path(job.folder) / f"{variant}.onnx"
            sessions[count] = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run() -> Array:
        session = sessions[now[0]]
        name = session.get_inputs()[0].name
        return np.asarray([session.run(None, {name: image})[0] for image in images][-1])

    return System(run, threads)


if __name__ == "__main__":
    serve("onnxruntime", prepare)
