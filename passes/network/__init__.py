"""Passes on the spiking graph."""
