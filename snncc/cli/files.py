"""Writes reports, arrays and spikes so that no file is ever half-written."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from snncc.graph import Array
from snncc.onnx_file import replacing, unwritten


def write_json(path: Path, report: Any) -> None:
    write_text(path, json.dumps(report, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """One array to .npy, one or several to .npz."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(file, "w") as archive:  # np.savez cannot name an array `file`
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
        else:
            (array,) = arrays.values()
            np.save(file, array)


class SpikeWriter:
    """Collects the spikes of many samples on disk, in nameless files beside the .npz that `finish` makes of them."""

    def __init__(self, path: Path | None):
        self._path = path
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._samples = 0
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        for file in self._files.values():
            with suppress(OSError):  # what it still buffers may not fit on the disk
                file.close()

    @property
    def wanted(self) -> bool:
        return self._path is not None

    def add(self, spikes: Mapping[str, Array]) -> None:
        """One sample: population -> int8 [T, *shape]."""
        if self._path is None:
            return
        self._samples += 1
        try:
            for name, train in spikes.items():
                if name not in self._files:
                    self._shapes[name] = train.shape
                    folder = self._path.absolute().parent
                    self._files[name] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (__exit__ closes it)
                self._files[name].write(np.ascontiguousarray(train, np.int8).tobytes())
        except OSError as fault:
            raise unwritten(self._path, fault) from None

    def finish(self) -> None:
        """Write the .npz: population -> int8 [samples, T, *shape]."""
        if self._path is None:
            return
        with replacing(self._path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, file in self._files.items():
                header = {"descr": "|i1", "fortran_order": False, "shape": (self._samples, *self._shapes[name])}
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    file.seek(0)
                    shutil.copyfileobj(file, member, 1 << 20)
