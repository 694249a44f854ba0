"""Lets `snncc run` go on where it was interrupted: beside the outputs, a line of JSON for each input that is done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from snncc.counting import Counts
from snncc.run_counts import EXECUTED

NAME = ".snncc-run.jsonl"


@dataclass(frozen=True)
class Done:
    """What is left of an input: its entries in `RunCounts.samples`, their counts, and remarks for the user."""

    samples: list[dict[str, Any]]
    counts: Counts
    remarks: list[str]


class Journal:
    """What is done in a folder.

    Args:
        folder: None: nothing is kept.
        facts: JSON of all that outputs and counts depend on besides the input: the model and the options.
    """

    def __init__(self, folder: Path | None, facts: Any):
        self._path = folder and folder / NAME
        self._run = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        self._lines: dict[str, dict[str, Any]] = {}
        if self._path is not None and self._path.exists():
            for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError):  # half-written
                    told = json.loads(line)
                    self._lines[told["key"]] = told

    @property
    def kept(self) -> bool:
        return self._path is not None

    def key(self, inputs: Mapping[str, Path]) -> str:
        """Of this run on these files as they are now."""
        return json.dumps([self._run, [*inputs], _stamps(inputs.values())])

    def find(self, key: str) -> Done | None:
        """None unless all its outputs are as they were written."""
        told = self._lines.get(key)
        if told is None or told["outputs"] != _stamps(Path(path) for path, *_ in told["outputs"]):
            return None
        counts = told["counts"]
        arrays = {kind: {name: np.array(n, np.uint64) for name, n in counts[kind].items()} for kind in EXECUTED}
        return Done(told["samples"], Counts(**{**counts, **arrays}), told["remarks"])

    def add(self, key: str, done: Done, outputs: Iterable[Path]) -> None:
        """To be called when `outputs` are written."""
        if self._path is None:
            return
        told = {"key": key, "outputs": _stamps(outputs), **asdict(done)}
        with self._path.open("a", encoding="utf-8") as file:  # behind a line that may lack its end
            file.write(f"\n{json.dumps(told, default=lambda array: array.tolist())}\n")

    def remove(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _stamps(paths: Iterable[Path]) -> list[list[Any]]:
    """What tells whether files are the same as before: place, size, time of the last change."""
    found: list[list[Any]] = []
    for path in paths:
        stat = path.stat() if path.exists() else None
        found.append([str(path.absolute()), stat and stat.st_size, stat and stat.st_mtime_ns])
    return found
