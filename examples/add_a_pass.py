"""A pass in a file of its own: snncc compile ... -p "examples/add_a_pass.py:PruneSmall{share=0.2}"."""

from dataclasses import dataclass, replace

import numpy as np

from snncc.graph import frozen


@dataclass(frozen=True)
class PruneSmall:
    """Set the smallest weights of every convolution to zero: `share` of them."""

    share: float = 0.1
    name, level, requires, ensures, approximate = "prune-small", "graph", (), (), True

    def run(self, graph, context):
        weights = dict(graph.weights)
        for node in graph.find("Conv", "ConvTranspose"):
            w = weights[node.inputs[1]]
            small = np.abs(w) < np.quantile(np.abs(w), self.share)
            weights[node.inputs[1]] = frozen(w * ~small)
            context.note(node.label, "folded", f"{small.mean():.0%} of its weights set to zero")
        return replace(graph, weights=weights)
