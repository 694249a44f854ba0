"""Least squares for the weights of one population, and their rounding to a grid with error feedback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.synapses import Synapse

BLOCK = 128  # columns that are rounded before the rest hears of their errors
PIECE = 4096  # samples multiplied at a time in float64
Moved = Callable[[Array], Array]  # outputs -> their new targets


def patches(synapse: Synapse, x: Array, at: tuple[Array, ...]) -> Array:
    """What outputs of a synapse see of x [C, *spatial]: [n, groups, columns], columns in the order of `rows()`.

    at: the outputs' positions, an int array [n] for each spatial axis; none for a dense synapse.
    """
    taps = [synapse.taps(axis, x.shape[1 + axis])[o] for axis, o in enumerate(at)]  # [n, K] each
    rank = len(taps)
    places = [t.reshape(len(t), *(-1 if a == axis else 1 for a in range(rank))) for axis, t in enumerate(taps)]
    padded = np.pad(x, ((0, 0), *((0, 1),) * rank))  # -1 means none: the last, zero
    here: Any = (slice(None), *places)
    found = np.moveaxis(padded[here], 0, 1) if rank else x[None]
    return found.reshape(len(found), synapse.groups, -1)


def gram(x: Array, y: Array) -> Array:
    """x^T y in float64, for x [n, K] and y [n, C]."""
    total = np.zeros((x.shape[1], y.shape[1]))
    for k in range(0, len(x), PIECE):
        total += x[k : k + PIECE].T.astype(np.float64) @ y[k : k + PIECE].astype(np.float64)
    return total


def ridge(hessian: Array, times: float) -> Array:
    """A diagonal to add, `times` the mean one; the last column, the bias, stays almost free."""
    share = np.full(len(hessian), times * np.diag(hessian).mean())
    share[-1] *= 1e-3
    return np.diag(share)


def chosen(x: Array, target: Array, weights: Array, ridges: tuple[float, ...]) -> float:
    """The ridge that does best on the last quarter of the samples, when fitted to those before."""
    cut = len(x) * 3 // 4
    hessian, errors = gram(x[:cut], x[:cut]), []
    moment = gram(x[:cut], target[:cut] - x[:cut] @ weights.T.astype(np.float32))
    for times in ridges:
        found = weights + np.linalg.solve(hessian + ridge(hessian, times), moment).T
        errors.append(((x[cut:] @ found.T.astype(np.float32) - target[cut:]) ** 2).sum())
    return ridges[int(np.argmin(errors))]


def regressed(x: Array, target: Array, weights: Array, inverse: Array, moved: Moved | None, rounds: int) -> Array:
    """The weights [C, K] with the least sum of (x w - target)^2; then, `rounds` times, with targets moved.

    inverse: of x^T x with the ridge added, which draws to the `weights` given. moved: target of each output that is the
    least of a parabola above its own loss, so that no round makes the loss larger (majorisation).
    """
    start = x @ weights.T.astype(np.float32)
    found = weights
    for k in range(rounds + 1 if moved else 1):
        goal = moved(x @ found.T.astype(np.float32)) if k and moved else target
        found = weights + (inverse @ gram(x, goal - start)).T
    return found


def clipped(target: Array, low: Array, high: Array) -> Moved:
    """For the loss (clip(z) - clip(target))^2: no error where both lie beyond the same bound (Zhang et al., 2015)."""
    goal = np.clip(target, low, high)
    return lambda z: np.where(goal <= low, np.minimum(z, low), np.where(goal >= high, np.maximum(z, high), goal))


def logistic(target: Array) -> Moved:
    """For the cross-entropy of sigmoid(z) to sigmoid(target), whose curvature is at most 1/4 (Boehning, 1992)."""
    return lambda z: z + 2 * (np.tanh(target / 2) - np.tanh(z / 2))


def influence(inverse: Array) -> tuple[Array, Array]:
    """(order of columns, upper Cholesky factor U of the inverse Hessian in this order), the last column last.

    1 / U_kk^2 is what a squared error in column k costs when the columns behind it make up for it.
    """
    order = np.append(np.argsort(np.diag(inverse)[:-1], kind="stable"), len(inverse) - 1)
    return order, np.linalg.cholesky(inverse[np.ix_(order, order)]).T


def on_grid(weights: Array, step: Array, most: int) -> Array:
    """The nearest of step * (-most, ..., most); weights where step is 0."""
    safe = np.where(step > 0, step, 1.0)
    return np.where(step > 0, step * np.clip(np.rint(weights / safe), -most, most), weights)


def fed_back(weights: Array, step: Array, most: int, order: Array, factor: Array) -> Array:
    """weights [C, K] on the grid `step` [C, K], each column's error passed on to those behind it (GPTQ, Frantar et al.,
    2022); order and factor: of `influence`."""
    left, steps, out = weights[:, order].copy(), step[:, order], np.empty_like(weights)
    for a in range(0, len(order), BLOCK):
        b = min(a + BLOCK, len(order))
        errors = np.zeros((len(weights), b - a))
        for k in range(a, b):
            out[:, k] = on_grid(left[:, k], steps[:, k], most)
            errors[:, k - a] = (left[:, k] - out[:, k]) / factor[k, k]
            left[:, k:b] -= errors[:, k - a, None] * factor[k, k:b]
        left[:, b:] -= errors @ factor[a:b, b:]
    return np.asarray(out[:, np.argsort(order)])
