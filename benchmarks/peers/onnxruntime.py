"""onnxruntime: one pass of the teacher, VARIANT.onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.networks import INPUT, Array
from benchmarks.peers.worker import Job, System, serve


def prepare(job: Job, variant: str) -> System:
    image = job.image()
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
        return np.asarray(sessions[now[0]].run(None, {INPUT: image})[0])

    return System(run, threads)


if __name__ == "__main__":
    serve("onnxruntime", prepare)
