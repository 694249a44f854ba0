"""The interlude, cut into the stretches that run before each encoder in the middle of a network.

The spiking part in front of a stretch runs all its time steps first. The values of its readouts after the last one go
through the stretch once; the encoder behind it gives the same current at every step of what follows.
"""

from __future__ import annotations

from snncc.graph import Graph, Node
from snncc.network import Network


def stretches(network: Network) -> dict[str, Graph]:
    """Encoder -> the part of the interlude to run when it is met; an encoder whose value is known by then has none.

    A stretch is the next nodes, in their order, whose inputs are known: graph inputs, prologue values, what readouts
    before the encoder give and what earlier stretches made.
    """
    graph, prologue = network.interlude, network.prologue
    if graph is None:
        return {}
    known = {"", *graph.weights, *network.inputs, *(prologue.outputs if prologue is not None else ())}
    left, found = list(graph.nodes), {}
    for population in network.populations:
        if population.is_readout:
            known.add(population.value)
        if not network.is_midway(population) or population.value in known:
            continue
        nodes: list[Node] = []
        while left and known.issuperset(left[0].inputs):
            known.update(left[0].outputs)
            nodes.append(left.pop(0))
        part = graph.part(nodes, (*graph.outputs, *(v for node in left for v in node.inputs)))
        if part is not None:
            found[population.name] = part
    return found
