"""Runs spiking networks: plan -> buffers -> kernels -> counters; the reference engine; onnxruntime."""
