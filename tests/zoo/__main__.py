"""python -m tests.zoo [PART OF A NAME...]: examine every entry and write docs/coverage.md; of some, print only."""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from tests.zoo.coverage import FILE, page
from tests.zoo.entries import ENTRIES, outcome
from tests.zoo.harness import complaints


def main(words: list[str]) -> int:
    """The number of entries that are not as they should be."""
    chosen = [k for k, entry in enumerate(ENTRIES) if not words or any(word in entry.name for word in words)]
    found, wrong = [], 0
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for index, result in zip(chosen, pool.map(outcome, chosen), strict=True):
            found.append(result)
            errors = f" {result.lowered:.1e} {result.worst:.3f} {result.mean:.3f}" if not result.remedy else ""
            print(f"{ENTRIES[index].name}: {result.verdict}{errors}", flush=True)
            faults = complaints(ENTRIES[index], result)
            wrong += bool(faults)
            for fault in faults:
                print(f"    {fault}", flush=True)
    if not words:
        FILE.write_text(page(ENTRIES, found), encoding="utf-8")
        print(f"wrote {FILE}")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
