"""LLVM vectors as values inside Numba kernels.

A vector is as many lanes of one type as asked for; LLVM splits it into the machine's registers, so a loop over events
keeps its sums in registers, which Numba's own arrays and tuples do not. Elements: see _ELEMENTS.
Every function takes flat element indices into C-contiguous arrays and checks nothing.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import types

intrinsic: Any = extending.intrinsic  # what it makes can only be called in kernels
_ELEMENTS: Any = {
    types.int8: ir.IntType(8),
    types.uint8: ir.IntType(8),
    types.int16: ir.IntType(16),
    types.int32: ir.IntType(32),
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
}
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
        return self.dtype in (types.float32, types.float64)


@extending.register_model(Vector)
class _VectorModel(_Primitive):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector):
        super().__init__(manager, kind, kind.llvm)


def pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any, target: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), target.as_pointer())


def align(kind: Any) -> int:
    return int(kind.dtype.bitwidth) // 8


def shuffled(builder: Any, a: Any, b: Any, order: Iterable[int]) -> Any:
    """The lanes `order` of a and, behind them, b."""
    places = list(order)
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places))


def side_by_side(builder: Any, parts: list[Any]) -> Any:
    """One vector of as many as a power of two."""
    while len(parts) > 1:
        order = range(2 * parts[0].type.count)
        parts = [shuffled(builder, a, b, order) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def filled(builder: Any, scalar: Any, kind: Any) -> Any:
    """An LLVM vector with the scalar in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return shuffled(builder, first, undefined, [0] * kind.count)


def call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """LLVM's own function."""
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(builder.module.declare_intrinsic(name, (), kind), args)


@intrinsic(prefer_literal=True)
def zeros(typing: Any, like: Any, lanes: Any) -> Any:
    """A vector of zeros of the array's element type."""
    kind = Vector(like.dtype, lanes.literal_value)
    return kind(like, lanes), lambda context, builder, signature, args: ir.Constant(kind.llvm, None)


@intrinsic(prefer_literal=True)
def load(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """`lanes` elements of `array` from flat `index`; lanes: their number, or a vector that has as many."""
    kind = Vector(array.dtype, lanes.lanes if isinstance(lanes, Vector) else lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(pointer(context, builder, array, args[0], args[1], kind.llvm), align=align(array))

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
        target = pointer(context, builder, array, args[0], args[1], vector.llvm)
        builder.store(args[2], target, align=align(array))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


def _operation(floats: str, integers: str) -> Any:
    """By LLVM's names of the instruction. Integers wrap."""

    @intrinsic
    def operation(typing: Any, a: Any, b: Any) -> Any:
        name = floats if a.is_float else integers
        return a(a, a), lambda context, builder, signature, v: getattr(builder, name)(*v)

    return operation


add, subtract, multiply = _operation("fadd", "add"), _operation("fsub", "sub"), _operation("fmul", "mul")
divide = _operation("fdiv", "sdiv")  # integers toward zero; slow but by powers of 2 known when compiled
shift_left, shift_right = _operation("", "shl"), _operation("", "ashr")  # of integers, by 0 to 31; rounded down


@intrinsic
def widen(typing: Any, a: Any) -> Any:
    """int16 lanes to int32 lanes; others stay as they are."""
    if a.dtype != types.int16:
        return a(a), lambda context, builder, signature, args: args[0]
    wide = Vector(types.int32, a.lanes)
    return wide(a), lambda context, builder, signature, args: builder.sext(args[0], wide.llvm)


MASKS: Any = {8: types.uint8, 16: types.uint16, 32: types.uint32, 64: types.uint64}


def _compare(a: Any, sign: str) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        compare: Any = builder.fcmp_ordered if a.is_float else builder.icmp_signed
        return builder.bitcast(compare(sign, *args), ir.IntType(a.lanes))

    return MASKS[a.lanes](a, a), generate


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

    return a(MASKS[a.lanes], a, a), generate


@intrinsic
def choose(typing: Any, condition: Any, a: Any, b: Any) -> Any:
    """a if the condition holds, else b, without a branch (which random events would mispredict). Integers."""
    return types.intp(types.boolean, types.intp, types.intp), lambda context, builder, signature, v: builder.select(*v)


@intrinsic
def splat(typing: Any, scalar: Any, like: Any) -> Any:
    """The scalar in every lane of a vector like `like`."""

    return like(like.dtype, like), lambda context, builder, signature, v: filled(builder, v[0], like.llvm)


@intrinsic
def ones_in(typing: Any, mask: Any) -> Any:
    """How many bits of an unsigned integer are set, int64."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        count = builder.ctpop(args[0])
        return count if mask.bitwidth == 64 else builder.zext(count, ir.IntType(64))

    return types.int64(mask), generate


@intrinsic
def put(typing: Any, words: Any, index: Any, mask: Any) -> Any:
    """Stores a mask in uint16 words from flat `index`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target = pointer(context, builder, words, args[0], args[1], args[2].type)
        builder.store(args[2], target, align=align(words))
        return context.get_dummy_value()

    return types.void(words, types.intp, mask), generate


@intrinsic
def floor(typing: Any, a: Any) -> Any:
    name = f"llvm.floor.v{a.lanes}f{a.dtype.bitwidth}"
    return a(a), lambda context, builder, signature, v: call(builder, name, a.llvm, *v)


@intrinsic
def cast(typing: Any, a: Any, like: Any) -> Any:
    """int32 or float32 lanes as float64, exactly, if `like` is a vector or an array of them; float64 lanes as int32,
    toward zero."""
    kind = Vector(like.dtype, a.lanes)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        make = (builder.fpext if kind.is_float else builder.fptosi) if a.is_float else builder.sitofp
        return make(args[0], kind.llvm)

    return kind(a, like), generate


@intrinsic
def without(typing: Any, a: Any, b: Any) -> Any:
    """The bits of mask a that are not in mask b."""
    return a(a, a), lambda context, builder, signature, args: builder.and_(args[0], builder.not_(args[1]))


@intrinsic
def share(typing: Any, a: Any, b: Any) -> Any:
    """Bit k is [a_k and b_k have a bit in common], integers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = builder.icmp_signed("!=", builder.and_(*args), ir.Constant(a.llvm, None))
        return builder.bitcast(found, ir.IntType(a.lanes))

    return MASKS[a.lanes](a, a), generate


def _write(sign: Any, function: Any) -> None:
    """Lets kernels write an operator for `function`, between two vectors or a vector and a scalar for all its lanes."""

    one, each = (lambda a, b: function(a, splat(b, a))), (lambda a, b: function(a, b))
    options: Any = {"forceinline": True, "_nrt": False}
    extending.overload(sign, jit_options=options)(
        lambda a, b: None if not isinstance(a, Vector) else each if isinstance(b, Vector) else one
    )


_write(operator.add, add)
_write(operator.sub, subtract)
_write(operator.mul, multiply)
_write(operator.lshift, shift_left)
_write(operator.rshift, shift_right)
_write(operator.ge, at_least)
_write(operator.lt, below)


@intrinsic
def maximum(typing: Any, a: Any, b: Any) -> Any:
    """The larger of a_k and b_k. Integers."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(builder.icmp_signed(">", *args), *args)

    return a(a, a), generate


@intrinsic(prefer_literal=True)
def load_mask(typing: Any, words: Any, index: Any, lanes: Any) -> Any:
    """The bits of `lanes` lanes, as one unsigned integer, from uint16 word `index` of 16 lanes."""
    count = lanes.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(pointer(context, builder, words, args[0], args[1], ir.IntType(count)), align=2)

    return MASKS[count](words, types.intp, lanes), generate
