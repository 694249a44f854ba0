"""A pass in a file of its own: snncc compile ... -p "examples/add_a_pass.py:PruneSmall{share=0.2}"."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class PruneSmall:
    """Set the smallest weights of every convolution to zero."""

    share: float = 0.1  # of the weights of each convolution

    name, level, requires, ensures = "prune-small", "graph", (), ()

    def run(self, graph, context):
        weights = dict(graph.weights)
        for node in graph.find("Conv", "ConvTranspose"):
            w = weights[node.inputs[1]]
            small = np.abs(w) < np.quantile(np.abs(w), self.share)
            weights[node.inputs[1]] = np.where(small, np.float32(0), w)
            context.note(node.label, "folded", f"{small.mean():.0%} of its weights set to zero")
        return replace(graph, weights=weights)
