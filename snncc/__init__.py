"""snncc: compiles trained networks (ONNX) to spiking networks and counts every synaptic operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snncc import errors
    from snncc.api import compile
    from snncc.comparison import compare
    from snncc.model import Model, Result, load

    __version__: str

__all__ = ["Model", "Result", "__version__", "compare", "compile", "errors", "load"]


def __getattr__(name: str) -> Any:
    """Loads the facade at its first use, so that `import snncc.graph` stays light."""
    import importlib
    from importlib.metadata import PackageNotFoundError, version

    if name == "__version__":
        try:
            return version("snncc")
        except PackageNotFoundError:  # run from a checkout that is not installed
            return "0.1.0"
    if name == "errors":
        return importlib.import_module("snncc.errors")
    if name in __all__:
        homes = {"compile": "snncc.api", "compare": "snncc.comparison"}
        return getattr(importlib.import_module(homes.get(name, "snncc.model")), name)
    raise AttributeError(f"module 'snncc' has no attribute {name!r}")
