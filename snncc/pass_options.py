"""Options of passes as text: `q=99.9`, `axes=2;3`, `limit=none`, converted by the types of a dataclass's fields."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from snncc.errors import OptionError

BETWEEN = ";"  # the elements of a tuple: a comma is between options
NOTHING = "none"
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def option_values(kind: Any, options: Mapping[str, str]) -> dict[str, Any]:
    """The values of `options`, given as text, for the dataclass `kind`. Raises OptionError."""
    known = option_types(kind)
    values: dict[str, Any] = {}
    for key, text in options.items():
        if key not in known:
            raise OptionError(
                f"the pass {kind.name} has no option {key!r}", remedy=f"it has: {', '.join(known) or 'none'}"
            )
        try:
            values[key] = _value(text, known[key])
        except ValueError:
            wanted = type_text(known[key])
            raise OptionError(
                f"{kind.name}: {key}={text!r} is not of type {wanted}", remedy=f"form: {kind.name}{{{key}=<{wanted}>}}"
            ) from None
    return values


def option_types(kind: Any) -> dict[str, Any]:
    """Option -> type; that of the default where the annotation cannot be resolved."""
    try:
        hints = get_type_hints(kind)
    except Exception:  # names that exist for type checkers only
        hints = {}
    return {f.name: hints.get(f.name, type(_default(f)) if _default(f) is not None else str) for f in fields(kind)}


def _value(text: str, kind: Any) -> Any:
    """Raises ValueError."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is type(None):
        if text.lower() == NOTHING:
            return None
    elif kind is bool:
        if text.lower() in TRUTH:
            return TRUTH[text.lower()]
    elif kind in (int, float, str):
        return kind(text)
    elif origin is Literal:
        for choice in inner:
            if option_text(choice) == text:
                return choice
    elif origin in (Union, types.UnionType):
        for one in sorted(inner, key=lambda one: one is not type(None)):  # `none` before a str of these letters
            try:
                return _value(text, one)
            except ValueError:
                continue
    elif origin is tuple or kind is tuple:
        parts = [part.strip() for part in text.split(BETWEEN)] if text else []
        if len(inner) == 2 and inner[1] is Ellipsis:
            inner = inner[:1] * len(parts)
        return tuple(_value(part, one) for part, one in zip(parts, inner or (str,) * len(parts), strict=True))
    raise ValueError(text)


def option_text(value: Any) -> str:
    """The text that gives `value`."""
    if isinstance(value, tuple | list):
        return BETWEEN.join(map(option_text, value))
    return NOTHING if value is None else str(value)


def type_text(kind: Any) -> str:
    """`int`, `a|b`, `int;int;...`, `float|none`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "|".join(map(option_text, inner))
    if origin in (Union, types.UnionType):
        return "|".join(map(type_text, inner))
    if origin is tuple:
        return BETWEEN.join("..." if one is Ellipsis else type_text(one) for one in inner)
    return NOTHING if kind is type(None) else getattr(kind, "__name__", str(kind))


def described(kind: Any) -> list[str]:
    """A line an option: `q=99.9`, what it may be where that does not show, and its field's metadata `help`."""
    lines = []
    for (name, to), field in zip(option_types(kind).items(), fields(kind), strict=True):
        default = _default(field)
        line = f"{name}=<{type_text(to)}>" if default is MISSING else f"{name}={option_text(default)}"
        if default is not MISSING and to not in (int, float, str, bool):
            line += f"  ({type_text(to)})"
        lines.append(line + (f"  {field.metadata['help']}" if field.metadata.get("help") else ""))
    return lines


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
