"""Paired comparison of two networks on the same subjects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats


def paired(teacher: Sequence[float], scores: Sequence[float]) -> dict[str, Any]:
    """What is lost of the teacher's score, subject by subject.

    Returns:
        n; mean, sd (n - 1) and se of teacher - score; p_t and p_wilcoxon, two-sided: how likely differences at least as
        large are if there is none. 1 where no score differs.

    Raises:
        ValueError: fewer than two subjects, or not as many of both.
    """
    if len(teacher) != len(scores) or len(scores) < 2:
        raise ValueError(f"{len(teacher)} and {len(scores)} scores cannot be paired")
    lost = np.subtract(np.asarray(teacher, float), np.asarray(scores, float))
    deviation = float(lost.std(ddof=1))
    found = {"n": lost.size, "mean": float(lost.mean()), "sd": deviation, "se": deviation / lost.size**0.5}
    if not lost.any():
        return {**found, "p_t": 1.0, "p_wilcoxon": 1.0}
    p_t = 0.0 if deviation == 0 else float(stats.ttest_rel(teacher, scores).pvalue)
    return {**found, "p_t": p_t, "p_wilcoxon": float(stats.wilcoxon(lost).pvalue)}
