"""Vectors in parts and at addresses, and spike words as lists.

Addresses are bare: the caller has proved that they lie inside an array.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from snncc.runtime.kernels.vectors import MASKS, Vector, align, call, intrinsic, pointer, shuffled, side_by_side


@intrinsic(prefer_literal=True)
def part(typing: Any, vector: Any, start: Any, lanes: Any) -> Any:
    """`lanes` lanes of a vector, from lane `start`."""
    kind, first = Vector(vector.dtype, lanes.literal_value), start.literal_value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return shuffled(builder, args[0], args[0], range(first, first + kind.lanes))

    return kind(vector, start, lanes), generate


@intrinsic
def joined(typing: Any, a: Any, b: Any) -> Any:
    """The lanes of a, then those of b (as many)."""
    kind = Vector(a.dtype, 2 * a.lanes)
    return kind(a, a), lambda context, builder, signature, v: shuffled(builder, v[0], v[1], range(kind.lanes))


# -- raw memory: addresses, which the caller has proved to lie inside an array -----------------------------------------


@intrinsic(prefer_literal=True)
def peek(typing: Any, address: Any, bits: Any) -> Any:
    """An unsigned integer of `bits` bits."""
    kind = ir.IntType(bits.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], kind.as_pointer()), align=1)

    return MASKS[bits.literal_value](types.intp, bits), generate


@intrinsic(prefer_literal=True)
def load_at(typing: Any, like: Any, address: Any, lanes: Any) -> Any:
    """`lanes` elements of the type of the array `like`."""
    kind = Vector(like.dtype, lanes.literal_value)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[1], kind.llvm.as_pointer()), align=align(like))

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
        numbers, none = ir.Constant(narrow, list(range(bits))), ir.Constant(narrow, None)
        found = call(builder, name, narrow, numbers, builder.bitcast(args[0], flags), none)
        return found if bits == 16 else builder.zext(found, kind.llvm)

    return kind(mask), generate


@intrinsic(prefer_literal=True)
def store_pieces(typing: Any, array: Any, index: Any, vector: Any, pieces: Any, stride: Any) -> Any:
    """Stores a vector in `pieces` equal parts, `stride` elements apart."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = vector.lanes // pieces.literal_value
        kind = Vector(vector.dtype, lanes)
        for k in range(pieces.literal_value):
            piece = shuffled(builder, args[2], args[2], range(k * lanes, (k + 1) * lanes))
            at = builder.add(args[1], builder.mul(args[4], ir.Constant(args[4].type, k)))
            builder.store(piece, pointer(context, builder, array, args[0], at, kind.llvm), align=align(array))
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
            where = pointer(context, builder, array, args[0], at, kind.llvm)
            found.append(builder.load(where, align=align(array)))
        return side_by_side(builder, found)

    return like(array, types.intp, like, pieces, types.intp), generate
