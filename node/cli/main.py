"""The `stationkeep` command: which commands there are, and how failures leave the process."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from node.cli import (
    chaos_commands,
    local_commands,
    node_commands,
    plan_commands,
    reads,
    simulate_commands,
    snapshots,
    writes,
)
from node.cli.failures import CommandError
from node.cli.output import StandardOutput
from node.manifest import LocalError


class _Commands(TyperGroup):
    """Turns refusals into one line on stderr and their exit code; everything else is a bug."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LocalError as error:
            failure: CommandError = CommandError(str(error))
        except CommandError as error:
            failure = error
        typer.echo(f"stationkeep: {failure}", err=True)
        raise typer.Exit(failure.exit_code)


def _group(help_: str) -> typer.Typer:
    return typer.Typer(help=help_, no_args_is_help=True)


def _build() -> typer.Typer:
    root = typer.Typer(
        cls=_Commands,
        help="Keeps every node of a cluster in its role, and can say why.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    panels: dict[str, tuple[Callable[..., None], ...]] = {
        "On this machine": (
            local_commands.up,
            local_commands.down,
            local_commands.kill,
            local_commands.start,
        ),
        "Look": (
            reads.status,
            local_commands.watch,
            reads.explain,
            reads.decisions,
            reads.proposals,
            reads.operation,
        ),
        "Foresee": (plan_commands.plan, simulate_commands.simulate, chaos_commands.chaos),
        "Steer": (writes.switchover, writes.failover, writes.pause, writes.resume),
    }
    for panel, commands in panels.items():
        for command in commands:
            root.command(rich_help_panel=panel)(command)
    _add_groups(root)
    return root


def _add_groups(root: typer.Typer) -> None:
    nodes = _group("Nodes: list, join, leave, drain, order of candidates, local policies.")
    nodes.command("list")(reads.nodes_list)
    nodes.command("join")(writes.nodes_join)
    nodes.command("leave")(writes.nodes_leave)
    nodes.command("maintenance")(writes.nodes_maintenance)
    nodes.command("priority")(writes.nodes_priority)
    nodes.command("policy")(writes.nodes_policy)
    roles = _group("Roles: who has which, and since when.")
    roles.command("list")(reads.roles_list)
    roles.command("history")(reads.roles_history)
    actions = _group("Actions: hooks that nodes run and acknowledge.")
    actions.command("list")(reads.actions_list)
    actions.command("run")(writes.actions_run)
    config = _group("Settings of the cluster, and files of nodes.")
    config.command("show")(reads.config_show)
    config.command("set")(writes.config_set)
    config.command("validate")(node_commands.validate)
    node = _group("One node process.")
    node.command("run")(node_commands.run)
    node.command("rejoin")(node_commands.rejoin)
    snapshot = _group("Copies of the replicated state.")
    snapshot.command("save")(snapshots.save)
    snapshot.command("verify")(snapshots.verify)
    snapshot.command("restore")(snapshots.restore)
    parts = {"nodes": nodes, "roles": roles, "actions": actions, "config": config}
    for name, group in (parts | {"node": node, "snapshot": snapshot}).items():
        root.add_typer(group, name=name, rich_help_panel="Parts")


app = _build()


def main() -> None:
    """Entry point of the `stationkeep` script and of `python -m node`."""
    output = StandardOutput()
    with contextlib.redirect_stdout(output.text):
        try:
            try:
                app(prog_name="stationkeep")
            finally:
                output.text.flush()
        except OSError as error:
            if error is not output.failure:
                raise
            sys.exit(_give_up(error))


def _give_up(error: OSError) -> int:
    """The exit code, after a line on what is wrong; silently when nobody reads any more."""
    # What is left in the buffer is flushed once more at the end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        typer.echo(f"stationkeep: standard output cannot be written: {error.strerror}", err=True)
    return CommandError.exit_code
