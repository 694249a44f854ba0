"""Scores of a picture, from counts that add up over its patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.spiking_unet.tasks import IGNORED, Array, Task

NAMES = {"f1": "F1", "iou": "IoU", "miou": "mIoU", "accuracy": "accuracy", "psnr": "PSNR, dB", "ssim": "SSIM"}


@dataclass(frozen=True)
class Score:
    """The metric of a task, as `snncc.trainer.fit` wants it: of a case, from the counts of its patches."""

    task: Task

    def counts(self, output: Array, target: Array) -> Array:
        """Of logits [1, K, H, W]: confusion matrix [true, found] where the target is not IGNORED. Of an image
        [1, C, H, W], clipped to 0..1: sum of squared errors and number of values."""
        output, target = np.asarray(output)[0], np.asarray(target)
        if self.task.denoises:
            error = np.square(np.clip(output, 0, 1, dtype=np.float64) - target.reshape(output.shape)).sum()
            return np.array([error, output.size])
        found, truth = output.argmax(0).ravel(), target.ravel()
        counted, classes = truth != IGNORED, len(output)
        pairs = truth[counted] * classes + found[counted]
        return np.bincount(pairs, minlength=classes**2).reshape(classes, classes).astype(np.float64)

    def value(self, counts: Array) -> float:
        return self.all(counts)[self.task.metric]

    def all(self, counts: Array) -> dict[str, float]:
        """psnr (peak 1); or of two classes f1, iou of class 1, miou and accuracy; of more miou and accuracy. Classes
        that neither occur nor are found are left out of miou."""
        if self.task.denoises:
            return {"psnr": float(10 * np.log10(counts[1] / counts[0]))}
        both, either = np.diag(counts), counts.sum(0) + counts.sum(1)
        there = either > 0
        iou = both[there] / (either - both)[there]
        found = {"miou": float(iou.mean()), "accuracy": float(both.sum() / counts.sum())}
        if len(counts) == 2 and there[1]:
            return {"f1": float(2 * both[1] / either[1]), "iou": float(iou[-1]), **found}
        return found


def ssim(output: Array, clean: Array) -> float:
    """Structural similarity of [1, C, H, W], clipped to 0..1, and [C, H, W]: Gaussian window of 11, sigma 1.5."""
    import torch
    from monai.metrics import SSIMMetric

    images = (torch.as_tensor(np.clip(x, 0, 1).astype(np.float32).reshape(1, *clean.shape)) for x in (output, clean))
    return float(SSIMMetric(spatial_dims=2, data_range=1.0, win_size=11, kernel_sigma=1.5)(*images))
