"""Results that are kept: a stage that was interrupted goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.progress import Progress

from snncc.onnx_file import replacing


def keep(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_text(text)


def finished(
    jobs: Mapping[Path, tuple[Any, ...]], task: Callable[..., Any], workers: int, label: str = "subjects"
) -> dict[Path, Any]:
    """What `task` gives for each job's arguments, computed in so many processes. Each result is kept as JSON at the
    job's path, so that interrupted work goes on where it stopped."""
    pool = ProcessPoolExecutor(workers)
    try:
        with Progress() as progress:
            bar = progress.add_task(label, total=len(jobs))
            todo = {pool.submit(task, *job): path for path, job in jobs.items() if not path.exists()}
            progress.update(bar, completed=len(jobs) - len(todo))
            for future in as_completed(todo):
                keep(todo[future], json.dumps(future.result()))
                progress.advance(bar)
    finally:
        pool.shutdown(cancel_futures=True)  # interrupted, only what runs now is waited for
    return {path: json.loads(path.read_text()) for path in jobs}


def digest(*parts: Any) -> str:
    """Twelve hex digits that stand for some files (paths), bytes, or values with a full `repr`."""
    found = sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part if isinstance(part, bytes) else repr(part).encode()
        found.update(sha256(data).digest())
    return found.hexdigest()[:12]
