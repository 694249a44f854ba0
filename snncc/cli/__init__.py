"""The command line."""

from __future__ import annotations

import importlib
import sys

import click

import snncc

__all__ = ["main"]
COMMANDS = ("check", "compile", "run", "compare", "finetune", "inspect", "passes", "demo")


class Commands(click.Group):
    """Imports a command when it is asked for: to run a network takes nothing of the compiler."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        try:
            found: click.Command = importlib.import_module(f"snncc.cli.{cmd_name}").command
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(130)
        return found


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(snncc.__version__, prog_name="snncc")
def main() -> None:
    """Compile trained networks (ONNX) to spiking networks, run them and count every synaptic operation.

    Exit status: 0 good, 1 refused (a teacher or network that cannot be converted or run), 2 bad input.
    """
