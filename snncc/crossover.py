"""Where a spiking network stands against ANNs for the same task: in operations, and in published energies an operation.

Energies are projections: operations alone, no memory traffic. They measure nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snncc.neurons.base import total_count
from snncc.run_counts import RunCounts


@dataclass(frozen=True)
class Profile:
    """Energies in pJ: of a multiplication, of 8 x 8 bits where `integer`, and of an addition."""

    name: str
    multiply: float
    add: float
    integer: bool

    def mac(self, bits: int = 64) -> float:
        """A multiply-accumulate; bits: those of both factors multiplied. An array multiplier has one cell for each pair
        of bits, and its energy is taken to be in proportion to them: an assumption."""
        return self.multiply * bits / 64 + self.add


PROFILES = (Profile("45 nm float32", 3.7, 0.9, False), Profile("45 nm int8", 0.2, 0.1, True))
SKIPPING = "teacher that skips its zeros"
SOURCES = (
    "energies: 45 nm, Horowitz 2014, pJ: float32 multiplication 3.7, addition 0.9; 8 x 8 bits 0.2, 32-bit addition 0.1",
    "skipping zeros costs nothing here, and there are as many of them as on the calibration data (compare: on its own)",
    "a MAC of an integer ANN, activations x weights of a x b bits: 0.2 a b / 64 (assumed) + 0.1 pJ",
)


def activation_bits(counts: RunCounts) -> int:
    """Bits of the largest number that a train of spikes says: K in a radix code, those of T levels in a rate code."""
    network = counts.facts.network
    most = max(((1 << network.levels(p)) - 1 for p in network.populations if p.fires), default=1)
    return (total_count(network.base, counts.timesteps) * most).bit_length()


def crossover(counts: RunCounts, nonzero: int | None = None) -> dict[str, Any]:
    """The spiking network against the dense teacher, the teacher that skips its own zero activations at no cost, and an
    integer ANN with as many bits of activations and weights, which skips nothing.

    nonzero: MACs of the skipping teacher on these samples; None: as many a sample as on the calibration data.

    Returns:
        operations, energy_nj (by profile) of the spiking network: synops + neuron_updates + bias_adds additions, and
        macs. against: of each ANN its name, operations (MACs), energy_nj, and times and energy_times, the spiking
        network's divided by these. What the file does not know is left out: a teacher without MACs, one calibrated in
        another way, float weights.
    """
    totals, meta = counts.totals, counts.facts.network.meta
    adds, macs = totals["synops"] + totals["neuron_updates"] + totals["bias_adds"], totals["macs"]
    own = {p.name: (adds * p.add + macs * p.mac()) / 1000 for p in PROFILES}
    dense, precision = totals["teacher_macs"], str(meta.get("precision", ""))
    left = nonzero or meta.get("calibration", {}).get("teacher_macs_nonzero", 0) * len(counts.samples)
    rows: list[tuple[str, int, int | None]] = [("dense teacher", dense, None), (SKIPPING, left, None)]
    if precision.startswith("int"):
        a, w = activation_bits(counts), int(precision[3:])
        rows.append((f"integer ANN of {a} x {w} bits", dense, a * w))
    against = []
    for name, number, bits in rows:
        energy = {p.name: number * p.mac(bits or 64) / 1000 for p in PROFILES if bits is None or p.integer}
        if number:
            times = {key: own[key] / nj for key, nj in energy.items()}
            found = {"name": name, "operations": number, "times": (adds + macs) / number}
            against.append(found | {"energy_nj": energy, "energy_times": times})
    return {"operations": adds + macs, "energy_nj": own, "against": against}


def verdict(row: Mapping[str, Any]) -> str:
    """Of one entry of `against`, in words."""
    times = {"operations": row["times"], **row["energy_times"]}
    if dear := [f"{what} {ratio:.2f} times" for what, ratio in times.items() if ratio >= 1]:
        return f"the spiking network is NOT cheaper than the {row['name']}: {', '.join(dear)}"
    return f"the spiking network is cheaper than the {row['name']}"
