"""lambda from histograms of activations: percentiles, and the least squared error of a given number of levels."""

from __future__ import annotations

import numpy as np

from snncc.graph import Array

BINS = 4096
QUANTILES = (*map(float, range(0, 90, 5)), *map(float, range(90, 100)), 99.5, 99.7, 99.9, 99.95, 99.99, 100.0)
SHARES = np.arange(6, 101) / 100  # of the maximum: the thresholds that Li et al. (2021) try


def percentile(histogram: Array, limit: Array, q: float) -> Array:
    """The q-th percentile of each row [R], linear within its bin; 0 if it falls into the bin of zeros.

    histogram: [R, BINS] over [0, limit]; limit: [R].
    """
    wanted = histogram.sum(1) * (q / 100)
    running = np.cumsum(histogram, axis=1)
    k = np.minimum((running < wanted[:, None]).sum(1), BINS - 1)
    rows = np.arange(len(k))
    inside = histogram[rows, k]
    part = np.where(inside > 0, (wanted - (running[rows, k] - inside)) / np.maximum(inside, 1), 1.0)
    return np.where(k > 0, (k + part) * (limit / BINS), 0.0)


def least_squares(histogram: Array, limit: Array, levels: int) -> Array:
    """The lambda of each row [R], a share of its limit, with the least sum of (a - Q(a))^2 over its histogram.

    Q(a) = lambda / N * clip(floor(a N / lambda + 1/2), 0, N): what N = `levels` spikes can say from v0 = theta / 2
    (Li et al., 2021, SNN-Calibration).
    """
    a = (np.arange(BINS) + 0.5) / BINS
    step = SHARES[:, None] / levels
    errors = (a - step * np.minimum(np.floor(a / step + 0.5), levels)) ** 2  # [SHARES, BINS], in units of limit
    return np.asarray(limit * SHARES[np.argmin(histogram @ errors.T, 1)])
