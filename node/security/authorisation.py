"""Who may do what over HTTP: one table of all routes, and one function that reads it.

A route that the table does not name is nobody's but an administrator's; a test walks all that there
are, so that there is none. Source: guide/access.md, "Rights".
"""

from collections.abc import Mapping
from typing import NamedTuple

from stationkeep.cluster.state.state import Access

LADDER = (Access.VIEWER, Access.OPERATOR, Access.ADMIN)
"""Each may do what those before it may."""
SOCKET = "WS"
"""Stands for a method where a WebSocket is opened."""


class Right(NamedTuple):
    """Who may use some routes. `least`: the first of the ladder who may; `beside`: roles that are
    no part of it; `nobody`: also who says not who they are."""

    least: Access
    beside: frozenset[Access] = frozenset()
    nobody: bool = False

    @property
    def roles(self) -> list[Access]:
        """All that may, the lowest first."""
        return [*LADDER[LADDER.index(self.least) :], *sorted(self.beside)]

    def allows(self, role: Access | None) -> bool:
        """Whether this role may; None: nobody in particular."""
        if role is None:
            return self.nobody
        if self.nobody or role in self.beside:
            return True
        return role in LADDER and LADDER.index(role) >= LADDER.index(self.least)


ANYBODY = Right(Access.VIEWER, nobody=True)
SCRAPE = Right(Access.VIEWER, frozenset({Access.METRICS}))
READ = Right(Access.VIEWER)
OPERATE = Right(Access.OPERATOR)
ADMINISTER = Right(Access.ADMIN)
REPORT = Right(Access.ADMIN, frozenset({Access.DEVICE}))
REGISTER = Right(Access.ADMIN, frozenset({Access.DEVICE, Access.ENROL}))
"""What comes with an enrolment token may register, on a WebSocket too, and nothing else."""

_TABLE: dict[Right, str] = {
    ANYBODY: """
        GET /livez /readyz /leader /primary /backup /standby /safe-mode
        GET / /dashboard/{name} /guide /guide/ /guide/style.css /guide/{topic}
        GET /docs /openapi.json /v1/me /v1/tls/ca
        POST /v1/join
    """,
    SCRAPE: """
        GET /metrics
    """,
    READ: """
        GET /v1/cluster /v1/links /v1/machine
        GET /v1/nodes /v1/nodes/{node} /v1/nodes/{node}/explain
        GET /v1/roles /v1/roles/history /v1/decisions /v1/proposals /v1/actions /v1/alarms
        GET /v1/config /v1/level /v1/tls/revocations /v1/tls/rotation
        GET /v1/operations/{operation:path} /v1/events
        GET /v1/devices /v1/devices/{device} /v1/devices/{device}/history
        GET /v1/devices/{device}/explain /v1/devices/{device}/tasks
        GET /v1/rings /v1/rings/history /v1/rings/plan
        POST /v1/rings/plan /v1/rings/health-rule/plan /v1/rings/policies/plan
        GET /v1/deployments /v1/deployments/{number} /v1/deployments/{number}/tasks
        GET /v1/rollouts /v1/rollouts/{rollout} /v1/rollouts/{rollout}/timeline
        GET /v1/rollouts/{rollout}/explain /v1/rollouts/{rollout}/report
        GET /v1/rollouts/{rollout}/tasks /v1/freezes /v1/artifacts
        POST /v1/rollouts:validate
    """,
    OPERATE: """
        POST /v1/switchover /v1/failover /v1/pause /v1/resume /v1/actions
        POST /v1/nodes/{node}/maintenance /v1/alarms/{alarm}/ack /v1/tls/reload
        PUT /v1/devices/{device}/ring
        DELETE /v1/devices/{device}/ring /v1/devices/{device}
        DELETE /v1/devices/{device}/credential
        POST /v1/devices/{device}/credential/reset
        POST /v1/rings/rebalance /v1/rings/release-brake
        POST /v1/tasks /v1/deployments/{number}/cancel /v1/deployments/{number}/retry
        POST /v1/rollouts /v1/rollouts/{rollout}/start /v1/rollouts/{rollout}/approve
        POST /v1/rollouts/{rollout}/pause /v1/rollouts/{rollout}/resume
        POST /v1/rollouts/{rollout}/promote /v1/rollouts/{rollout}/abort
        POST /v1/rollouts/{rollout}/rollback /v1/rollouts/{rollout}/retry
        POST /v1/artifacts/{component}/{version}:unblock
        PUT /v1/freezes/{freeze}
        DELETE /v1/freezes/{freeze}
    """,
    ADMINISTER: """
        POST /v1/nodes /v1/nodes/{node}/move /v1/nodes/{node}/priority
        POST /v1/nodes/{node}/policies /v1/level/raise
        DELETE /v1/nodes/{node} /v1/nodes/{node}/policies/{name}
        PATCH /v1/config
        PUT /v1/rings/shares /v1/rings/policies /v1/rings/health-rule
        GET /v1/snapshot /v1/tokens /v1/tokens/{token} /v1/invitations
        POST /v1/tls/renew /v1/tls/revocations /v1/tokens /v1/invitations
        POST /v1/tls/rotation/start /v1/tls/rotation/finish /v1/tls/rotation/abort
        DELETE /v1/tokens/{token} /v1/invitations/{invitation}
    """,
    REPORT: """
        POST /v1/devices:report /v1/tasks:report
        GET /v1/devices/{device}/assignment /v1/devices/{device}/task
    """,
    REGISTER: """
        WS /v1/agents
        POST /v1/devices:register
    """,
}
"""A method and the routes that it is about, a line each; HEAD is as GET."""


def _read() -> Mapping[tuple[str, str], Right]:
    found: dict[tuple[str, str], Right] = {}
    for right, text in _TABLE.items():
        for method, *routes in (line.split() for line in text.strip().splitlines()):
            found |= {(method, route): right for route in routes}
    return found


RIGHTS = _read()
"""By method and route."""


def right_to(method: str, route: str) -> Right:
    """Who may use a route; one that is not named is for administrators."""
    return RIGHTS.get(("GET" if method == "HEAD" else method, route), ADMINISTER)


def may(role: Access | None, method: str, route: str) -> bool:
    """Whether this role may; None: nobody in particular."""
    return right_to(method, route).allows(role)


class _Step:
    """What may follow a part of a path."""

    __slots__ = ("named", "parameter", "rest", "routes", "suffixed")

    def __init__(self) -> None:
        self.named: dict[str, _Step] = {}
        self.suffixed: dict[str, _Step] = {}
        """After a parameter that ends in a text, such as `{version}:unblock`."""
        self.parameter: _Step | None = None
        self.rest: _Step | None = None
        """After a parameter that is all that follows."""
        self.routes: dict[str, str] = {}
        """By method."""

    def below(self, part: str) -> "_Step":
        """Where a part of a route leads; made when there is nothing yet."""
        if not part.startswith("{"):
            return self.named.setdefault(part, _Step())
        if part.endswith(":path}"):
            self.rest = self.rest or _Step()
            return self.rest
        suffix = part.partition("}")[2]
        if suffix:
            return self.suffixed.setdefault(suffix, _Step())
        self.parameter = self.parameter or _Step()
        return self.parameter

    def after(self, part: str) -> "_Step | None":
        """Where a part of a path leads."""
        if part in self.named:
            return self.named[part]
        if not part:
            return None
        for suffix, step in self.suffixed.items():
            if part.endswith(suffix) and part != suffix:
                return step
        return self.parameter


def _routes() -> _Step:
    root = _Step()
    for method, route in RIGHTS:
        step = root
        for part in route.split("/"):
            step = step.below(part)
        step.routes[method] = route
    return root


_ROOT = _routes()


def route_of(method: str, path: str) -> str | None:
    """The route that a request takes; None: none that the table names."""
    step: _Step | None = _ROOT
    for part in path.split("/"):
        if step is None or step.rest is not None:
            break
        step = step.after(part)
    found = step and (step.rest or step)
    return found.routes.get("GET" if method == "HEAD" else method) if found else None
