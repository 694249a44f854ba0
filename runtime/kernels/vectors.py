"""LLVM vectors as values inside Numba kernels.

A vector is as many lanes of one type as asked for; LLVM splits it into the machine's registers, so a loop over events
keeps its sums in registers, which Numba's own arrays and tuples do not. Element types: uint8, int16, int32, float32.
Every function takes flat element indices into C-contiguous arrays and checks nothing.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import cgutils, types

intrinsic: Any = extending.intrinsic  # what it makes can only be called in kernels
_ELEMENTS: Any = {
    types.uint8: ir.IntType(8),
    types.int16: ir.IntType(16),
    types.int32: ir.IntType(32),
    types.float32: ir.FloatType(),
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


@intrinsic(prefer_literal=True)
def part(typing: Any, vector: Any, start: Any, lanes: Any) -> Any:
    """`lanes` lanes of a vector, from lane `start`."""
    kind, first = Vector(vector.dtype, lanes.literal_value), start.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _shuffled(builder, args[0], args[0], range(first, first + kind.lanes))

    return kind(vector, start, lanes), generate


@intrinsic
def joined(typing: Any, a: Any, b: Any) -> Any:
    """The lanes of a, then those of b (as many)."""
    kind = Vector(a.dtype, 2 * a.lanes)
    return kind(a, a), lambda context, builder, signature, v: _shuffled(builder, *v, range(kind.lanes))


def _shuffled(builder: Any, a: Any, b: Any, order: Any) -> Any:
    lanes = list(order)
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


@intrinsic
def shift_left(typing: Any, a: Any, b: Any) -> Any:
    return a(a, a), lambda context, builder, signature, v: builder.shl(*v)


@intrinsic
def shift_right(typing: Any, a: Any, b: Any) -> Any:
    """Zeros come in."""
    return a(a, a), lambda context, builder, signature, v: builder.lshr(*v)


# -- raw memory: addresses, which the caller has proved to lie inside an array ------------------------------------------


@intrinsic(prefer_literal=True)
def peek(typing: Any, address: Any, bits: Any) -> Any:
    """An unsigned integer of `bits` bits."""
    kind = ir.IntType(bits.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], kind.as_pointer()), align=1)

    return _MASKS[bits.literal_value](types.intp, bits), generate


@intrinsic(prefer_literal=True)
def load_at(typing: Any, like: Any, address: Any, lanes: Any) -> Any:
    """`lanes` elements of the type of the array `like`."""
    kind = Vector(like.dtype, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[1], kind.llvm.as_pointer()), align=_align(like))

    return kind(like, types.intp, lanes), generate


@intrinsic
def set_bits(typing: Any, mask: Any) -> Any:
    """int32 lanes, as many as the mask has bits: the places of its set bits in order, then zeros."""
    bits = mask.bitwidth
    # in bytes where the machine can (VBMI2): one instruction for up to 64
    element = ir.IntType(32 if bits == 16 else 8)
    kind, narrow = Vector(types.int32, bits), ir.VectorType(element, bits)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        flags = ir.VectorType(ir.IntType(1), bits)
        name = f"llvm.experimental.vector.compress.v{bits}i{element.width}"
        compress = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(narrow, [narrow, flags, narrow]), name
        )
        numbers = ir.Constant(narrow, list(range(bits)))
        found = builder.call(compress, [numbers, builder.bitcast(args[0], flags), ir.Constant(narrow, None)])
        return found if bits == 16 else builder.zext(found, kind.llvm)

    return kind(mask), generate


@intrinsic(prefer_literal=True)
def store_pieces(typing: Any, array: Any, index: Any, vector: Any, pieces: Any, stride: Any) -> Any:
    """Stores a vector in `pieces` equal parts, `stride` elements apart."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = vector.lanes // pieces.literal_value
        kind = Vector(vector.dtype, lanes)
        for k in range(pieces.literal_value):
            piece = _shuffled(builder, args[2], args[2], range(k * lanes, (k + 1) * lanes))
            at = builder.add(args[1], builder.mul(args[4], ir.Constant(args[4].type, k)))
            builder.store(piece, _pointer(context, builder, array, args[0], at, kind.llvm), align=_align(array))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, pieces, types.intp), generate


@intrinsic(prefer_literal=True)
def load_pieces(typing: Any, array: Any, index: Any, like: Any, pieces: Any, stride: Any) -> Any:
    """What `store_pieces` stored, as a vector like `like`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = like.lanes // pieces.literal_value
        kind = Vector(like.dtype, lanes)
        found = []
        for k in range(pieces.literal_value):
            at = builder.add(args[1], builder.mul(args[4], ir.Constant(args[4].type, k)))
            pointer = _pointer(context, builder, array, args[0], at, kind.llvm)
            found.append(builder.load(pointer, align=_align(array)))
        while len(found) > 1:  # a power of two
            width = 2 * found[0].type.count
            found = [_shuffled(builder, a, b, range(width)) for a, b in zip(found[::2], found[1::2], strict=True)]
        return found[0]

    return like(array, types.intp, like, pieces, types.intp), generate
