"""What every worker process shares: a job from the command line, and a loop that runs it on demand.

A worker is `python -m benchmarks.peers.NAME JOB VARIANT`; it prints one line of JSON when it is ready and one a
command. The commands on its standard input are `run THREADS TIMES`: all images once for nothing, then TIMES timed;
`report FILE`: the output as .npy and what the spikes were.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.networks import Architecture, Array


@dataclass(frozen=True)
class Job:
    """What is to run, in `folder`: models as the workers name them, and images.npy [n, channels, *size], whose mean
    time counts. For a network of networks.py also its name there, the size, the time steps and the thresholds of the
    spiking layers."""

    folder: str
    network: str = ""
    size: Any = None
    timesteps: int = 0
    thresholds: dict[str, float] = field(default_factory=dict)

    @property
    def net(self) -> Architecture:
        size = tuple(self.size) if isinstance(self.size, list) else self.size
        return networks.NETWORKS[self.network](size, timesteps=self.timesteps)

    @property
    def images(self) -> list[Array]:
        """Each [1, channels, *size]."""
        return [image[None] for image in np.load(Path(self.folder) / "images.npy")]

    @property
    def image(self) -> Array:
        """The only one."""
        (found,) = self.images
        return found

    def write(self) -> Path:
        path = Path(self.folder) / "job.json"
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def read(cls, path: str) -> Job:
        return cls(**json.loads(Path(path).read_text()))


@dataclass(frozen=True)
class System:
    """How a worker runs its network.

    run: all images, one after the other -> output of the last [1, channels, *size], as the teacher gives it.
    threads: sets their number before `run`.
    rates: spikes per neuron and step of each spiking layer, run once.
    """

    run: Callable[[], Array]
    threads: Callable[[int], None]
    rates: Callable[[], dict[str, float]] = dict


def serve(package: str, prepare: Callable[[Job, str], System]) -> None:
    """Prepare the job that the command line names and answer commands until the input ends."""
    job = Job.read(sys.argv[1])
    system = prepare(job, sys.argv[2])
    _say(ready=True, version=f"{package} {version(package)}")
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "run":
            threads, times = map(int, arguments)
            system.threads(threads)
            system.run()
            _say(milliseconds=[_timed(system.run) / len(job.images) for _ in range(times)])
        elif command == "report":
            system.threads(2)
            np.save(arguments[0], system.run())
            _say(rates=system.rates(), peak_mb=_peak_mb())


def _peak_mb() -> float:
    """The most memory this process has had; ru_maxrss would count the process that started it."""
    entries = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(entries["VmHWM"].split()[0]) / 1024


def _timed(run: Callable[[], Array]) -> float:
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def _say(**what: Any) -> None:
    print(json.dumps(what), file=sys.__stdout__, flush=True)
