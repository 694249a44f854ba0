"""NumPy arrays that end where memory ends: a kernel that reads or writes 16 bytes (of aligned arrays, 64) behind one
ends the process instead of going unnoticed. For arrays that the calling thread makes; Linux."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

from numpy._core import multiarray

PAGE = mmap.PAGESIZE
_SET_HANDLER = 304  # PyDataMem_SetHandler in NumPy's table of functions (numpy/__multiarray_api.h)
_Pointer, _Size = ctypes.c_void_p, ctypes.c_size_t
_MALLOC = ctypes.CFUNCTYPE(_Pointer, _Pointer, _Size)
_CALLOC = ctypes.CFUNCTYPE(_Pointer, _Pointer, _Size, _Size)
_REALLOC = ctypes.CFUNCTYPE(_Pointer, _Pointer, _Pointer, _Size)
_FREE = ctypes.CFUNCTYPE(None, _Pointer, _Pointer, _Size)


class _Handler(ctypes.Structure):
    """PyDataMem_Handler of numpy/ndarraytypes.h."""

    _fields_ = (
        ("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("context", _Pointer), ("malloc", _MALLOC),
        ("calloc", _CALLOC), ("realloc", _REALLOC), ("free", _FREE),
    )  # fmt: skip


def _library() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = _Pointer
    libc.mmap.argtypes = (_Pointer, _Size, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    libc.munmap.argtypes, libc.mprotect.argtypes = (_Pointer, _Size), (_Pointer, _Size, ctypes.c_int)
    return libc


_libc = _library()
_held: dict[int, tuple[int, int, int]] = {}  # pointer -> mapping, its length, size asked for


def _allocate(size: int) -> int:
    room = -(-max(size, 1) // PAGE) * PAGE
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    start = _libc.mmap(None, room + PAGE, mmap.PROT_READ | mmap.PROT_WRITE, private, -1, 0)
    if start == ctypes.c_void_p(-1).value:
        return 0  # NumPy raises MemoryError
    _libc.mprotect(start + room, PAGE, 0)  # neither to be read nor to be written
    pointer = int(start + room - -(-size // 16) * 16)
    _held[pointer] = (start, room + PAGE, size)
    return pointer


def _release(pointer: int | None) -> None:
    if pointer:
        start, length, _ = _held.pop(pointer)
        _libc.munmap(start, length)


def _resize(pointer: int | None, size: int) -> int:
    new = _allocate(size)
    if pointer:
        ctypes.memmove(new, pointer, min(size, _held[pointer][2]))
        _release(pointer)
    return new


_handler = _Handler(
    b"guard_pages", 1, None, _MALLOC(lambda _, size: _allocate(size)), _CALLOC(lambda _, n, size: _allocate(n * size)),
    _REALLOC(lambda _, pointer, size: _resize(pointer, size)), _FREE(lambda _, pointer, size: _release(pointer)),
)  # fmt: skip


def install() -> None:
    """For all arrays made from now on by this thread."""
    python = ctypes.pythonapi
    python.PyCapsule_New.restype = ctypes.py_object
    python.PyCapsule_New.argtypes = (_Pointer, ctypes.c_char_p, _Pointer)
    python.PyCapsule_GetPointer.restype = _Pointer
    python.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    table = python.PyCapsule_GetPointer(multiarray._ARRAY_API, None)
    function = ctypes.cast(table, ctypes.POINTER(_Pointer))[_SET_HANDLER]
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(function)
    set_handler(python.PyCapsule_New(ctypes.addressof(_handler), b"mem_handler", None))
