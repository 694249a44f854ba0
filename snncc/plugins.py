"""Finding passes by name: built-in, from entry points of the group `snncc.passes`, or `file.py:Class`."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from snncc.errors import OptionError
from snncc.pass_options import described
from snncc.pipeline import Pass, build, parse_pipeline, with_options

GROUP = "snncc.passes"
LEVELS = ("graph", "lower", "network")
EXAMPLE = "see examples/add_a_pass.py"


@dataclass(frozen=True)
class Found:
    """A pass and who brings it; a broken one has an error in place of a class."""

    name: str
    owner: str
    kind: type[Pass] | None
    error: str = ""


class Registry:
    """Passes by name. A broken or clashing one raises only where it is asked for."""

    def __init__(self, found: Iterable[Found]):
        self._found: dict[str, list[Found]] = {}
        for item in found:
            self._found.setdefault(item.name, []).append(item)

    def __iter__(self) -> Iterator[Found]:
        """All of them; of a clash each one, with the clash as its error."""
        for name, items in self._found.items():
            for item in items:
                clash = _clash(name, items) if len(items) > 1 else ""
                yield Found(name, item.owner, item.kind, item.error or clash)

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def check(self, name: str) -> None:
        """Raises OptionError if several owners claim `name`."""
        items = self._found.get(name, [])
        if len(items) > 1:
            raise OptionError(_clash(name, items), remedy="uninstall one of the two, or rename its pass")

    def get(self, reference: str) -> type[Pass]:
        """The class of a pass name or of `file.py:Class`.

        Raises:
            OptionError: unknown, broken, or claimed by two owners.
        """
        file, sign, name = reference.rpartition(":")
        if sign and file.endswith(".py"):
            kind = _from_file(Path(file), name)
            if kind.name in self._found:
                other = [*self._found[kind.name], Found(kind.name, reference, kind)]
                raise OptionError(_clash(kind.name, other), file=file, remedy="give the pass another name")
            return kind
        self.check(reference)
        if reference not in self._found:
            near = difflib.get_close_matches(reference, self._found, 3)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise OptionError(f"there is no pass {reference!r}", remedy=f"{hint}`snncc passes` lists them")
        (item,) = self._found[reference]
        if item.kind is None:
            raise OptionError(f"the pass {reference} of {item.owner} is broken: {item.error}", remedy="reinstall it")
        return item.kind

    def with_files(self, texts: Iterable[str]) -> Registry:
        """With the passes of files that these texts name, `file.py:Class`, under their own names."""
        files = [name for text in texts for name, _ in parse_pipeline(text) if name.rpartition(":")[0].endswith(".py")]
        new = (Found(kind.name, file, kind) for file in dict.fromkeys(files) for kind in [self.get(file)])
        return Registry([*(item for items in self._found.values() for item in items), *new])

    def parse(self, text: str) -> list[Pass]:
        """A whole pipeline from its text."""
        return [build(self.get(name), options) for name, options in parse_pipeline(text)]

    def insert(self, passes: Sequence[Pass], text: str) -> list[Pass]:
        """`passes` with those of `text` put in: a name that is there gets the new options; otherwise a graph pass goes
        before lower and a network pass before quantize (or last) unless it says otherwise."""
        result = list(passes)
        for reference, options in parse_pipeline(text):
            new = build(self.get(reference), options)
            same = [i for i, step in enumerate(result) if step.name == new.name]
            for i in same:
                result[i] = with_options(result[i], **{key: getattr(new, key) for key in options})
            if not same:
                result = insert_pass(result, with_options(new, **_inherited(result, new, options)))
        return result


def insert_pass(passes: Sequence[Pass], new: Pass) -> list[Pass]:
    """`new` at its place by level; one of level `lower` takes the place of the other. A network pass may name the pass
    it stands `before`, or the one it takes the place of (`instead_of`)."""
    result = list(passes)
    lower = next((i for i, step in enumerate(result) if step.level == "lower"), len(result))
    if new.level == "lower":
        result[lower : lower + 1] = [new]
    elif new.level == "graph":
        result.insert(lower, new)
    else:
        replaced = getattr(new, "instead_of", None)
        stand = replaced or getattr(new, "before", "quantize")
        named = [(step.name, getattr(step, "instead_of", None)) for step in result]
        place = next((i for i, names in enumerate(named) if stand in names), len(result))
        result[place : place + (replaced is not None)] = [new]
    return result


def _inherited(passes: Iterable[Pass], new: Pass, named: Iterable[str]) -> dict[str, Any]:
    """Options of the pass whose place `new` takes, as far as it is one of its kind and they are not `named`: with
    --precision int4 calibrate-weights makes 4 bits, too."""
    replaced = getattr(new, "instead_of", None)
    old = [step for step in passes if step.name == replaced and isinstance(new, type(step))]
    return {f.name: getattr(old[0], f.name) for f in fields(old[0]) if f.name not in named} if old else {}  # type: ignore[arg-type]


def registry(builtin: Iterable[type[Pass]]) -> Registry:
    """Built-in passes (handed in: the core imports none) and those of installed packages."""
    found = [Found(kind.name, "snncc", kind) for kind in builtin]
    return Registry([*found, *(_from_entry_point(entry) for entry in entry_points(group=GROUP))])


def _from_entry_point(entry: EntryPoint) -> Found:
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown package"
    owner = f"{package} ({entry.value})"
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints is no part of our output
            kind = entry.load()
        fault = _fault(kind)
        if not fault and kind.name != entry.name:
            fault = f"its entry point is called {entry.name}, the pass {kind.name}"
    except (Exception, SystemExit) as error:  # whatever its import does must not take snncc down
        fault = f"{type(error).__name__}: {error}"
    return Found(entry.name, owner, None, fault) if fault else Found(kind.name, owner, kind)


def _from_file(file: Path, name: str) -> type[Pass]:
    module_name = f"snncc_pass_{file.stem}_{abs(hash(file.resolve())):x}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise OptionError("there is no such file", file=str(file), remedy="form: -p path/to/file.py:Class")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their own module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        text = f"importing it failed: {type(error).__name__}: {error}"
        raise OptionError(text, file=str(file), remedy=EXAMPLE) from error
    if not hasattr(module, name):
        raise OptionError(f"it has no class {name!r}", file=str(file), remedy=EXAMPLE)
    kind: type[Pass] = getattr(module, name)
    if fault := _fault(kind):
        raise OptionError(fault, file=str(file), node=name, remedy=EXAMPLE)
    return kind


def _fault(kind: Any) -> str:
    """What keeps `kind` from being a pass, or ""."""
    if not isinstance(kind, type) or not is_dataclass(kind):
        return "not a dataclass"
    kind = cast(type[Pass], kind)
    missing = [name for name in ("name", "level", "requires", "ensures", "run") if not hasattr(kind, name)]
    if missing:
        return f"not a pass: it has no {', '.join(missing)}"
    if kind.level not in LEVELS:
        return f"its level is not one of {', '.join(LEVELS)}"
    if not isinstance(kind.name, str) or not re.fullmatch(r"[\w.-]+", kind.name):
        return f"its name {kind.name!r} is not made of letters, digits, dots and dashes"
    try:
        described(kind)
    except Exception as error:  # of a default_factory
        return f"its options cannot be read: {type(error).__name__}: {error}"
    return ""


def _clash(name: str, items: Sequence[Found]) -> str:
    return f"the pass {name!r} is claimed by {' and by '.join(item.owner for item in items)}"
