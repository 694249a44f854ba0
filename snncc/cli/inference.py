"""Runs a model over cases and puts the outputs back together; shared by run, demo and the agreement of compile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from snncc.cli import displacement
from snncc.cli.data import ARRAYS, Case
from snncc.cli.files import SpikeWriter, write_arrays
from snncc.cli.preprocess import Preprocess
from snncc.cli.shared import writable
from snncc.cli.tables import Bars
from snncc.cli.volumes import NIFTI, Assembler, Volume, is_image, labels_of, named, suffix_of
from snncc.errors import DataError, OptionError
from snncc.graph import Array
from snncc.model import Model
from snncc.run_counts import RunCounts

LABELS = "labels of the moving image"  # beside the inputs among the files of a case


@dataclass
class Collector:
    """Outputs of the samples of one case: images [N, C, *S] assembled from tiles, others stacked [samples, ...]."""

    case: Case
    images: dict[str, Assembler] = field(default_factory=dict)
    arrays: dict[str, list[Array]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    clipped: int = 0
    written: list[Path] = field(default_factory=list)

    def add(self, outputs: Mapping[str, Array]) -> None:
        volume = self.case.volume
        for name, output in outputs.items():
            self.shapes[name] = output.shape
            if volume is not None and is_image(output.shape, volume.target):
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
        volume = self.case.volume
        targets = output_files(path, self.shapes, None if volume is None else volume.target)
        if volume is None and suffix_of(path) == ".npz":
            write_arrays(path, {name: self.stacked(name) for name in self.arrays})
            self.written.append(path)
            return [*remarks, f"wrote {path}"]
        for name, image in self.images.items():
            values = image.result()
            target = targets[name]
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
            assert volume is not None
            volume.write(target, values if classes is None else classes, classes is not None)
            self.written.append(target)
            remarks.append(f"wrote {target}")
        for name in self.arrays:
            target = targets[name]
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


def output_path(name: str, output: Path, several: bool) -> Path:
    """Where the outputs of the case `name` go: `output`, or a file called like the input in the folder `output`."""
    return output / name if several or output.is_dir() else output


def output_files(
    path: Path, shapes: Mapping[str, tuple[int, ...]], size: tuple[int, ...] | None
) -> dict[str, Path]:
    """Output -> its file: `path`, with several outputs their name in it; what is no image goes to .npy.

    Args:
        path: see output_path. shapes: of the outputs.
        size: of the network's input, where that is an image; None: all outputs are arrays, and .npz holds all of them.
    """
    if size is None and suffix_of(path) == ".npz":
        return dict.fromkeys(shapes, path)
    found = {name: named(path, name) if len(shapes) > 1 else path for name in shapes}
    images = [name for name in shapes if size is not None and is_image(shapes[name], size)]
    return {name: file if name in images else _with_suffix(file, ".npy") for name, file in found.items()}


def check_files(cases: Sequence[Mapping[str, Path]], output: Path, model: Model, preprocess: Preprocess) -> None:
    """Raises OptionError, before anything runs, if two outputs would go to one file, or one to an input."""
    flow, moving = preprocess.displacement or ("", "")
    first = min(model.input_shapes, key=lambda name: name == moving)  # as open_case puts them
    inputs = {path.resolve() for case in cases for path in case.values()}
    taken: dict[Path, str] = {}
    for case in cases:
        size = None if suffix_of(case[first]) in ARRAYS else model.input_shapes[first][2:]
        path = output_path(case[first].name, output, len(cases) > 1)
        files = output_files(path, model.network.output_shapes, size)
        if size is not None and flow in files and suffix_of(files[flow]) in NIFTI:
            beside = ("moved", "labels") if LABELS in case else ("moved",)
            files |= {f"{flow} ({what})": named(files[flow], what) for what in beside}
        if size is None and suffix_of(path) == ".npz":
            files = {"the outputs": path}
        for name, file in files.items():
            place, mine = file.resolve(), f"{name} of {case[first]}"
            if place in inputs:
                raise OptionError("this would overwrite an input", file=str(file), remedy="give another name with -o")
            if place in taken:
                remedy = "run the inputs one by one, or rename one"
                raise OptionError(f"{taken[place]} and {mine} would go to one file", file=str(file), remedy=remedy)
            taken[place] = mine


def check_output(case: Case, target: Path) -> None:
    """Raises OptionError where the suffix does not suit the input, or the input itself stands there."""
    writable(target, *(part.path for part in case.parts.values()))
    if case.volume is not None:
        case.volume.check_target(target)
    elif target.suffix.lower() not in (".npy", ".npz"):
        raise OptionError("unknown output format", file=str(target), remedy="arrays in give arrays out: .npy or .npz")


def _with_suffix(path: Path, suffix: str) -> Path:
    own = suffix_of(path)
    return path if own == suffix else path.with_name(path.name[: len(path.name) - len(own)] + suffix)
