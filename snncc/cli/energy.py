"""Energy projections: operation counts times published energies an operation. Not a measurement of anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Profile:
    """Energies in pJ: of a multiply-accumulate, and of an addition."""

    name: str
    mac: float
    add: float
    source: str


PROFILES = (
    Profile("45 nm float32", 4.6, 0.9, "Horowitz 2014: multiply 3.7, add 0.9"),
    Profile("45 nm int8", 0.3, 0.1, "Horowitz 2014: 8-bit multiply 0.2, 32-bit add 0.1"),
)


def projection(totals: Mapping[str, int], profile: Profile) -> dict[str, Any]:
    """nJ; snn = (synops + neuron_updates + bias_adds) * add + macs * mac; teacher = teacher_macs * mac. No memory."""
    adds = totals["synops"] + totals["neuron_updates"] + totals["bias_adds"]
    snn = adds * profile.add + totals["macs"] * profile.mac
    teacher = totals["teacher_macs"] * profile.mac
    return {"profile": profile.name, "source": profile.source, "snn_nj": snn / 1000, "teacher_nj": teacher / 1000}


def verdict(item: Mapping[str, Any]) -> str:
    """One line, also where the spiking network is the dearer one."""
    if not item["teacher_nj"]:
        return "no teacher to compare with"
    ratio = item["snn_nj"] / item["teacher_nj"]
    if ratio >= 1:
        return f"the spiking network is NOT cheaper: {ratio:.2f} times the teacher"
    return f"{ratio:.2f} times the teacher"
