"""Paired comparison of two networks on the same subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def differences(reference: Sequence[float], scores: Sequence[float]) -> dict[str, float]:
    """What is lost of the reference: mean of the differences, their standard deviation (n - 1), and the standard error
    of the mean. Raises ValueError below two of them."""
    lost = np.subtract(np.asarray(reference, float), np.asarray(scores, float))
    if lost.size < 2:
        raise ValueError("a standard error needs two units")
    deviation = float(lost.std(ddof=1))
    return {"mean": float(lost.mean()), "sd": deviation, "se": deviation / lost.size**0.5}


def paired(teacher: Sequence[float], scores: Sequence[float]) -> dict[str, Any]:
    """What is lost of the teacher's score, subject by subject.

    Returns:
        n; mean, sd (n - 1) and se of teacher - score; p_t and p_wilcoxon, two-sided: how likely differences at least as
        large are if there is none. 1 where no score differs.

    Raises:
        ValueError: fewer than two subjects, or not as many of both.
    """
    from scipy import stats  # only for the tests

    if len(teacher) != len(scores):
        raise ValueError(f"{len(teacher)} and {len(scores)} scores cannot be paired")
    found = {"n": len(scores), **differences(teacher, scores)}
    if np.array_equal(teacher, scores):
        return {**found, "p_t": 1.0, "p_wilcoxon": 1.0}
    p_t = 0.0 if found["sd"] == 0 else float(stats.ttest_rel(teacher, scores).pvalue)
    return {**found, "p_t": p_t, "p_wilcoxon": float(stats.wilcoxon(teacher, scores).pvalue)}
