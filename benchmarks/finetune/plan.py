"""What is trained, what it is compared with, and what it is to reach."""

from __future__ import annotations

from benchmarks.conversion.recipes import Goal, radix, rate
from benchmarks.finetune.trainings import Training

TASK = "hippocampus-2d"
SIGNED = rate("signed", 4)
TRAININGS = (
    Training(radix(2), 0.297),
    Training(SIGNED, None, 2e-4, flow=True),
    Training(radix(2), 0.297, 1e-3, fresh=True),
)
QUICK = tuple(Training(radix(2), 0.2, fresh=fresh, epochs=1, every=12) for fresh in (False, True))
CONVERTED = (radix(2), radix(3), radix(4), SIGNED)
GOALS = (
    Goal(TASK, "radix of 2 or 3 digits: within 0.003 at no more than 0.30 SynOps", "radix:?, fine-tuned*", 0.003, 0.30),
    Goal(TASK, "signed, T = 4: within 0.002", "signed, T = 4, fine-tuned", 0.002),
)
