"""Products of lanes, for the dense kernels (dense.py)."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from snncc.runtime.kernels.vectors import Vector, align, intrinsic, pointer


def _slice(builder: Any, vector: Any, start: int, lanes: int, step: int = 1) -> Any:
    places = ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(start, start + lanes * step, step)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)


def _join(builder: Any, parts: list[Any]) -> Any:
    while len(parts) > 1:
        lanes = 2 * parts[0].type.count
        places = ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(lanes)))
        parts = [builder.shuffle_vector(a, b, places) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _dot_pairs(builder: Any, a: Any, b: Any, lanes: int) -> Any:
    """int16 [2 lanes] x int16 [2 lanes] to int32 [lanes], neighbours added: what LLVM knows as one instruction."""
    wide = ir.VectorType(ir.IntType(32), 2 * lanes)
    product = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    return builder.add(_slice(builder, product, 0, lanes, 2), _slice(builder, product, 1, lanes, 2))


@intrinsic(prefer_literal=True)
def outer_add(typing: Any, total: Any, values: Any, at: Any, weights: Any, row: Any, lanes: Any, fused: Any) -> Any:
    """total, positions x lanes flat, + values[at + position] * weights[row + lane].

    int16 weights: those of two channels alternate, and an int32 value holds both channels' int16. fused: float32
    products are not rounded where the machine can do so, which makes no difference if they are exact.
    """
    n, kind = lanes.literal_value, Vector(total.dtype, lanes.literal_value)
    paired = weights.dtype == types.int16
    row_kind = Vector(weights.dtype, 2 * n if paired else n)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start = pointer(context, builder, weights, args[3], args[4], row_kind.llvm)
        weight = builder.load(start, align=align(weights))
        data = builder.gep(context.make_array(values)(context, builder, args[1]).data, [args[2]])
        undefined, sums = ir.Constant(kind.llvm, ir.Undefined), []
        for p in range(total.lanes // n):
            value = builder.load(builder.gep(data, [ir.Constant(ir.IntType(64), p)]))
            first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
            same = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), n), [0] * n))
            part = _slice(builder, args[0], p * n, n)
            if paired:
                sums.append(builder.add(part, _dot_pairs(builder, builder.bitcast(same, row_kind.llvm), weight, n)))
            elif not kind.is_float:
                sums.append(builder.add(part, builder.mul(same, weight)))
            elif fused.literal_value:
                sums.append(_call(builder, "llvm.fmuladd", same, weight, part))
            else:
                sums.append(builder.fadd(part, builder.fmul(same, weight)))
        return _join(builder, sums)

    return total(total, values, types.intp, weights, types.intp, lanes, fused), generate


def _call(builder: Any, name: str, *args: Any) -> Any:
    """LLVM's own function on float32 vectors of one type."""
    kind = args[0].type
    function = ir.FunctionType(kind, [kind] * len(args))
    declare: Any = cgutils.get_or_insert_function
    return builder.call(declare(builder.module, function, f"{name}.v{kind.count}f32"), args)


@intrinsic
def floored(typing: Any, a: Any, down: Any) -> Any:
    """Integers a_k >> down_k; of float32 the floor."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not a.is_float:
            return builder.ashr(*args)
        return _call(builder, "llvm.floor", args[0])

    return a(a, down), generate
