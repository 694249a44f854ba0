"""The command line."""

from __future__ import annotations

import click

import snncc
from snncc.cli.check import command as check
from snncc.cli.compile import command as compile_
from snncc.cli.demo import command as demo
from snncc.cli.inspect import command as inspect
from snncc.cli.passes import command as passes
from snncc.cli.run import command as run

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(snncc.__version__, prog_name="snncc")
def main() -> None:
    """Compile trained networks (ONNX) to spiking networks, run them and count every synaptic operation.

    Exit status: 0 good, 1 refused (a teacher or network that cannot be converted or run), 2 bad input.
    """


for command in (check, compile_, run, inspect, passes, demo):
    main.add_command(command)
