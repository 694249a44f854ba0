"""Do the trainer and all engines say the same of a network, spike by spike?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

import snncc
from benchmarks import hippocampus as h
from snncc.network import Network
from snncc.trainer import SpikingModule

ENGINES = ("reference", "onnxruntime", "fast")
DIFFERING = ("differing_spikes", "differing_events", "differing_outputs", "differing_synops")
SLICES = 3  # of one test subject, around its middle


def parity(module: SpikingModule, network: Network) -> dict[str, int]:
    """Over some slices: the spikes of one engine, and what differs between the trainer and the engines: spikes (of any
    population at any step), sums of events by population, outputs, sums of SynOps. All compared with ==."""
    image, _ = h.case(h.subjects("test", 1)[0], 2)
    middle = len(image) // 2
    samples = image[middle - SLICES // 2 : middle + SLICES - SLICES // 2]
    with torch.no_grad():
        trace = module.trace(torch.as_tensor(samples))
        events, synops = trace.events(), trace.synops()
    found = dict.fromkeys(("spikes", *DIFFERING), 0)
    for engine in ENGINES:
        model = snncc.load(network, engine)
        for k, sample in enumerate(samples):
            result = model.run(sample, record=True)
            counts = result.counts.counts
            assert counts is not None and result.spikes.keys() == trace.trains.keys()
            for name, spikes in result.spikes.items():
                own = trace.trains[name].spikes[:, k].numpy()
                found["spikes"] += int(np.abs(spikes).sum(dtype=np.int64)) * (engine == ENGINES[0])
                found["differing_spikes"] += int((own != spikes).sum())
                found["differing_events"] += int(events[name][k].sum()) != int(counts.events[name].sum())
            for name, value in result.outputs.items():
                found["differing_outputs"] += int((trace.outputs[name][k : k + 1].numpy() != value).sum())
            found["differing_synops"] += int(synops[k]) != result.counts.totals["synops"]
    return found


def agrees(found: Mapping[str, int]) -> bool:
    return not any(found[key] for key in DIFFERING)
