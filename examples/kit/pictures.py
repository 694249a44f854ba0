"""Figures (matplotlib) whose bytes depend on nothing but what is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def figure(path: Path, rows: int = 1, columns: int = 1, size: tuple[float, float] = (4.5, 3.5)) -> Iterator[Any]:
    """A grid of axes [rows, columns], each of `size` inches, that is written to `path` (.svg, or .png for images)."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style: Any = {"svg.hashsalt": path.stem, "axes.spines.top": False, "axes.spines.right": False, "font.size": 9,
             "axes.grid": True, "grid.alpha": 0.3}  # fmt: skip
    with mpl.rc_context(style):
        drawn, axes = plt.subplots(rows, columns, squeeze=False, figsize=(size[0] * columns, size[1] * rows),
                                   layout="constrained")  # fmt: skip
        try:
            yield axes
            path.parent.mkdir(parents=True, exist_ok=True)
            metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else {"Software": None}
            drawn.savefig(path, metadata=metadata, dpi=110)
        finally:
            plt.close(drawn)


def image(axis: Any, values: Any, title: str = "", **options: Any) -> None:
    """A picture [H, W] or [H, W, 3] without ticks."""
    axis.imshow(values, **{"cmap": "gray", "interpolation": "nearest", **options})
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=8)
    axis.grid(visible=False)
