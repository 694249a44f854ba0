"""Some random specialisations on the processor that NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name, and what the kernels
were compiled to; tests/test_portability.py starts it: `python -m tests.cpu_agreement SEED DATA_SETS INDEX...`"""

from __future__ import annotations

import gc
import hashlib
import json
import re
import sys
import warnings
from typing import Any

from llvmlite import binding
from numba.core.dispatcher import Dispatcher

from snncc.runtime.fast import FastEngine
from tests.fuzz import attempt, run
from tests.specialisations import specialisation
from tests.spike_data import data_set

# any instruction, registers of 512 and of 256 bits, AVX, and of VBMI2 what compresses bytes and words
SIGNS = {
    "instructions": r"^\s+[a-z]+\s", "zmm": r"%zmm", "ymm": r"%ymm", "avx": r"^\s+v[a-z]+",
    "vbmi2": r"^\s+vp(?:compress|expand)[bw]\b",
}  # fmt: skip


def kernels() -> list[Any]:
    """Those of the engine that this process has compiled."""
    found = [o for o in gc.get_objects() if issubclass(type(o), Dispatcher)]
    return [k for k in found if k.py_func.__module__.startswith("snncc.runtime.kernels") and k.signatures]


def counted() -> dict[str, int]:
    """How often each of SIGNS stands in their machine code."""
    code = "\n".join(asm for kernel in kernels() for asm in kernel.inspect_asm().values())
    return {name: len(re.findall(pattern, code, re.MULTILINE)) for name, pattern in SIGNS.items()}


def cross_compiled(triple: str) -> int:
    """Bytes of assembly that LLVM makes of them for another machine; it aborts on what it cannot lower."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine, total = binding.Target.from_triple(triple).create_target_machine(), 0
    for kernel in kernels():
        for text in kernel.inspect_llvm().values():
            # arrays' reference counts, which Numba's runtime library keeps
            text = text.replace("@llvm.x86.atomic.sub.cc.i64", "@reference_count").replace("immarg", "")
            module = binding.parse_assembly(re.sub(r"target (triple|datalayout) = .*", "", text))
            module.triple, module.data_layout = triple, str(machine.target_data)
            total += len(machine.emit_assembly(module))
    return total


def digest(seed: int, index: int) -> str:
    """Of spikes and potentials of one data set: float32 sums round alike on every machine."""
    made = specialisation(seed, index)
    values, steps, _ = data_set(made, 4)
    trace = run(FastEngine(made.network), values, steps)
    parts = [array.tobytes() for found in (trace.spikes, trace.potentials) for array in found.values()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


if __name__ == "__main__":
    warnings.simplefilter("error")  # Numba cannot show code that it has from its cache
    seed, data, *indices = (int(word) for word in sys.argv[1:])
    outcomes = [attempt(seed, index, range(data)) for index in indices]
    print(json.dumps({
        "faults": [outcome.fault for outcome in outcomes if outcome.fault],
        "code": counted(),
        "digests": [digest(seed, index) for index in indices],
        "aarch64": cross_compiled("aarch64-unknown-linux-gnu"),
    }))  # fmt: skip
