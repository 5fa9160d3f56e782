"""`hooks:` in a node's file: the commands that are run when a role or an action is enacted."""

import msgspec

from stationkeep.cluster.names import NAME_RULE, name_fault
from stationkeep.cluster.state.state import MAX_ACTIONS_PER_NODE, ROLE_CHANGE
from stationkeep.node.config.shell import MAX_COMMAND
from stationkeep.node.config.yaml_document import Value

ROLE_HOOKS = {
    "primary": "PRIMARY",
    "backup": "BACKUP",
    "standby": "STANDBY",
    "safe_mode": "SAFE_MODE",
}


class HookConfig(msgspec.Struct, frozen=True):
    """Shell commands run when a role or an action is enacted."""

    roles: dict[str, str] = {}
    """Role and command, run when the node begins to act in this role."""
    actions: dict[str, str] = {}
    """Actions that operators can order of this node: name and command."""
    timeout: float = 10.0
    """A hook that takes longer, in seconds, is killed with everything it started: it has failed."""


def read_hooks(value: Value | None) -> HookConfig:
    """The hooks that a file configures; errors go into its document."""
    if value is None:
        return HookConfig()
    value.known((*ROLE_HOOKS, "timeout", "actions"))
    timeout, actions = value.child("timeout"), value.child("actions")
    commands: dict[str, Value] = actions.mapping() if actions else {}
    for name, item in commands.items():
        if name_fault(name):
            item.refuse(NAME_RULE, name)
        elif name == ROLE_CHANGE:
            item.refuse(f"another name: {ROLE_CHANGE} is the cluster's own", name)
    if actions is not None and len(commands) > MAX_ACTIONS_PER_NODE:
        actions.refuse(f"at most {MAX_ACTIONS_PER_NODE} actions", len(commands))
    return HookConfig(
        roles={
            role: hook.text("a shell command", MAX_COMMAND)
            for field, role in ROLE_HOOKS.items()
            if (hook := value.child(field)) is not None
        },
        actions={
            name: item.text("a shell command", MAX_COMMAND) for name, item in commands.items()
        },
        timeout=timeout.seconds() if timeout else HookConfig().timeout,
    )
