"""`python -m examples.registration.picture FIXED MOVING MOVED OUT.png`: what a registration did, slice by slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import nibabel
import numpy as np

from examples.kit.pictures import figure, image

nib: Any = nibabel


@click.command(help=__doc__)
@click.argument("files", nargs=3, type=click.Path(exists=True, path_type=Path), metavar="FIXED MOVING MOVED")
@click.argument("out", type=click.Path(path_type=Path))
def command(files: tuple[Path, Path, Path], out: Path) -> None:
    """Three slices across the second axis, towards RAS, of each image."""
    with figure(out, 3, 3, size=(2.2, 2.2)) as axes:
        for column, (file, name) in enumerate(zip(files, ("fixed", "moving", "moved"), strict=True)):
            volume = nib.as_closest_canonical(nib.load(file)).get_fdata()
            for row, part in enumerate((0.35, 0.5, 0.65)):
                picture = np.flipud(volume[:, int(part * volume.shape[1])].T)
                image(axes[row][column], picture, name, vmin=0, vmax=np.percentile(volume, 99))
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    command()
