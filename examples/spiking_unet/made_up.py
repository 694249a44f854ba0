"""Pictures like those of a retina, drawn by a program: a first picture without any data set."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from examples.spiking_unet.tasks import IGNORED, Picture

SIZE = 288


def retina(seed: int) -> Picture:
    """A round field of view with vessels that branch and grow thinner, darker than what is behind them."""
    rng = np.random.default_rng(seed)
    drawn = Image.new("L", (SIZE, SIZE))
    pen, middle = ImageDraw.Draw(drawn), SIZE / 2
    todo = [(np.array([middle, 0.35 * SIZE]), turn, 4.5) for turn in rng.uniform(0, 0.5) + np.arange(8) * np.pi / 4]
    while todo:
        at, turn, width = todo.pop()
        for _ in range(int(rng.uniform(12, 30))):
            turn += rng.normal(0, 0.15)
            on = at + 4 * np.array([np.sin(turn), np.cos(turn)])
            pen.line([tuple(at[::-1]), tuple(on[::-1])], fill=255, width=max(1, round(width)))
            at = on
        if width > 1.2:
            todo += [(at, turn + side * rng.uniform(0.3, 0.7), 0.7 * width) for side in (-1, 1)]
    y, x = np.mgrid[:SIZE, :SIZE] - middle
    view = np.hypot(x, y) < 0.47 * SIZE
    vessels = np.asarray(drawn) > 0
    soft = np.asarray(drawn.filter(ImageFilter.GaussianBlur(0.8)), np.float64) / 255
    behind = 0.65 - 0.25 * (np.hypot(x, y) / SIZE) + rng.normal(0, 0.04, (SIZE, SIZE))
    image = np.rint(np.clip(behind - 0.3 * soft, 0, 1) * 255) / 255 * view
    return Picture(
        f"made up, {seed}", image[None].astype(np.float32), np.where(view, vessels, IGNORED).astype(np.int64)
    )
