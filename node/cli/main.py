"""The `stationkeep` command: its subcommands, and how failures become exit codes."""

import contextlib
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stationkeep.node.cli.commands import (
    actions,
    agent,
    alarms,
    audit,
    ca_rotation,
    certs,
    chaos,
    cluster,
    completion,
    config,
    contexts,
    decisions,
    demo,
    describe,
    devices,
    doctor,
    events,
    forming,
    guide,
    invitations,
    level,
    local,
    logs,
    node,
    nodes,
    plan,
    rings,
    roles,
    rollout_orders,
    rollouts,
    simulate,
    simulated_devices,
    snapshots,
    tasks,
    tokens,
    version,
)
from stationkeep.node.cli.completion import Tree, candidates
from stationkeep.node.cli.contexts import choose
from stationkeep.node.cli.examples import epilog
from stationkeep.node.cli.failures import CommandError, UsageError
from stationkeep.node.cli.grammar import Callback, name_values
from stationkeep.node.cli.habits import meant
from stationkeep.node.cli.output import StandardOutput, note
from stationkeep.node.cli.shared_options import completed
from stationkeep.node.local.manifest import LocalError
from stationkeep.node.security.trust import VARIABLE, TrustError, of_file
from stationkeep.node.system.printable import printable_lines


class _Group(TyperGroup):
    """Says of what is no command which one was meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            if hasattr(error, "message") and not args[0].startswith("-"):
                above = " ".join(ctx.command_path.split()[1:])
                error.message = meant(above, args, self.commands)
            raise


class _Commands(_Group):
    """Turns `CommandError`s into a message on stderr and an exit code; other errors are bugs."""

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
    """Makes the messages of usage errors printable: typer prints them, and they quote arguments.
    Their class is click's or, since typer 0.20, typer's own; all have a `message`."""
    try:
        yield
    except Exception as error:  # whose class has two homes
        if isinstance(getattr(error, "message", None), str):
            error.message = printable_lines(error.message)  # type: ignore[attr-defined]
        raise


PANELS: dict[str, tuple[Callback, ...]] = {
    "On this machine": (local.up, local.down, local.kill, local.start, logs.logs, agent.agent),
    "Form a cluster": (forming.init, forming.join),
    "Inspect": (
        *(cluster.status, local.watch, describe.describe, decisions.explain, decisions.decisions),
        *(events.events, events.wait, nodes.topology, doctor.doctor),
        *(decisions.proposals, decisions.operation, level.level, guide.guide, contexts.login),
    ),
    "Plan and test": (plan.plan, simulate.simulate, chaos.chaos),
    "Control": (roles.switchover, roles.failover, roles.pause, roles.resume),
    "This command": (completion.completion, version.version),
}
"""Commands of one word, by the panel of `--help` that shows them."""
GROUPS: dict[str, tuple[str, dict[str, Callback]]] = {
    "nodes": (
        "Nodes: list, links, invite, join, move, leave, maintenance, priority, local policies.",
        {
            "list": nodes.nodes_list,
            "show": describe.nodes_show,
            "links": nodes.nodes_links,
            "invite": invitations.invite,
            "invitations": invitations.invitations_list,
            "uninvite": invitations.uninvite,
            "join": nodes.nodes_join,
            "move": nodes.nodes_move,
            "leave": nodes.nodes_leave,
            "maintenance": nodes.nodes_maintenance,
            "priority": nodes.nodes_priority,
            "policy": nodes.nodes_policy,
        },
    ),
    "roles": (
        "Roles: which node has which, since when, and the history.",
        {"list": roles.roles_list, "history": roles.roles_history},
    ),
    "devices": (
        "Devices: list, show, pin to a ring, explain.",
        {
            "list": devices.devices_list,
            "show": devices.devices_show,
            "assign": devices.devices_assign,
            "release": devices.devices_release,
            "remove": devices.devices_remove,
            "history": devices.devices_history,
            "tasks": devices.devices_tasks,
            "explain": devices.devices_explain,
            "simulate": simulated_devices.simulate,
        },
    ),
    "devices credentials": (
        "Credentials of devices: end one, let a device enrol anew.",
        {"revoke": devices.credentials_revoke, "reset": devices.credentials_reset},
    ),
    "rings": (
        "Rings: shares, policies, health rule, rebalancing and its brake.",
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
    "tasks": (
        "Tasks of devices: submit, list, show, cancel, retry.",
        {
            "submit": tasks.tasks_submit,
            "list": tasks.tasks_list,
            "show": tasks.tasks_show,
            "cancel": tasks.tasks_cancel,
            "retry": tasks.tasks_retry,
        },
    ),
    "rollout": (
        "Rollouts: bring a version to all devices stage by stage, on proof, and back.",
        {
            "create": rollouts.rollout_create,
            "validate": rollouts.rollout_validate,
            "start": rollout_orders.rollout_start,
            "approve": rollout_orders.rollout_approve,
            "list": rollouts.rollout_list,
            "show": rollouts.rollout_show,
            "watch": rollouts.rollout_watch,
            "tasks": rollouts.rollout_tasks,
            "report": rollouts.rollout_report,
            "explain": rollouts.rollout_explain,
            "timeline": rollouts.rollout_timeline,
            "pause": rollout_orders.rollout_pause,
            "resume": rollout_orders.rollout_resume,
            "promote": rollout_orders.rollout_promote,
            "retry": rollout_orders.rollout_retry,
            "abort": rollout_orders.rollout_abort,
            "rollback": rollout_orders.rollout_rollback,
            "freeze": rollout_orders.rollout_freeze,
            "unfreeze": rollout_orders.rollout_unfreeze,
            "freezes": rollouts.rollout_freezes,
            "unblock": rollout_orders.rollout_unblock,
        },
    ),
    "demo": (
        "Shows: on a local cluster, with devices of their own, which they take away again.",
        {"rollout": demo.demo_rollout},
    ),
    "actions": (
        "Actions: hooks that nodes run and acknowledge.",
        {"list": actions.actions_list, "run": actions.actions_run},
    ),
    "alarms": (
        "Alarms: list, history, acknowledge.",
        {"list": alarms.alarms_list, "history": alarms.alarms_history, "ack": alarms.alarms_ack},
    ),
    "config": (
        "Settings of the cluster, and files of nodes.",
        {
            "show": config.config_show,
            "set": config.config_set,
            "edit": config.config_edit,
            "explain": config.config_explain,
            "diff": config.config_diff,
            "validate": node.validate,
        },
    ),
    "node": ("One node process.", {"run": node.run, "rejoin": node.rejoin}),
    "snapshot": (
        "Copies of the replicated state.",
        {"save": snapshots.save, "verify": snapshots.verify, "restore": snapshots.restore},
    ),
    "audit": (
        "The audit files of nodes.",
        {"verify": audit.verify},
    ),
    "tokens": (
        "Tokens: who may do what over HTTP.",
        {
            "create": tokens.create,
            "list": tokens.tokens_list,
            "show": tokens.tokens_show,
            "revoke": tokens.revoke,
            "rotate": tokens.rotate,
        },
    ),
    "context": (
        "Contexts: clusters that you have logged in to.",
        {
            "list": contexts.context_list,
            "use": contexts.context_use,
            "remove": contexts.context_remove,
        },
    ),
    "certs": (
        "Certificates: make, fetch and replace a CA, issue, inspect, list, revoke, renew.",
        {
            "ca": certs.ca,
            "issue": certs.issue,
            "inspect": certs.inspect,
            "list": certs.certs_list,
            "fetch": certs.fetch,
            "rotate-ca": ca_rotation.rotate_ca,
            "revoke": certs.revoke,
            "renew": certs.renew,
        },
    ),
}
"""Groups of commands, by name, with help and members."""


def _build() -> typer.Typer:
    root = typer.Typer(
        cls=_Commands,
        help="Keeps every node of a cluster in its role, and can explain why.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(_options)
    for panel, commands in PANELS.items():
        for command in commands:
            _add(root, "", command.__name__, command, panel)
    groups: dict[str, typer.Typer] = {}
    for words, (help_, members) in GROUPS.items():
        group = groups[words] = typer.Typer(cls=_Group, help=help_, no_args_is_help=True)
        for word, command in members.items():
            _add(group, f"{words} ", word, command)
        above, _, name = words.rpartition(" ")
        if above:
            groups[above].add_typer(group, name=name)
        else:
            root.add_typer(group, name=name, rich_help_panel="Groups")
    return root


def _add(
    to: typer.Typer, above: str, word: str, command: Callback, panel: str | None = None
) -> None:
    """Has a group, whose words are `above`, know a command."""
    command = completed(command)
    name_values(command)
    text = inspect.cleandoc(command.__doc__ or "")
    paragraphs = (part.replace("\n", " ") for part in text.split("\n\n"))
    to.command(
        word, help="\n\n".join(paragraphs), epilog=epilog(above + word), rich_help_panel=panel
    )(command)


def _say_version(wanted: bool) -> None:
    if wanted:
        version.version()
        raise typer.Exit


def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    context: Annotated[
        str | None, typer.Option("--context", help="The cluster to ask, by `stationkeep login`.")
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca",
            envvar=VARIABLE,
            help="The CA's certificates (ca.pem) of a cluster whose nodes are asked by https.",
        ),
    ] = None,
) -> None:
    """Options before a command."""
    choose(context)
    if ca is None:
        return
    try:
        of_file(str(ca))
    except TrustError as error:
        raise UsageError(f"--ca {error}") from error
    os.environ[VARIABLE] = str(ca)


app = _build()


def main() -> None:
    """Entry point of the `stationkeep` script and of `python -m stationkeep`."""
    if sys.argv[1:2] == [completion.ASK]:
        _complete(" ".join(sys.argv[2:]))
        return
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


def _complete(line: str) -> None:
    """Answers a shell. A thread may still wait for somebody: the process does not."""
    from stationkeep.node.cli.known_names import look_up  # noqa: PLC0415

    with contextlib.suppress(OSError, UnicodeError):
        sys.stdout.writelines(
            f"{word}\n" for word in candidates(_options, tree(app), line, look_up)
        )
        sys.stdout.flush()
    os._exit(0)


def tree(part: typer.Typer) -> dict[str, Tree | Callback]:
    """What each word of a group, or of the whole, stands for."""
    found: dict[str, Tree | Callback] = {}
    for command in part.registered_commands:
        assert command.callback is not None
        found[command.name or command.callback.__name__] = command.callback
    for group in part.registered_groups:
        assert group.typer_instance is not None
        found[str(group.name)] = tree(group.typer_instance)
    return found


def _give_up(error: OSError) -> int:
    """Reports that stdout failed, unless its reader just closed it; returns the exit code."""
    # Python flushes what is left in the buffer at exit: that must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(error, BrokenPipeError):
        note(f"stationkeep: standard output cannot be written: {error.strerror}")
    return CommandError.exit_code
