"""LLVM vectors as values inside Numba kernels.

A vector is as many lanes of one type as asked for; LLVM splits it into the machine's registers, so a loop over events
keeps its sums in registers, which Numba's own arrays and tuples do not. Element types: int16, int32, float32.
Every function takes flat element indices into C-contiguous arrays and checks nothing.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import cgutils, types

intrinsic: Any = extending.intrinsic  # what it makes can only be called in kernels
_ELEMENTS: Any = {types.int16: ir.IntType(16), types.int32: ir.IntType(32), types.float32: ir.FloatType()}
_Type: Any = types.Type
_Primitive: Any = extending.models.PrimitiveModel


class Vector(_Type):  # type: ignore[misc]
    """The Numba type of `lanes` elements of `dtype`."""

    def __init__(self, dtype: Any, lanes: int):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype},{lanes})")

    @property
    def llvm(self) -> Any:
        return ir.VectorType(_ELEMENTS[self.dtype], self.lanes)

    @property
    def is_float(self) -> bool:
        return bool(self.dtype == types.float32)


@extending.register_model(Vector)
class _VectorModel(_Primitive):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector):
        super().__init__(manager, kind, kind.llvm)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any, target: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), target.as_pointer())


def _align(kind: Any) -> int:
    return int(kind.dtype.bitwidth) // 8


@intrinsic(prefer_literal=True)
def zeros(typing: Any, like: Any, lanes: Any) -> Any:
    """A vector of zeros of the array's element type."""
    kind = Vector(like.dtype, lanes.literal_value)
    return kind(like, lanes), lambda context, builder, signature, args: ir.Constant(kind.llvm, None)


@intrinsic(prefer_literal=True)
def load(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """`lanes` elements of `array` from flat `index`."""
    kind = Vector(array.dtype, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, array, args[0], args[1], kind.llvm), align=_align(array))

    return kind(array, types.intp, lanes), generate


@intrinsic
def item(typing: Any, array: Any, index: Any) -> Any:
    """One element from flat `index`: as array[index], but without Numba's care for negative indices."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.load(builder.gep(data, [args[1]]))

    return array.dtype(array, types.intp), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target = _pointer(context, builder, array, args[0], args[1], vector.llvm)
        builder.store(args[2], target, align=_align(array))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def add(typing: Any, a: Any, b: Any) -> Any:
    """Integers wrap."""
    return a(a, a), lambda context, builder, signature, v: (builder.fadd if a.is_float else builder.add)(*v)


@intrinsic
def subtract(typing: Any, a: Any, b: Any) -> Any:
    return a(a, a), lambda context, builder, signature, v: (builder.fsub if a.is_float else builder.sub)(*v)


@intrinsic
def multiply(typing: Any, a: Any, b: Any) -> Any:
    return a(a, a), lambda context, builder, signature, v: (builder.fmul if a.is_float else builder.mul)(*v)


@intrinsic
def widen(typing: Any, a: Any) -> Any:
    """int16 lanes to int32 lanes; others stay as they are."""
    if a.dtype != types.int16:
        return a(a), lambda context, builder, signature, args: args[0]
    wide = Vector(types.int32, a.lanes)
    return wide(a), lambda context, builder, signature, args: builder.sext(args[0], wide.llvm)


_MASKS: Any = {8: types.uint8, 16: types.uint16, 32: types.uint32, 64: types.uint64}


def _compare(a: Any, sign: str) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        compare: Any = builder.fcmp_ordered if a.is_float else builder.icmp_signed
        return builder.bitcast(compare(sign, *args), ir.IntType(a.lanes))

    return _MASKS[a.lanes](a, a), generate


@intrinsic
def at_least(typing: Any, a: Any, b: Any) -> Any:
    """Bit k is [a_k >= b_k]."""
    return _compare(a, ">=")


@intrinsic
def below(typing: Any, a: Any, b: Any) -> Any:
    """Bit k is [a_k < b_k]."""
    return _compare(a, "<")


@intrinsic
def select(typing: Any, mask: Any, a: Any, b: Any) -> Any:
    """a_k where bit k of the mask is set, else b_k."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.VectorType(ir.IntType(1), a.lanes))
        return builder.select(bits, args[1], args[2])

    return a(_MASKS[a.lanes], a, a), generate


@intrinsic
def choose(typing: Any, condition: Any, a: Any, b: Any) -> Any:
    """a if the condition holds, else b, without a branch (which random events would mispredict). Integers."""
    return types.intp(types.boolean, types.intp, types.intp), lambda context, builder, signature, v: builder.select(*v)


@intrinsic
def splat(typing: Any, scalar: Any, like: Any) -> Any:
    """The scalar in every lane of a vector like `like`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        undefined = ir.Constant(like.llvm, ir.Undefined)
        first = builder.insert_element(undefined, args[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), like.lanes), [0] * like.lanes)
        )

    return like(like.dtype, like), generate


@intrinsic
def ones_in(typing: Any, mask: Any) -> Any:
    """How many bits of an unsigned integer are set, int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        count = builder.ctpop(args[0])
        return _as_int64(builder, count)

    return types.int64(mask), generate


def _as_int64(builder: Any, value: Any) -> Any:
    """An unsigned LLVM integer as 64 bits."""
    return value if value.type.width == 64 else builder.zext(value, ir.IntType(64))


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
        start = _pointer(context, builder, weights, args[3], args[4], row_kind.llvm)
        weight = builder.load(start, align=_align(weights))
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
