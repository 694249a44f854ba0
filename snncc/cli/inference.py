"""Runs a model over cases and puts the outputs back together; shared by run, demo and the agreement of compile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from snncc.cli import displacement
from snncc.cli.data import Case
from snncc.cli.files import SpikeWriter, write_arrays
from snncc.cli.preprocess import Preprocess
from snncc.cli.shared import writable
from snncc.cli.tables import Bars
from snncc.cli.volumes import NIFTI, Assembler, Volume, labels_of, named, suffix_of
from snncc.errors import DataError, OptionError
from snncc.graph import Array
from snncc.model import Model
from snncc.run_counts import RunCounts


@dataclass
class Collector:
    """Outputs of the samples of one case: images [N, C, *S] assembled from tiles, others stacked [samples, ...]."""

    case: Case
    images: dict[str, Assembler] = field(default_factory=dict)
    arrays: dict[str, list[Array]] = field(default_factory=dict)
    clipped: int = 0
    written: list[Path] = field(default_factory=list)

    def add(self, outputs: Mapping[str, Array]) -> None:
        volume = self.case.volume
        for name, output in outputs.items():
            if volume is not None and name not in self.arrays and volume.assembler().fits(output):
                self.images.setdefault(name, volume.assembler()).add(output)
            else:
                self.arrays.setdefault(name, []).append(output)

    def stacked(self, name: str) -> Array:
        parts = self.arrays[name]
        return np.concatenate(parts) if parts[0].ndim and parts[0].shape[0] == 1 else np.stack(parts)

    def save(self, path: Path, preprocess: Preprocess, probabilities: bool, labels: Path | None = None) -> list[str]:
        """Write every output; several get their name into the file name. Gives remarks for the user.

        labels: of the moving input of a registration.
        """
        remarks = [f"{self.case.name}: {self.clipped:,} input values clipped"] if self.clipped else []
        several = len(self.images) + len(self.arrays) > 1
        if self.case.volume is None and path.suffix == ".npz":
            write_arrays(path, {name: self.stacked(name) for name in self.arrays})
            self.written.append(path)
            return [*remarks, f"wrote {path}"]
        for name, image in self.images.items():
            values = image.result()
            target = named(path, name) if several else path
            flow, moves = preprocess.displacement or ("", "")
            if name == flow and suffix_of(target) in NIFTI:
                fixed, moving = self._pair(moves)
                done = displacement.write(target, values[0], fixed, moving, labels, preprocess.orientation)
                self.written += done
                remarks += [f"wrote {file}" for file in done]
                continue
            wanted = preprocess.labels and not probabilities
            classes = labels_of(values, preprocess.threshold) if wanted else None
            if classes is None and wanted:
                remarks.append(f"{self.case.name}: no label threshold is known, so {name} holds the network's values")
            assert self.case.volume is not None
            self.case.volume.write(target, values if classes is None else classes, classes is not None)
            self.written.append(target)
            remarks.append(f"wrote {target}")
        for name in self.arrays:
            target = _with_suffix(named(path, name) if several else path, ".npy")
            check_output(self.case, target)
            write_arrays(target, {"": self.stacked(name)})
            self.written.append(target)
            remarks.append(f"wrote {target}: {name} of {self.case.count} samples")
        return remarks

    def _pair(self, moving: str) -> tuple[Volume, Volume]:
        """The volumes of the input that stays, and of the one that is moved."""
        (stays,) = (part for name, part in self.case.parts.items() if name != moving)
        moves = self.case.parts[moving]
        if not isinstance(stays, Volume) or not isinstance(moves, Volume):
            raise DataError("a displacement between an image and an array", remedy="give two NIfTI files")
        return stays, moves


def run_case(
    model: Model,
    case: Case,
    *,
    timesteps: int | None = None,
    seed: int = 0,
    spikes: SpikeWriter | None = None,
    progress: Bars | None = None,
) -> tuple[Collector, RunCounts]:
    """Run every sample of a case and count."""
    found, counts = Collector(case), None
    for index, feeds in enumerate(case.samples()):
        result = model.run(feeds, timesteps, seed=seed, record=spikes is not None and spikes.wanted)
        found.add(result.outputs)
        found.clipped += result.clipped
        if counts is None:
            counts = RunCounts(result.counts.facts, result.counts.engine, result.counts.timesteps)
        assert result.counts.counts is not None
        counts.add(result.counts.counts, input=case.name, index=index)
        if spikes is not None:
            spikes.add(result.spikes)
        if progress is not None:
            progress(case.name, index + 1, case.count)
    if counts is None:
        raise DataError("no samples in this input", remedy="give files with data")
    return found, counts


def output_path(case: Case, output: Path, several: bool) -> Path:
    """Where the outputs of a case go: `output`, or a file called like the input in the folder `output`."""
    if not several and not output.is_dir():
        target = output
    else:
        target = output / case.name
    check_output(case, target)
    return target


def check_output(case: Case, target: Path) -> None:
    """Raises OptionError where the suffix does not suit the input, or the input itself stands there."""
    writable(target, *(part.path for part in case.parts.values()))
    if case.volume is not None:
        case.volume.check_target(target)
    elif target.suffix.lower() not in (".npy", ".npz"):
        raise OptionError("unknown output format", file=str(target), remedy="arrays in give arrays out: .npy or .npz")


def _with_suffix(path: Path, suffix: str) -> Path:
    return path.with_name(path.name[: len(path.name) - len(suffix_of(path))] + suffix)
