"""What people type who know other tools: patronictl, etcdctl, kubectl, argo, and shells.

What is no command of ours is answered with the one that does it, or with the nearest one.
"""

from collections.abc import Iterable

from stationkeep.cluster.suggestion import suggestion

HABITS = {
    "apply": "rollout create FILE",
    "auth": "login",
    "alarm": "alarms list",
    "cluster-info": "status",
    "cordon": "nodes maintenance NODE on",
    "delete": "nodes leave NODE, devices remove DEVICE",
    "drain": "nodes maintenance NODE on",
    "dsn": "roles list",
    "edit-config": "config edit",
    "endpoint": "status --check",
    "endpoint health": "status --check",
    "endpoint status": "nodes list",
    "get": "nodes list, devices list, rollout list",
    "get alarms": "alarms list",
    "get devices": "devices list",
    "get events": "events",
    "get nodes": "nodes list",
    "get rollouts": "rollout list",
    "get tasks": "tasks list",
    "health": "status --check",
    "help": "--help",
    "history": "roles history",
    "info": "status",
    "list": "status",
    "ls": "status",
    "member": "nodes list",
    "member add": "nodes invite",
    "member list": "nodes list",
    "member remove": "nodes leave NODE",
    "move-leader": "switchover --to NODE",
    "promote": "rollout promote ROLLOUT",
    "ps": "nodes list",
    "query": "status",
    "reinit": "node rejoin --config FILE",
    "reload": "config set SETTING=VALUE",
    "remove": "nodes leave NODE",
    "restart": "start NODE",
    "rollback": "rollout rollback ROLLOUT",
    "scale": "rings shares RING=WEIGHT",
    "show-config": "config show",
    "stop": "down",
    "top": "watch",
    "uncordon": "nodes maintenance NODE off",
    "undo": "rollout rollback ROLLOUT",
    "whoami": "context list",
    "config current-context": "context list",
    "config get": "config show",
    "config get-contexts": "context list",
    "config use-context": "context use CONTEXT",
    "config view": "config show",
    "devices get": "devices show DEVICE",
    "devices pin": "devices assign DEVICE RING",
    "devices unpin": "devices release DEVICE",
    "node list": "nodes list",
    "node show": "nodes show NODE",
    "nodes add": "nodes invite",
    "nodes describe": "nodes show NODE",
    "nodes drain": "nodes maintenance NODE on",
    "nodes remove": "nodes leave NODE",
    "rings set": "rings shares RING=WEIGHT",
    "rings show": "rings list",
    "rollout apply": "rollout create FILE",
    "rollout history": "rollout timeline ROLLOUT",
    "rollout restart": "rollout retry ROLLOUT",
    "rollout status": "rollout watch ROLLOUT",
    "rollout stop": "rollout abort ROLLOUT",
    "rollout undo": "rollout rollback ROLLOUT",
    "snapshot status": "snapshot verify FILE",
    "tasks describe": "tasks show DEPLOYMENT",
    "tokens delete": "tokens revoke TOKEN",
}
"""By what is typed, the command that does it."""
OF_GROUPS = {"ls": "list", "get": "list", "describe": "show", "rm": "remove", "delete": "remove"}
"""Words of groups that have these words."""


def meant(above: str, typed: list[str], known: Iterable[str]) -> str:
    """What is said of words that are no command, below the words `above` that are one; `known`:
    what could have followed."""
    word, known = typed[0], list(known)
    asked = [" ".join([*above.split(), *typed[:length]]) for length in (2, 1)]
    found = next((HABITS[each] for each in asked if each in HABITS), "")
    if not found and above and OF_GROUPS.get(word) in known:
        found = f"{above} {OF_GROUPS[word]}"
    if not found and not above:
        found = next((each for each in known if word in (f"{each}s", each.removesuffix("s"))), "")
    if found:
        each = (f"stationkeep {one}" for one in found.split(", "))
        return f"no such command: {word!r}; {' or '.join(each)} does that"
    return f"no such command: {word!r}{suggestion(word, known)}"
