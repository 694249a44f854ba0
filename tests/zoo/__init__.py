"""Architectures of the field times exporters: each compiles as it should, or is refused with a reason."""
