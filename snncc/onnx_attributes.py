"""Attributes of a standard ONNX node with every default resolved (opset 20)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import onnx
from onnx import helper

from snncc.errors import FormatError

OPSET = 20
Shape = tuple[int, ...]
WINDOWED = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")
REACH = ("output_padding", "strides", "dilations")


@cache
def schema_defaults(op: str) -> Mapping[str, Any]:
    """Attribute -> default value, for those that have one."""
    found = {}
    for name, attribute in onnx.defs.get_schema(op, OPSET, "").attributes.items():
        if attribute.default_value.type != onnx.AttributeProto.UNDEFINED:
            found[name] = plain(helper.get_attribute_value(attribute.default_value))
    return found


def defaults(op: str, spatial: int) -> dict[str, Any]:
    """Schema defaults, and for windowed operators those that depend on the number of `spatial` axes."""
    found = dict(schema_defaults(op))
    if op in WINDOWED:
        found |= {"strides": (1,) * spatial, "pads": (0,) * (2 * spatial), "dilations": (1,) * spatial}
    if op == "ConvTranspose":
        found["output_padding"] = (0,) * spatial
    return found


def plain(value: Any) -> Any:
    """An attribute value as int, float, str, or a tuple of them; tensors as they are."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list | tuple) or type(value).__name__.startswith("Repeated"):
        return tuple(plain(item) for item in value)
    return value


def resolved(node: onnx.NodeProto, shapes: list[Shape | None], out: Shape, label: str) -> dict[str, Any]:
    """All attributes of `node`, sorted by name, whose inputs have `shapes` and whose first output has `out`.

    `kernel_shape` is always given and `auto_pad` and `output_shape` become explicit `pads`. Raises FormatError.
    """
    given = {attribute.name: plain(helper.get_attribute_value(attribute)) for attribute in node.attribute}
    op = node.op_type
    if op not in WINDOWED or shapes[0] is None:
        return dict(sorted({**schema_defaults(op), **given}.items()))
    spatial = len(shapes[0]) - 2
    found = {**defaults(op, spatial), **given}
    if op in ("Conv", "ConvTranspose"):
        found.setdefault("kernel_shape", () if shapes[1] is None else shapes[1][2:])
    for name in ("kernel_shape", "strides", "dilations", "pads"):
        wanted = spatial * (2 if name == "pads" else 1)
        if len(found[name]) != wanted or any(v < (name != "pads") for v in found[name]):
            raise FormatError(f"{name} {list(found[name])} makes no sense over {spatial} axes", node=label)
    total = _total_padding(op, found, shapes[0][2:], out[2:])
    if op == "ConvTranspose" and total is not None:  # more than the windows reach: zeros after the end
        found["output_padding"] = tuple(max(-t, 0) + a for t, a in zip(total, found["output_padding"], strict=True))
        if any(a >= max(s, d) for a, s, d in zip(*(found[n] for n in REACH), strict=True)):
            raise FormatError(f"output_shape {list(out[2:])} out of reach", node=label, remedy="export explicit pads")
    if total is not None:
        found["pads"] = _split([max(t, 0) for t in total], found["auto_pad"], op)
    found.pop("output_shape", None)
    found["auto_pad"] = "NOTSET"
    return dict(sorted(found.items()))


def _total_padding(op: str, attrs: Mapping[str, Any], size: Shape, out: Shape) -> list[int] | None:
    """Both sides together, an axis, where `auto_pad` or `output_shape` decides; None if `pads` stand."""
    axes = list(zip(size, out, attrs["kernel_shape"], attrs["strides"], attrs["dilations"], strict=True))
    if op == "ConvTranspose" and "output_shape" in attrs:
        pass
    elif attrs["auto_pad"] == "NOTSET":
        return None
    elif attrs["auto_pad"] == "VALID":
        return [0] * len(axes)
    if op == "ConvTranspose":
        added = attrs["output_padding"]
        return [s * (i - 1) + a + (k - 1) * d + 1 - o for (i, o, k, s, d), a in zip(axes, added, strict=True)]
    return [max((o - 1) * s + (k - 1) * d + 1 - i, 0) for i, o, k, s, d in axes]


def _split(total: list[int], auto_pad: str, op: str) -> Shape:
    """A transposed convolution's odd one goes before, unless SAME_UPPER: so onnxruntime, and ONNX since opset 11."""
    less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    before = auto_pad == "SAME_LOWER" or (op == "ConvTranspose" and auto_pad != "SAME_UPPER")
    return more + less if before else less + more
