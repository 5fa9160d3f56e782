"""The `stationkeep` command: which commands there are, and how failures leave the process."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from stationkeep.node.cli.commands import agent as agent_commands
from stationkeep.node.cli.commands import audit as audit_commands
from stationkeep.node.cli.commands import chaos as chaos_commands
from stationkeep.node.cli.commands import (
    fleet_reads,
    fleet_writes,
    reads,
    simulated_devices,
    snapshots,
    writes,
)
from stationkeep.node.cli.commands import guide as guide_commands
from stationkeep.node.cli.commands import links as link_commands
from stationkeep.node.cli.commands import local as local_commands
from stationkeep.node.cli.commands import node as node_commands
from stationkeep.node.cli.commands import plan as plan_commands
from stationkeep.node.cli.commands import simulate as simulate_commands
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.output import StandardOutput, note
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
            agent_commands.agent,
        ),
        "Look": (
            reads.status,
            local_commands.watch,
            reads.explain,
            reads.decisions,
            reads.proposals,
            reads.operation,
            guide_commands.guide,
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
    nodes = _group("Nodes: list, links, join, leave, drain, order of candidates, local policies.")
    nodes.command("list")(reads.nodes_list)
    nodes.command("links")(link_commands.nodes_links)
    nodes.command("join")(writes.nodes_join)
    nodes.command("leave")(writes.nodes_leave)
    nodes.command("maintenance")(writes.nodes_maintenance)
    nodes.command("priority")(writes.nodes_priority)
    nodes.command("policy")(writes.nodes_policy)
    roles = _group("Roles: who has which, and since when.")
    roles.command("list")(reads.roles_list)
    roles.command("history")(reads.roles_history)
    devices = _group("Devices: list, show, pin to a ring, and why each is where it is.")
    devices.command("list")(fleet_reads.devices_list)
    devices.command("show")(fleet_reads.devices_show)
    devices.command("assign")(fleet_writes.devices_assign)
    devices.command("release")(fleet_writes.devices_release)
    devices.command("remove")(fleet_writes.devices_remove)
    devices.command("history")(fleet_reads.devices_history)
    devices.command("explain")(fleet_reads.devices_explain)
    devices.command("simulate")(simulated_devices.simulate)
    actions = _group("Actions: hooks that nodes run and acknowledge.")
    actions.command("list")(reads.actions_list)
    actions.command("run")(writes.actions_run)
    alarms = _group("Alarms: what an operator should look at, and has seen.")
    alarms.command("list")(reads.alarms_list)
    alarms.command("ack")(writes.alarms_ack)
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
    parts = {"nodes": nodes, "roles": roles, "devices": devices, "rings": _rings()}
    parts |= {"actions": actions, "alarms": alarms, "config": config, "node": node}
    audit = _group("What was decided, as each node has written it down.")
    audit.command("verify")(audit_commands.verify)
    parts |= {"snapshot": snapshot, "audit": audit}
    for name, group in parts.items():
        root.add_typer(group, name=name, rich_help_panel="Parts")


def _rings() -> typer.Typer:
    rings = _group("Rings: shares, policies, what healthy means, rebalancing and its brake.")
    rings.command("list")(fleet_reads.rings_list)
    rings.command("rebalance")(fleet_writes.rings_rebalance)
    rings.command("shares")(fleet_writes.rings_shares)
    rings.command("health")(fleet_writes.rings_health)
    rings.command("release-brake")(fleet_writes.rings_release_brake)
    policy = _group("Ring policies: which rings the devices of a selector may be in.")
    policy.command("list")(fleet_reads.policies_list)
    policy.command("set")(fleet_writes.policies_set)
    policy.command("remove")(fleet_writes.policies_remove)
    rings.add_typer(policy, name="policy")
    return rings


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
