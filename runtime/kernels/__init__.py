"""Compiled kernels of the fast engine, one file a kind of synapse or neuron.

A kernel sees bare arrays, trusts their shapes (the engine asserts them before each launch) and returns what it
executed. Kernels are cached on disk by their own file's date: after a change of `vectors.py`, touch its users.
"""

from __future__ import annotations

from typing import Any

import numba

compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy")  # nogil: tiles run in threads
