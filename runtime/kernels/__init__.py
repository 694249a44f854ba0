"""Compiled kernels of the fast engine, one file a kind of synapse or neuron.

A kernel sees bare arrays, trusts their shapes (the engine asserts them before each launch) and returns what it
executed. Kernels are cached on disk; a change of any file in this folder makes the cache stale.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from functools import cache, wraps
from pathlib import Path
from threading import RLock
from typing import Any

import numba
from numba.core import caching, event

_FunctionCache: Any = caching.FunctionCache
_IndexDataCacheFile: Any = caching.IndexDataCacheFile
_Listener: Any = event.Listener


class KeyedFiles(_IndexDataCacheFile):  # type: ignore[misc]
    """Numba's cache with data files named by what they hold.

    Numba numbers them, and two processes that compile at the same time can give one number to two kernels: then one of
    them later loads the other's code and computes nonsense. Named by key, the worst a race can do is lose an entry.
    """

    def save(self, key: Any, data: Any) -> None:
        digest = hashlib.sha256(repr((self._version, self._source_stamp, key)).encode()).digest()
        name = self._data_name(int.from_bytes(digest[:12], "big"))
        self._save_data(name, data)
        self._save_index({**self._load_index(), key: name})


class _Cache(_FunctionCache):  # type: ignore[misc]
    def __init__(self, function: Callable[..., Any]):
        super().__init__(function)
        # kernels are compiled into each other, so a kernel is as old as the newest file of the folder
        stamp = tuple((f.name, f.stat().st_mtime, f.stat().st_size) for f in sorted(Path(__file__).parent.glob("*.py")))
        self._cache_file = KeyedFiles(
            cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=stamp
        )

    def _index_key(self, signature: Any, codegen: Any) -> Any:
        """What a kernel closes over shows in its name; Numba would pickle it, for a kernel anew in every process."""
        return signature, codegen.magic_tuple()


def compiled(function: Callable[..., Any]) -> Any:
    """`function` compiled on first use for each type of its arguments; without the GIL, as tiles run in threads."""
    kernel: Any = numba.njit(nogil=True, error_model="numpy")(function)
    with contextlib.suppress(RuntimeError):  # no folder to write to: compile anew in every process
        kernel._cache = _Cache(function)
    return kernel


_making = RLock()


def once(make: Callable[..., Any]) -> Callable[..., Any]:
    """What `make` gives, made once for each of its arguments: threads that ask at the same time get the same kernel
    (from `cache` alone they would get two, and compile both)."""
    made = cache(make)

    @wraps(make)
    def given(*arguments: Any) -> Any:
        with _making:
            return made(*arguments)

    return given


def inlined(function: Callable[..., Any]) -> Any:
    """`function` as a part of the kernels that call it: it may take and give vectors, and allocates nothing (so that no
    references are counted, which costs more than a neuron)."""
    options: dict[str, Any] = {"forceinline": True, "_nrt": False}
    return numba.njit(nogil=True, error_model="numpy", **options)(function)


class _First(_Listener):  # type: ignore[misc]
    def __init__(self, tell: Callable[[], None]):
        self._tell: Callable[[], None] | None = tell

    def on_start(self, event: object) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()

    def on_end(self, event: object) -> None:
        pass


@contextlib.contextmanager
def when_compiling(tell: Callable[[], None]) -> Iterator[None]:
    """While this lasts, `tell` is called at the first kernel that is not in the cache, before it is compiled."""
    with event.install_listener("numba:compile", _First(tell)):
        yield
