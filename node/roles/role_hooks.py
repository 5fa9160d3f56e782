"""The role hooks of a node: one at a time, tried until they succeed, cut short for a fence.

- A hook that failed is tried again while its order stands: after `FIRST_RETRY`, then after twice
  as long each time, at most `LAST_RETRY`. Another order begins anew.
- Authority is taken away at once: an order to be anything but PRIMARY kills a PRIMARY hook that
  runs and starts its own. The converse does not hold: PRIMARY waits for whatever runs.
- A role counts as enacted when its hook succeeded *and* nothing is left of a hook that was
  killed for it. Hence a demotion is never acknowledged beside a PRIMARY hook.
"""

from collections.abc import Callable, Mapping

import msgspec
import structlog

from stationkeep.cluster.transitions import Role
from stationkeep.node.config.hooks import HookConfig
from stationkeep.node.hooks.runner import Hook, HookResult, HookRunner
from stationkeep.node.ports import Clock
from stationkeep.node.roles.enacted import Enacted

FIRST_RETRY, LAST_RETRY = 2.0, 60.0
"""Seconds from a failure to the next attempt: the first time, and at most."""

log = structlog.get_logger("node.enactor")

Order = tuple[Role, int]
"""A role to be enacted, and the seat's epoch."""


class Failure(msgspec.Struct, frozen=True):
    """The newest attempt at `order` failed; the next is due at `retry_at` (monotonic s)."""

    order: Order
    detail: str
    retry_at: float


class _Attempt(msgspec.Struct):
    order: Order
    hook: Hook | None = None
    result: HookResult | None = None


class RoleHooks:
    """`enacted` is shared with its owner; `save` makes it durable. `environment`: of a hook."""

    def __init__(
        self,
        config: HookConfig,
        *,
        clock: Clock,
        hooks: HookRunner,
        enacted: Enacted,
        save: Callable[[], None],
        environment: Callable[[Order], Mapping[str, str]],
        leftover: Hook | None = None,
    ) -> None:
        self._config, self._clock, self._hooks = config, clock, hooks
        self._enacted, self._save, self._environment = enacted, save, environment
        self.failure: Failure | None = None
        self._current: _Attempt | None = None
        self._dying = leftover
        """A PRIMARY hook that was killed and may not be gone yet; or what the previous run left."""
        self._tried: Order | None = None
        self._delay = FIRST_RETRY

    @property
    def running(self) -> Role | None:
        """The role whose hook runs now."""
        return self._current.order[0] if self._current else None

    def is_enacted(self, order: Order) -> bool:
        """Whether this is what the node is, surely and completely. A new epoch is news to a
        PRIMARY only."""
        role, epoch = order
        if self._enacted.attempted is not None:
            return False
        same_epoch = self._enacted.epoch == epoch or role is not Role.PRIMARY
        return self._enacted.role is role and same_epoch

    def pursue(self, order: Order | None) -> None:
        """Takes the next step towards `order`; None asks for nothing."""
        self._settle()
        if order is None:
            return
        if self._current is not None:
            if self.running is not Role.PRIMARY or order[0] is Role.PRIMARY:
                return
            self._preempt(self._current)
            self._start(order)
        elif not self.is_enacted(order) and self._is_due(order):
            self._start(order)

    def next_wakeup(self) -> float:
        """Monotonic moment of the next retry; infinite when none is to come."""
        at = self.failure.retry_at if self.failure else float("-inf")
        return at if at > self._clock.monotonic() else float("inf")

    def _is_due(self, order: Order) -> bool:
        if self._dying is not None and order[0] is Role.PRIMARY:
            return False  # never beside another PRIMARY hook
        failure = self.failure
        if failure is None or failure.order != order:
            return True
        return self._clock.monotonic() >= failure.retry_at

    def _preempt(self, attempt: _Attempt) -> None:
        assert self._dying is None, "PRIMARY waits until an earlier PRIMARY hook is gone"
        assert attempt.hook is not None
        log.warning("role hook killed", role=attempt.order[0], epoch=attempt.order[1])
        self._current, self._dying = None, attempt.hook
        attempt.hook.cancel()

    def _start(self, order: Order) -> None:
        if order != self._tried:
            self._tried, self._delay = order, FIRST_RETRY
        self.failure = None
        attempt = self._current = _Attempt(order)
        command = self._config.roles.get(order[0])
        if command is None:
            self._on_done(attempt, HookResult(True))
            return
        if self._enacted.attempted is not Role.PRIMARY:
            self._enacted.attempted = order[0]
        self._save()
        attempt.hook = self._hooks.start(
            command,
            self._environment(order),
            self._config.timeout,
            lambda result: self._on_done(attempt, result),
        )

    def _on_done(self, attempt: _Attempt, result: HookResult) -> None:
        attempt.result = result  # which nobody reads of one that was killed
        self._settle()

    def _settle(self) -> None:
        """Draws the conclusion of an attempt that ended. A success waits until the hook killed
        for it is gone; a failure need not, so that a fence is tried again beside it."""
        if self._dying is not None and self._dying.is_gone:
            self._dying = None
        attempt = self._current
        if attempt is None or attempt.result is None:
            return
        if not attempt.result.ok:
            self._current = None
            self._fail(attempt.order, attempt.result.detail)
        elif self._dying is None:
            self._current = None
            self._succeed(attempt.order)

    def _succeed(self, order: Order) -> None:
        role, epoch = order
        log.info("role enacted", role=role, epoch=epoch, previous=self._enacted.role)
        self._enacted.role, self._enacted.epoch = role, epoch
        self._enacted.attempted = None
        self._tried = None
        self._save()

    def _fail(self, order: Order, detail: str) -> None:
        role, epoch = order
        log.warning("role hook failed", role=role, epoch=epoch, detail=detail, retry=self._delay)
        retry_at = self._clock.monotonic() + self._delay
        self.failure = Failure(order, f"{role} hook: {detail}", retry_at)
        self._delay = min(2 * self._delay, LAST_RETRY)
