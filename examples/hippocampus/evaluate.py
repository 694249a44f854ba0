"""3D Dice of a teacher ONNX file over a split, with onnxruntime only (no torch)."""

import json
from pathlib import Path

import click
import numpy as np
import onnxruntime

from examples.hippocampus.data import Array, data_root, load_case, split_names


def predict(session: onnxruntime.InferenceSession, image: Array) -> Array:
    """Probability volume of a stack of network inputs; the network has batch size 1."""
    outputs = [session.run(["probability"], {"image": item[None]})[0] for item in image]
    return np.concatenate(outputs)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Overlap of two boolean volumes; two empty ones agree."""
    total = int(mask.sum() + truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


@click.command()
@click.argument("teachers", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True)
@click.option("--root", type=click.Path(exists=True, path_type=Path), help="Default: the whole data set.")
@click.option("--subjects", is_flag=True, help="Also print every subject.")
def main(teachers: tuple[Path, ...], split: str, root: Path | None, subjects: bool) -> None:
    """Print mean and standard deviation of the volume Dice of each of TEACHERS."""
    root = root or data_root()
    for path in teachers:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
        preprocess = json.loads(metadata["snncc.preprocess"])
        dims = 3 if preprocess["slice_axis"] is None else 2
        threshold = preprocess["labels"]["threshold"]
        scores = []
        for name in split_names(split, root):
            image, label = load_case(name, dims, root)
            scores.append(dice(predict(session, image) > threshold, label > 0))
            if subjects:
                print(f"{path.name} {name} {scores[-1]:.4f}")
        print(
            f"{path.name}  {split}, {len(scores)} subjects: "
            f"Dice {np.mean(scores):.4f} +- {np.std(scores):.4f} (min {min(scores):.4f})"
        )


if __name__ == "__main__":
    main()
