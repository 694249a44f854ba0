"""Mutated teachers and compiled files: seeded damage, and what the command line makes of it.

    python -m tests.mutations 10000 --write     # docs/results/hostile.md

Workers do the work, so that a crash of a C++ library or a hang is found and belongs to a seed.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from click.testing import CliRunner, Result
from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx import helper, numpy_helper

from snncc.cli import main
from tests.exports import Base, bases

ROOT = Path(__file__).resolve().parents[1]
SECONDS, MEGABYTES = 1.0, 1024  # CPU time and memory that a refusal may take
KILL_SECONDS, ROOM = 20, 2 << 30  # where a worker is stopped: CPU time of one file, address space beyond the imports
WHOLE = [0, 1, -1, 2, 3, 7, 255, 2**16, 2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**31), -(2**63)]
REAL = [0.0, -1.0, 0.5, 1e-38, 1e38, -1e38, float("nan"), float("inf"), float("-inf"), 1e9]
TEXT = ["", "x", "y", "NOTSET", "linear", "evil", "../x", "\x1b[2J", "a\nb", "w" * 10_000]
OPERATORS = sorted(schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == "")


def mutated(content: bytes, seed: int) -> tuple[str, bytes]:
    """The kind of damage and the damaged file; the same for the same seed."""
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(["flip", "cut", "field", "field", "field", "field", "graph", "graph"]))
    if kind == "cut":
        return kind, content[: rng.integers(len(content))]
    if kind == "flip":
        return kind, _flipped(content, rng)
    model = onnx.load_from_string(content)
    for _ in range(rng.integers(1, 4)):
        try:
            (_edit_field if kind == "field" else _edit_graph)(model, rng)
        except Exception:
            continue  # protobuf or numpy cannot hold the damage
    return kind, model.SerializeToString()


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """Bits flipped anywhere, or outside the large weights, where they change more."""
    places = np.arange(len(content))
    if rng.random() < 0.7:
        for tensor in onnx.load_from_string(content).graph.initializer:
            start = content.find(tensor.raw_data) if len(tensor.raw_data) > 64 else -1
            if start >= 0:
                places[start : start + len(tensor.raw_data)] = -1
    places = places[places >= 0]
    damaged = bytearray(content)
    for place in rng.choice(places, rng.integers(1, 6)):
        damaged[place] ^= 1 << rng.integers(8)
    return bytes(damaged)


def _edit_field(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Change one field of one message; each type of message is equally likely."""
    by_type: dict[str, list[Message]] = {}
    for message in _messages(model):
        by_type.setdefault(message.DESCRIPTOR.name, []).append(message)
    message = _any(by_type[_any(sorted(by_type), rng)], rng)
    field = _any(message.DESCRIPTOR.fields, rng)
    if field.is_repeated:
        _edit_list(getattr(message, field.name), field, rng)
    elif field.cpp_type == field.CPPTYPE_MESSAGE or rng.random() < 0.2:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _value(field, rng))


def _edit_list(items: Any, field: Any, rng: np.random.Generator) -> None:
    action = rng.integers(4)
    if not len(items) or action == 0:
        items.add() if field.cpp_type == field.CPPTYPE_MESSAGE else items.append(_value(field, rng))
        return
    at = int(rng.integers(len(items)))
    if action == 1:
        del items[at]
    elif field.cpp_type != field.CPPTYPE_MESSAGE:
        items[at] = _value(field, rng)
    elif action == 2:
        items.add().CopyFrom(items[at])
    else:
        other = int(rng.integers(len(items)))
        copy = type(items[at])()
        copy.CopyFrom(items[at])
        items[at].CopyFrom(items[other])
        items[other].CopyFrom(copy)


def _value(field: Any, rng: np.random.Generator) -> Any:
    if field.cpp_type == field.CPPTYPE_STRING:
        text = _any(TEXT, rng)
        return text.encode() if field.type == field.TYPE_BYTES else text
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return _any(REAL, rng)
    return _any(WHOLE, rng) if rng.random() < 0.5 else int(rng.integers(30))


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.cpp_type == field.CPPTYPE_MESSAGE:
            for item in value if field.is_repeated else [value]:
                yield from _messages(item)


def _edit_graph(model: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Change what a field edit seldom hits: operators, their attributes and inputs, and the numbers in weights."""
    graph, node = model.graph, _any(model.graph.node, rng)
    names = [*(name for n in graph.node for name in n.output), *(t.name for t in graph.initializer)]
    match rng.integers(6):
        case 0:
            node.op_type = _any(OPERATORS, rng)
        case 1:
            schema = onnx.defs.get_schema(node.op_type, 20, "") if node.op_type in OPERATORS else None
            kind = _any(list(schema.attributes.values()), rng) if schema and schema.attributes else None
            if kind is not None:
                kept = [a for a in node.attribute if a.name != kind.name]
                del node.attribute[:]
                node.attribute.extend([*kept, helper.make_attribute(kind.name, _attribute(int(kind.type), rng))])
        case 2 if node.input:
            node.input[int(rng.integers(len(node.input)))] = _any(names, rng)
        case 3:
            node.input.append(_any(names, rng))
        case 4 if graph.initializer:
            _edit_weight(_any(graph.initializer, rng), rng)
        case _:
            bomb = _any(["ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "OneHot", "EyeLike"], rng)
            name, sizes = f"bomb{len(graph.node)}", np.array(rng.choice(WHOLE, 3), np.int64)
            graph.initializer.append(numpy_helper.from_array(sizes, f"{name}.sizes"))
            read = [f"{name}.sizes"] * (1 if bomb in ("ConstantOfShape", "EyeLike") else 2)
            model.graph.node.insert(0, helper.make_node(bomb, read, [name]))
            if node.input:
                node.input[-1] = name


def _edit_weight(tensor: onnx.TensorProto, rng: np.random.Generator) -> None:
    array = numpy_helper.to_array(tensor).copy()
    if array.size:
        array.reshape(-1)[rng.integers(array.size)] = _any(REAL if array.dtype.kind == "f" else WHOLE, rng)
    if rng.random() < 0.3:
        array = array.astype(_any(["float64", "float16", "int64", "uint8", "bool", "float32"], rng))
    if rng.random() < 0.3:
        array = array.reshape(-1) if rng.random() < 0.5 else array[None]
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _attribute(kind: int, rng: np.random.Generator) -> Any:
    whole, real = [_any(WHOLE, rng) for _ in range(rng.integers(1, 7))], [_any(REAL, rng) for _ in range(2)]
    names = {"INT": whole[0], "INTS": whole, "FLOAT": real[0], "FLOATS": real, "STRING": "evil"}
    name = onnx.AttributeProto.AttributeType.Name(kind)
    return names.get(name, numpy_helper.from_array(np.array(whole, np.int64)))


def _any(items: Any, rng: np.random.Generator) -> Any:
    return items[int(rng.integers(len(items)))]


# -- what the command line makes of them ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """`fault` is empty if the file was refused as it should be, or was good."""

    seed: int
    base: str
    kind: str
    command: str
    code: int
    seconds: float
    megabytes: float
    fault: str
    block: str


def attempt(base: Base, seed: int, folder: Path) -> Outcome:
    """Damage `base` by `seed` and run a command on it in `folder`."""
    kind, content = mutated(base.content, seed)
    file = folder / base.file
    file.write_bytes(content)
    command = base.commands[seed % len(base.commands)]
    result, seconds, megabytes, written = measured(
        [part.format(file=file, folder=folder) for part in command], folder
    )
    fault = wrong(result, written)
    if result.exit_code and not fault and (seconds > SECONDS or megabytes > MEGABYTES):
        fault = f"{seconds:.1f} s, {megabytes:.0f} MB"
    for name in written:
        (folder / name).unlink()
    return Outcome(seed, base.name, kind, command[0], result.exit_code, seconds, megabytes, fault, result.stderr[:2000])


def measured(command: Sequence[str], folder: Path) -> tuple[Result, float, float, set[str]]:
    """Run a command: its result, CPU seconds, the memory it took at most (MB), and what it left in `folder`."""
    before, resident = set(os.listdir(folder)), _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    began = time.process_time()
    result = CliRunner().invoke(main, list(command))
    seconds, megabytes = time.process_time() - began, _memory("VmHWM") - resident
    return result, seconds, megabytes, set(os.listdir(folder)) - before


def wrong(result: Result, written: set[str]) -> str:
    """What is not as it should be: a good exit, or one block that names file and remedy, and nothing written."""
    block = result.stderr
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"{type(result.exception).__name__}: {result.exception}"
    if result.exit_code == 0:
        return ""
    if result.exit_code not in (1, 2):
        return f"exit {result.exit_code}"
    if written:
        return f"written: {sorted(written)}"
    bad = ("Traceback", "a fault in snncc", "out of memory", " failed: ", "malformed", "-->")
    for word in bad:
        if word in block and "altered" not in block:  # the reader of compiled files says what it stumbled on
            return f"{word!r} in the block"
    if not block.startswith("error: ") or block.count("error: ") > 1 + block.count("Error: ") or len(block) > 3000:
        return "not one block"
    if "\n  file: " not in block or "\n  remedy: " not in block:
        return "file or remedy missing"
    if not all(c.isprintable() or c == "\n" for c in block):
        return "not printable"
    return ""


def _memory(key: str) -> float:
    """MB, from this process's /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def work(seeds: range, folder: Path) -> None:
    """Print an Outcome a line for each seed."""
    known: list[Base] = pickle.loads((folder / "bases").read_bytes())
    for base in known:  # warm: what is compiled once (kernels) is not the damaged file's time
        for command in base.commands:
            (folder / base.file).write_bytes(base.content)
            good = CliRunner().invoke(main, [part.format(file=folder / base.file, folder=folder) for part in command])
            assert good.exit_code in (0, 1), (base.name, good.output)
    limit = int(_memory("VmSize")) * 2**20 + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print("ready", flush=True)
    for seed in seeds:
        signal.setitimer(signal.ITIMER_PROF, KILL_SECONDS)
        outcome = attempt(known[(seed // 7) % len(known)], seed, folder)
        print(json.dumps(asdict(outcome)), flush=True)


def outcomes(seeds: range) -> Iterator[Outcome]:
    """Of every seed, from one worker after another: a new one goes on behind a seed that killed the last."""
    with tempfile.TemporaryDirectory() as folder:
        itself = [sys.executable, "-m", "tests.mutations"]
        subprocess.run([*itself, "--make", folder], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        while seeds:
            command = [*itself, "--work", folder, str(seeds.start), str(seeds.stop)]
            worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
            assert worker.stdout is not None and worker.stderr is not None
            assert worker.stdout.readline() == "ready\n", worker.stderr.read()
            for line in worker.stdout:
                outcome = Outcome(**json.loads(line))
                seeds = range(outcome.seed + 1, seeds.stop)
                yield outcome
            if worker.wait() and seeds:
                text = worker.stderr.read()[-1500:]
                yield Outcome(seeds.start, "", "", "", worker.returncode, 0, 0, f"killed: {worker.returncode}", text)
                seeds = range(seeds.start + 1, seeds.stop)


def report(found: Sequence[Outcome]) -> str:
    """docs/results/hostile.md."""
    rows = []
    for command in sorted({o.command for o in found}):
        own = [o for o in found if o.command == command]
        codes = Counter(o.code for o in own)
        refused = [o for o in own if o.code] or own
        cells = (command, len(own), codes[2], codes[1], codes[0], sum(bool(o.fault) for o in own))
        slowest, largest = max(o.seconds for o in refused), max(o.megabytes for o in refused)
        rows.append(f"| {' | '.join(map(str, cells))} | {slowest:.2f} s | {largest:.0f} MB |")
    return "\n".join(
        [
            "# Mutated teachers and compiled files",
            "",
            f"`python -m tests.mutations {len(found)} --write`",
            "",
            "Bits flipped, files cut, fields edited at random, operators, attributes, inputs and weights changed: of",
            "real exports, of small models, and of a compiled network. Exit 2: bad input; 1: valid, but not for this",
            "compiler; 0: harmless. A fault is a traceback, an unclear message, a file left behind, a crash, or a",
            f"refusal that takes more than {SECONDS:g} s of CPU time or {MEGABYTES} MB beyond the program's own.",
            "",
            "| command | files | exit 2 | exit 1 | exit 0 | faults | slowest refusal | most memory of a refusal |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def start() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int, nargs="?", default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        (options.make / "bases").write_bytes(pickle.dumps(bases(options.make)))
    elif options.work:
        folder, first, stop = options.work
        work(range(int(first), int(stop)), Path(folder))
    else:
        found = list(outcomes(range(options.first, options.first + options.count)))
        for o in found:
            if o.fault:
                print(f"{o.seed} {o.base}, {o.kind}, {o.command}, exit {o.code}: {o.fault}\n{o.block}\n")
        text = report(found)
        print(text)
        if options.write:
            (ROOT / "docs" / "results" / "hostile.md").write_text(text)


if __name__ == "__main__":
    start()
