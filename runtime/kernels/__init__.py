"""Compiled kernels of the fast engine, one file a kind of synapse or neuron.

A kernel sees bare arrays, trusts their shapes (the engine asserts them before each launch) and returns what it
executed. Kernels are cached on disk by their own file's date: after a change of `vectors.py`, touch its users.
"""
