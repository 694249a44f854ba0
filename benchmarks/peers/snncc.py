"""snncc: the compiled network of one precision through the Python interface, counting as always."""

from __future__ import annotations

from pathlib import Path

from benchmarks.networks import Array
from benchmarks.peers.worker import Job, System, serve
from snncc.model import Model, load


def prepare(job: Job, variant: str) -> System:
    file, images = Path(job.folder) / f"{variant}.snn.onnx", job.images
    models: dict[int, Model] = {}
    now = [1]

    def threads(count: int) -> None:
        now[0] = count
        if count not in models:
            models[count] = load(file, threads=count)

    def run() -> Array:
        results = [models[now[0]].run(image) for image in images]
        return next(iter(results[-1].outputs.values()))

    def rates() -> dict[str, float]:
        counts = models[now[0]].run(images[-1]).counts
        return {p["name"]: p["rate"] for p in counts.populations} | {"SynOps": counts.totals["synops"]}

    return System(run, threads, rates)


if __name__ == "__main__":
    serve("snncc", prepare)
