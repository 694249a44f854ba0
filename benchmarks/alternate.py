"""Systems that take turns: one process each, only one at work, so that noise of the machine hits all alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.networks import Array
from benchmarks.peers.worker import Job

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / ".bench"  # the peers' environments, and what the workers read
TIMES = 3  # timed inferences of one turn, after one that does not count
Row = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A row of a table: its label, the worker module of benchmarks.peers, the variant it is asked for, the environment
    under .bench it runs in (None: this one), and what the reader must know."""

    label: str
    worker: str
    variant: str = "-"
    environment: str | None = None
    remark: str = ""

    @property
    def python(self) -> str:
        return str(BENCH / self.environment / "bin" / "python") if self.environment else sys.executable


class Talk:
    """A process that says something in a line of JSON when it is ready, and after each line that it is given.

    Raises:
        RuntimeError: it ended; the last line of its standard error.
    """

    def __init__(self, command: Sequence[str], log: Path):
        self.log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self.greeting = self._answer()

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its standard error says why
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # a library may print, too
                return dict(json.loads(line))
        code = self.process.wait()
        said = self.log.read_text().strip().splitlines() or ["killed: too little memory?" if code < 0 else ""]
        raise RuntimeError(f"ended with {code}: {said[-1][:300]}")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Worker(Talk):
    """One process that waits for commands; see peers/worker.py."""

    def __init__(self, entry: Entry, job: Path):
        if entry.environment and not Path(entry.python).exists():
            raise RuntimeError("not installed: make peers")
        command = [entry.python, "-m", f"benchmarks.peers.{entry.worker}", str(job), entry.variant]
        super().__init__(command, job.with_name(f"{entry.worker}-{entry.variant}.log"))
        self.version = self.greeting["version"]


def run(
    entries: Sequence[Entry], job: Job, rounds: int, threads: Sequence[int] = (2, 1), times: int = TIMES
) -> list[Row]:
    """Every entry's row: milliseconds (minimum and median) by threads, rates, SynOps, version, peak memory, correlation
    of the output with that of the last entry; `failed` where it could not run, and the others go on."""
    path = job.write()
    with ExitStack() as stack:
        rows = [Row(label=e.label, remark=e.remark, milliseconds={str(n): [] for n in threads}) for e in entries]
        workers: dict[int, Worker] = {}
        for k, entry in enumerate(entries):
            try:
                workers[k] = Worker(entry, path)
                stack.callback(workers[k].close)
                rows[k]["version"] = workers[k].version
            except RuntimeError as fault:
                rows[k]["failed"] = str(fault)
        for _ in range(rounds):
            for count in threads:
                for k in list(workers):
                    _turn(workers, k, rows[k], f"run {count} {times}", str(count))
        outputs: dict[int, Array] = {}
        for k in list(workers):
            file = path.with_name(f"output-{k}.npy")
            if _turn(workers, k, rows[k], f"report {file}"):
                outputs[k] = np.load(file)
    teacher = outputs.get(len(entries) - 1)
    for k, found in outputs.items():
        if teacher is not None:
            rows[k]["correlation"] = float(np.corrcoef(found.ravel(), teacher.ravel())[0, 1])
    return rows


def _turn(workers: dict[int, Worker], k: int, row: Row, command: str, threads: str = "") -> bool:
    """One command; a worker that fails is left out from then on."""
    try:
        answer = workers[k].ask(command)
    except RuntimeError as fault:
        row["failed"] = str(fault)
        del workers[k]
        return False
    row["milliseconds"].get(threads, []).extend(answer.pop("milliseconds", ()))
    row["synops"] = answer.get("rates", {}).pop("SynOps", None)
    row.update(answer)
    return True


def best(row: Row, threads: int) -> float | None:
    """The least milliseconds of an inference; None: it did not run."""
    return min(row["milliseconds"].get(str(threads), ()), default=None)


def typical(row: Row, threads: int) -> float | None:
    found = row["milliseconds"].get(str(threads), ())
    return median(found) if found else None
