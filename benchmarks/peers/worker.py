"""What every worker process shares: a job from the command line, and a loop that runs it on demand.

A worker is `python -m benchmarks.peers.NAME JOB VARIANT`; it prints one line of JSON when it is ready and one a
command. The commands on its standard input are `run THREADS TIMES`: one inference that does not count, then TIMES timed
ones; `report FILE`: the output as .npy and what the spikes were.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.networks import Architecture, Array


@dataclass(frozen=True)
class Job:
    """One inference of one network: its name in `networks`, the size of the image, the time steps, the thresholds of
    the spiking layers, and where the compiled models lie."""

    network: str
    size: Any
    timesteps: int
    thresholds: dict[str, float]
    folder: str

    @property
    def net(self) -> Architecture:
        return networks.NETWORKS[self.network](self.size, timesteps=self.timesteps)

    def image(self) -> Array:
        return networks.image(self.net)

    def write(self) -> Path:
        path = Path(self.folder) / "job.json"
        path.write_text(json.dumps(self.__dict__))
        return path

    @classmethod
    def read(cls, path: str) -> Job:
        fields = json.loads(Path(path).read_text())
        size = fields["size"]
        return cls(**{**fields, "size": tuple(size) if isinstance(size, list) else size})


@dataclass(frozen=True)
class System:
    """How a worker runs its network.

    run: one inference -> output [1, channels, *size], as the teacher gives it. threads: sets their number before `run`.
    rates: spikes per neuron and step of each spiking layer, run once.
    """

    run: Callable[[], Array]
    threads: Callable[[int], None]
    rates: Callable[[], dict[str, float]] = dict


def serve(package: str, prepare: Callable[[Job, str], System]) -> None:
    """Prepare the job that the command line names and answer commands until the input ends."""
    system = prepare(Job.read(sys.argv[1]), sys.argv[2])
    _say(ready=True, version=f"{package} {version(package)}")
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "run":
            threads, times = map(int, arguments)
            system.threads(threads)
            system.run()
            _say(milliseconds=[_timed(system.run) for _ in range(times)])
        elif command == "report":
            system.threads(2)
            np.save(arguments[0], system.run())
            _say(rates=system.rates(), peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _timed(run: Callable[[], Array]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def _say(**what: Any) -> None:
    print(json.dumps(what), file=sys.__stdout__, flush=True)
