"""model.snn.onnx: a spiking network as plain ONNX that stock onnxruntime runs.

Writing is atomic and deterministic; reading accepts only what writing gives (write.py, read.py).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import onnx

from snncc.errors import FormatError
from snncc.ingest.limits import MAX_FILE_BYTES
from snncc.network import Network
from snncc.onnx_file.read import read_model
from snncc.onnx_file.write import write_model

Source = str | os.PathLike[str]


def to_model(network: Network) -> onnx.ModelProto:
    """The network as a standard model. Raises FormatError for what a file cannot hold exactly."""
    return write_model(network).model


def write(network: Network, path: Source) -> None:
    """Write the file in one step: whatever fails, an older file at `path` stays whole. Raises FormatError."""
    try:
        content = to_model(network).SerializeToString(deterministic=True)
    except FormatError as fault:
        raise fault.at(path) from None
    except Exception as fault:  # protobuf's own error beyond 2 GiB, whose type differs between back ends
        raise FormatError(f"cannot be put into an ONNX file: {fault}", file=str(path)) from None
    write_bytes(content, path)


def write_bytes(content: bytes, path: Source) -> None:
    """Raises FormatError."""
    with replacing(path) as draft:
        draft.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Source) -> Iterator[Path]:
    """A new file beside `path`, with its suffixes; at the end it is flushed to disk and takes the place of `path`.

    Raises:
        FormatError: it cannot be written; an older file at `path` stays whole.
    """
    target = Path(os.path.realpath(path))
    draft = target.with_name(f".snncc-{secrets.token_hex(4)}-{Path(path).name}")
    try:
        yield draft
        with open(draft, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(draft, target)
    except OSError as fault:
        raise unwritten(path, fault) from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def unwritten(path: Source, fault: OSError) -> FormatError:
    remedy = "name a folder that exists, may be written to and has space left"
    return FormatError(f"cannot write the file: {fault.strerror or fault}", file=str(path), remedy=remedy)


def read(path: Source) -> Network:
    """The network that was written there. Raises FormatError for any other file."""
    try:
        return read_model(_parse(Path(path)))
    except FormatError as fault:
        raise fault.at(path) from None


def _parse(path: Path) -> onnx.ModelProto:
    try:
        if not path.is_file():
            raise FormatError("not a file", remedy="name a .snn.onnx file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FormatError("more bytes than an ONNX file can hold")
        content = path.read_bytes()
    except OSError as fault:
        raise FormatError(f"cannot read the file: {fault.strerror or fault}", remedy="check its path") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception:  # DecodeError, whose module differs between protobuf back ends
        raise FormatError("not an ONNX file, or cut short", remedy="copy or compile it again") from None
    if not content or not model.graph.node:
        raise FormatError("no network in this file: not an ONNX file, or cut short", remedy="copy or compile it again")
    return model
