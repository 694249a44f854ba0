"""What is handed to passes that calibrate: the teacher's values, and spiking networks run on samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from snncc.graph import Array, Graph
from snncc.network import Network
from snncc.pipeline import Feeds
from snncc.runtime.host import HostSession, InterludeSession
from snncc.runtime.trace import Engine


class Evaluator:
    """Runs the teacher, with the sessions of the last (graph, values) kept."""

    def __init__(self) -> None:
        self._key: tuple[int, tuple[str, ...]] | None = None
        self._session: HostSession | None = None
        self._cut: tuple[Graph, tuple[str, ...]] | None = None
        self._pieces: list[tuple[HostSession, tuple[str, ...]]] = []  # with the values that it and later ones read

    def __call__(self, graph: Graph, feeds: Feeds, wanted: Sequence[str]) -> Mapping[str, Array]:
        key = (id(graph), tuple(wanted))
        if self._session is None or key != self._key:
            self._session, self._key = HostSession(graph, wanted), key
        return self._session.run(feeds)

    def each(self, graph: Graph, feeds: Feeds, wanted: Sequence[str]) -> Iterator[tuple[str, Array]]:
        """The same, value by value; only those that are still to be read are held."""
        if self._cut is None or self._cut[0] is not graph or self._cut[1] != tuple(wanted):
            self._cut = graph, tuple(wanted)
            parts = graph.pieces(wanted)
            reads = [tuple({v for part in parts[k:] for v in part.inputs}) for k in range(len(parts))]
            self._pieces = [(HostSession(part, part.outputs), read) for part, read in zip(parts, reads, strict=True)]
        values = dict(feeds)
        for session, read in self._pieces:
            values = {name: values[name] for name in read if name in values}
            found = session.run(values)
            values |= found
            yield from ((name, found.pop(name)) for name in session.wanted if name in wanted)


class Simulator:
    """Runs float32 networks, with the engine of the last one kept. A spike train is cut, or starts again, to last."""

    def __init__(self, make: Callable[[Network], Engine]) -> None:
        self._make = make
        self._network: Network | None = None

    def __call__(self, network: Network, feeds: Feeds, timesteps: int, prefixes: bool) -> Mapping[str, Array]:
        if network is not self._network:
            self._network, self._engine = network, self._make(network)
            before = network.prologue
            self._before = HostSession(before, before.outputs) if before else None
            self._between = InterludeSession(network)
        values = {**feeds, **(self._before.run(feeds) if self._before else {})}
        currents: dict[str, Array] = {}
        for encoder in network.encoders:
            if network.is_midway(encoder):
                continue
            x = values[encoder.value]
            currents[encoder.name] = np.resize(x, (timesteps, *x.shape[1:])) if encoder.timed else x.mean(0)
        between = self._between.during(values, timesteps)
        return self._engine.run(currents, timesteps, prefixes=prefixes, interlude=between).potentials
