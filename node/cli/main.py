"""The `stationkeep` command: which commands there are, and how failures leave the process."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stationkeep.node.cli.commands import (
    actions,
    agent,
    alarms,
    audit,
    chaos,
    cluster,
    config,
    decisions,
    devices,
    guide,
    local,
    node,
    nodes,
    plan,
    rings,
    roles,
    simulate,
    simulated_devices,
    snapshots,
)
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.output import StandardOutput, note, say
from stationkeep.node.local.manifest import LocalError
from stationkeep.node.system.printable import printable_lines


class _Commands(TyperGroup):
    """Turns refusals into one line on stderr and their exit code; everything else is a bug."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        with _legible():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _legible():
                return super().invoke(ctx)
        except LocalError as error:
            failure: CommandError = CommandError(str(error))
        except CommandError as error:
            failure = error
        note(f"stationkeep: {failure}")
        raise typer.Exit(failure.exit_code)


@contextlib.contextmanager
def _legible() -> Iterator[None]:
    """Within it errors of usage, which typer prints, repeat what was typed in printable text.
    Their class is click's or, since typer 0.20, typer's own; all have a `message`."""
    try:
        yield
    except Exception as error:
        if isinstance(getattr(error, "message", None), str):
            error.message = printable_lines(error.message)  # type: ignore[attr-defined]
        raise


PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "On this machine": (local.up, local.down, local.kill, local.start, agent.agent),
    "Look": (
        *(cluster.status, local.watch, decisions.explain, decisions.decisions),
        *(decisions.proposals, decisions.operation, guide.guide),
    ),
    "Foresee": (plan.plan, simulate.simulate, chaos.chaos),
    "Steer": (roles.switchover, roles.failover, roles.pause, roles.resume),
}
"""Commands of one word."""
GROUPS: dict[str, tuple[str, dict[str, Callable[..., None]]]] = {
    "nodes": (
        "Nodes: list, links, join, leave, drain, order of candidates, local policies.",
        {
            "list": nodes.nodes_list,
            "links": nodes.nodes_links,
            "join": nodes.nodes_join,
            "leave": nodes.nodes_leave,
            "maintenance": nodes.nodes_maintenance,
            "priority": nodes.nodes_priority,
            "policy": nodes.nodes_policy,
        },
    ),
    "roles": (
        "Roles: who has which, and since when.",
        {"list": roles.roles_list, "history": roles.roles_history},
    ),
    "devices": (
        "Devices: list, show, pin to a ring, and why each is where it is.",
        {
            "list": devices.devices_list,
            "show": devices.devices_show,
            "assign": devices.devices_assign,
            "release": devices.devices_release,
            "remove": devices.devices_remove,
            "history": devices.devices_history,
            "explain": devices.devices_explain,
            "simulate": simulated_devices.simulate,
        },
    ),
    "rings": (
        "Rings: shares, policies, what healthy means, rebalancing and its brake.",
        {
            "list": rings.rings_list,
            "rebalance": rings.rings_rebalance,
            "shares": rings.rings_shares,
            "health": rings.rings_health,
            "release-brake": rings.rings_release_brake,
        },
    ),
    "rings policy": (
        "Ring policies: which rings the devices of a selector may be in.",
        {
            "list": rings.policies_list,
            "set": rings.policies_set,
            "remove": rings.policies_remove,
        },
    ),
    "actions": (
        "Actions: hooks that nodes run and acknowledge.",
        {"list": actions.actions_list, "run": actions.actions_run},
    ),
    "alarms": (
        "Alarms: what an operator should look at, and has seen.",
        {"list": alarms.alarms_list, "ack": alarms.alarms_ack},
    ),
    "config": (
        "Settings of the cluster, and files of nodes.",
        {"show": config.config_show, "set": config.config_set, "validate": node.validate},
    ),
    "node": ("One node process.", {"run": node.run, "rejoin": node.rejoin}),
    "snapshot": (
        "Copies of the replicated state.",
        {"save": snapshots.save, "verify": snapshots.verify, "restore": snapshots.restore},
    ),
    "audit": (
        "What was decided, as each node has written it down.",
        {"verify": audit.verify},
    ),
}
"""Commands of several words, by the words before the last."""


def _build() -> typer.Typer:
    root = typer.Typer(
        cls=_Commands,
        help="Keeps every node of a cluster in its role, and can say why.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    root.callback()(_options)
    for panel, commands in PANELS.items():
        for command in commands:
            root.command(rich_help_panel=panel)(command)
    groups: dict[str, typer.Typer] = {}
    for words, (help_, members) in GROUPS.items():
        group = groups[words] = typer.Typer(help=help_, no_args_is_help=True)
        for word, command in members.items():
            group.command(word)(command)
        above, _, name = words.rpartition(" ")
        if above:
            groups[above].add_typer(group, name=name)
        else:
            root.add_typer(group, name=name, rich_help_panel="Parts")
    return root


def _say_version(wanted: bool) -> None:
    if wanted:
        from stationkeep.node.version import VERSION  # noqa: PLC0415 - reads the metadata

        say(f"stationkeep {VERSION}")
        raise typer.Exit


def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say which release this is."
        ),
    ] = False,
) -> None:
    """What stands before a command."""


app = _build()


def main() -> None:
    """Entry point of the `stationkeep` script and of `python -m stationkeep`."""
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
        note(f"stationkeep: standard output cannot be written: {error.strerror}")
    return CommandError.exit_code
