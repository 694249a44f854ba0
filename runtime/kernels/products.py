"""Products of lanes, for the dense kernels (dense.py)."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from snncc.runtime.kernels.vectors import Vector, align, call, filled, intrinsic, pointer, shuffled, side_by_side


def _dot_pairs(builder: Any, a: Any, b: Any, lanes: int) -> Any:
    """int16 [2 lanes] x int16 [2 lanes] to int32 [lanes], neighbours added: what LLVM knows as one instruction."""
    wide = ir.VectorType(ir.IntType(32), 2 * lanes)
    product = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
    even, odd = (shuffled(builder, product, product, range(k, 2 * lanes, 2)) for k in (0, 1))
    return builder.add(even, odd)


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
        sums = []
        for p in range(total.lanes // n):
            value = builder.load(builder.gep(data, [ir.Constant(ir.IntType(64), p)]))
            same = filled(builder, value, kind.llvm)
            part = shuffled(builder, args[0], args[0], range(p * n, (p + 1) * n))
            if paired:
                sums.append(builder.add(part, _dot_pairs(builder, builder.bitcast(same, row_kind.llvm), weight, n)))
            elif not kind.is_float:
                sums.append(builder.add(part, builder.mul(same, weight)))
            elif fused.literal_value:
                sums.append(call(builder, f"llvm.fmuladd.v{n}f32", kind.llvm, same, weight, part))
            else:
                sums.append(builder.fadd(part, builder.fmul(same, weight)))
        return side_by_side(builder, sums)

    return total(total, values, types.intp, weights, types.intp, lanes, fused), generate


@intrinsic
def floored(typing: Any, a: Any, down: Any) -> Any:
    """Integers a_k >> down_k; of float32 the floor."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not a.is_float:
            return builder.ashr(*args)
        return call(builder, f"llvm.floor.v{a.lanes}f32", a.llvm, args[0])

    return a(a, down), generate
