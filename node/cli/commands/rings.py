"""`rings`: shares, policies, health rule, rebalancing and its brake."""

from typing import Annotated, Any

import typer

from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import UsageError
from stationkeep.node.cli.options import (
    Format,
    FormatOption,
    KeyOption,
    ReasonOption,
    UrlOption,
    client,
    pairs,
    whole,
)
from stationkeep.node.cli.output import show_fleet, warn
from stationkeep.node.cli.sending import given, send

RING_NAMES = tuple(ring.value for ring in Ring)
DryPolicyOption = Annotated[
    bool, typer.Option("--dry-run", help="Only show how many devices it would affect.")
]


def rings_list(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """Shows the rings: devices, health, quotas; the health rule, policies and the brake."""
    show_fleet(client(url).get("/v1/rings", shapes.Rings), format_, "rings")


def rings_rebalance(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what a check would move now.")
    ] = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Makes the leader check all rings now instead of at the next interval."""
    if not dry_run:
        send(
            client(url),
            "POST",
            "/v1/rings/rebalance",
            given(reason=reason),
            key=key,
            what="rebalance requested",
        )
        return
    plan = client(url).get("/v1/rings/plan", shapes.RebalancePlan)
    show_fleet(plan, format_, "rebalance_plan")


def rings_shares(
    weights: Annotated[
        list[str], typer.Argument(metavar="RING=WEIGHT", help="All four, such as prod=60.")
    ],
    *,
    cap: Annotated[
        list[str] | None,
        typer.Option(
            "--cap", help="RING=DEVICES, the most; 0: no cap. Repeatable. Default: unchanged."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what a check would then move.")
    ] = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Sets the rings' target shares, and the given caps; other caps stay."""
    shares = {name: whole("RING=WEIGHT", text) for name, text in _rings("", weights).items()}
    if set(shares) != set(RING_NAMES):
        raise UsageError(f"give a weight for each of {', '.join(RING_NAMES)}")
    caps = {name: whole("--cap", text) for name, text in _rings("--cap", cap or []).items()}
    body = given(weights=shares, caps=caps or None, reason=reason)
    if dry_run:
        plan = client(url).plan("/v1/rings/plan", shapes.RebalancePlan, body)
        show_fleet(plan, format_, "rebalance_plan")
        return
    what = "shares " + " ".join(f"{name}={shares[name]}" for name in RING_NAMES)
    send(client(url), "PUT", "/v1/rings/shares", body, key=key, what=what)


def rings_health(
    rule: Annotated[
        str, typer.Argument(help="Such as 'battery > 20 and cpu < 80 and memory < 85'.")
    ],
    *,
    charging_excuses: Annotated[
        bool,
        typer.Option(
            "--charging-excuses-battery", help="A charging device may have a low battery."
        ),
    ] = False,
    unreported: Annotated[
        bool,
        typer.Option("--unreported", help="Allow a metric that no device has reported."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show for how many devices the verdict changes.")
    ] = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Sets when a device is healthy; the rule may also use disk and custom metrics.

    A device that does not report a metric fulfils its condition. So a metric that no device reports
    is refused as a likely typing error, unless --unreported is given.
    """
    body = given(
        rule=rule,
        charging_excuses_battery=charging_excuses,
        unreported=unreported or None,
        reason=reason,
    )
    if dry_run:
        plan = client(url).plan("/v1/rings/health-rule/plan", shapes.HealthPlan, body)
        show_fleet(plan, format_, "health_plan")
        warn(plan["warnings"])
        return
    send(client(url), "PUT", "/v1/rings/health-rule", body, key=key, what=f"healthy is: {rule}")


def rings_release_brake(
    reason: ReasonOption = None, key: KeyOption = None, url: UrlOption = None
) -> None:
    """Resumes automatic moves after the storm brake stopped them."""
    body = given(reason=reason)
    send(client(url), "POST", "/v1/rings/release-brake", body, key=key, what="brake released")


def policies_list(url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """Lists ring policies in order: the first one whose selector matches a device applies."""
    show_fleet(client(url).get("/v1/rings", shapes.Rings)["policies"], format_, "ring_policies")


def policies_set(
    name: Annotated[str, typer.Argument(help="Name of the policy.")],
    *,
    selector: Annotated[
        str,
        typer.Option("--selector", help="Such as 'os=Android 14, model in (Pixel 8, Pixel 9)'."),
    ],
    rings: Annotated[
        str | None, typer.Option("--rings", help="Allowed rings, such as canary,dev. Default: all.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Such as canary=1,dev=3. Default: the shares.")
    ] = None,
    before: Annotated[
        str | None, typer.Option("--before", help="Insert before this policy. Default: last.")
    ] = None,
    dry_run: DryPolicyOption = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Adds a ring policy, or replaces the one with that name in its place."""
    if rings is None and weights is None:
        raise UsageError("give --rings or --weights: a policy that allows all changes nothing")
    policy = given(
        name=name,
        selector=selector,
        rings=None if rings is None else [part.strip() for part in rings.split(",")],
        weights=None if weights is None else _weights(weights),
    )
    node = client(url)
    current, version = _current(node)
    body = given(policies=_placed(current, policy, before), version=version, reason=reason)
    if dry_run:
        _show_plan(node, body, format_)
        return
    send(node, "PUT", "/v1/rings/policies", body, key=key, what=f"ring policy {name}")


def policies_remove(
    name: Annotated[str, typer.Argument(help="Name of the policy.")],
    *,
    dry_run: DryPolicyOption = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Removes a ring policy; its devices get the next policy that matches, or none."""
    node = client(url)
    current, version = _current(node)
    left = [policy for policy in current if policy["name"] != name]
    if len(left) == len(current):
        raise UsageError(f"{unknown('ring policy', name)}; known: {_names(current)}")
    body = given(policies=left, version=version, reason=reason)
    if dry_run:
        _show_plan(node, body, format_)
        return
    what = f"ring policy {name} removed"
    send(node, "PUT", "/v1/rings/policies", body, key=key, what=what)


def _show_plan(node: Client, body: dict[str, Any], format_: Format) -> None:
    """Shows what these policies would change."""
    plan = node.plan("/v1/rings/policies/plan", shapes.PoliciesPlan, body)
    show_fleet(plan, format_, "policies_plan")
    warn(plan["warnings"])


def _rings(option: str, texts: list[str]) -> dict[str, str]:
    """`RING=VALUE` texts by ring, each ring once."""
    values = pairs(option, texts)
    for name in values:
        if name not in RING_NAMES:
            raise UsageError(f"{option} {name!r}: not one of {', '.join(RING_NAMES)}".strip())
    return values


def _weights(text: str) -> dict[str, int]:
    parts = _rings("--weights", [part.strip() for part in text.split(",")])
    return {name: whole("--weights", value) for name, value in parts.items()}


def _current(node: Client) -> tuple[list[dict[str, Any]], str]:
    """The current policies, including every acknowledged change, and their version."""
    rings = node.get("/v1/rings", shapes.Rings, consistency="strong")
    fields = ("name", "selector", "rings", "weights")
    policies = [given(**{field: one[field] for field in fields}) for one in rings["policies"]]
    return policies, rings["policies_version"]


def _placed(
    current: list[dict[str, Any]], policy: dict[str, Any], before: str | None
) -> list[dict[str, Any]]:
    """The list with `policy` inserted before `before`, else in its previous place, else last."""
    names = [known["name"] for known in current]
    others = [known for known in current if known["name"] != policy["name"]]
    if before is None:
        at = names.index(policy["name"]) if policy["name"] in names else len(others)
    elif any(known["name"] == before for known in others):
        at = [known["name"] for known in others].index(before)
    else:
        raise UsageError(f"--before: {unknown('ring policy', before)}; known: {_names(others)}")
    return [*others[:at], policy, *others[at:]]


def _names(policies: list[dict[str, Any]]) -> str:
    return ", ".join(policy["name"] for policy in policies) or "none"
