"""Runs a spiking network's own ONNX file on stock onnxruntime: slow, dense, and independent of our kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from snncc.counting import closed_form
from snncc.graph import Array
from snncc.network import Network
from snncc.neurons import Readout
from snncc.onnx_file.write import write_model
from snncc.runtime.host import QUIET
from snncc.runtime.trace import Trace, checked_value


class OnnxEngine:
    """The network between encoders and readouts on onnxruntime, every spike train given out.

    Counts are not what this engine executes, which is dense: they are `counting.closed_form` of its spikes.

    Args:
        threads: of onnxruntime.
        optimise: let onnxruntime rewrite the graph, as it does by default.
    """

    def __init__(self, network: Network, *, threads: int = 1, optimise: bool = False):
        self.network = network
        written = write_model(_core(network))
        model, self._steps, self._seed = written.model, written.steps, written.seed
        self._spikes = {p.name: written.outputs[p.name] for p in network.populations if p.fires}
        self._currents = {p.name: written.currents[p.name] for p in network.readouts}
        del model.graph.output[:]
        typed = {info.name for info in model.graph.value_info}
        for name in dict.fromkeys((*self._spikes.values(), *self._currents.values())):
            info = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            if name in typed:
                info = next(v for v in model.graph.value_info if v.name == name)
            model.graph.output.append(info)
        level = onnxruntime.GraphOptimizationLevel
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = QUIET
        content = model.SerializeToString()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(
        self,
        values: Mapping[str, Array],
        timesteps: int,
        *,
        seed: int = 0,
        record: bool = False,
        prefixes: bool = False,
    ) -> Trace:
        """values: encoder population name -> float32 [C, *spatial]; see snncc.runtime.trace.Engine."""
        feeds: dict[str, Array] = {self._steps: np.array([timesteps], np.int64)}
        if self._seed is not None:
            feeds[self._seed] = np.array([seed], np.int64)
        for encoder in self.network.encoders:
            given = np.asarray(checked_value(values, encoder, timesteps), np.float32)
            feeds[encoder.name] = given if given.ndim > len(encoder.shape) else given[None]
        names = list(dict.fromkeys((*self._spikes.values(), *self._currents.values())))
        found_values = dict(zip(names, self._session.run(names, feeds), strict=True))
        spikes = {name: found_values[tensor].astype(np.int8) for name, tensor in self._spikes.items()}
        counts = closed_form(self.network, spikes)
        counts.timesteps = timesteps  # which no spike train tells where nothing fires
        potentials = {name: self._potential(name, found_values[t], timesteps) for name, t in self._currents.items()}
        return Trace(
            {name: v if prefixes else v[-1] for name, v in potentials.items()}, spikes if record else {}, counts
        )

    def _potential(self, name: str, current: Array, timesteps: int) -> Array:
        """V_1 .. V_T of a readout from its current, which has one row where it is constant."""
        kind = self.network[name].kind
        assert isinstance(kind, Readout)
        dtype = np.int32 if kind.integer else np.float32
        current = np.broadcast_to(current.astype(dtype), (timesteps, *current.shape[1:]))
        out = [np.zeros(current.shape[1:], dtype)]
        for now in current:
            out.append(out[-1] * dtype(kind.base) + now)
        return np.stack(out[1:])


def _core(network: Network) -> Network:
    """Without the analog parts: one input an encoder, called like it, and one output a readout."""
    encoders = {p.name: replace(p, value=p.name) for p in network.encoders}
    return replace(
        network.with_populations(encoders),
        inputs={name: (1, *p.shape) for name, p in encoders.items()},
        outputs=tuple(p.value for p in network.readouts),
        prologue=None,
        epilogue=None,
    )
