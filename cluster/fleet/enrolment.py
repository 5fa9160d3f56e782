"""Enrolment: how a device gets a credential of its own, and loses it.

Whoever has an enrolment token enters devices that nobody knows yet, as many as the token takes, and
none that is known: a token that leaks adds devices, it never takes one over. Each is counted where
its registration is applied, so the count is exact however many nodes take devices in. A device
whose answer was lost says the same again, and is answered.

A registration by a device's own credential names it, too, and is refused when that has ended on the
way to the log. Source: guide/access.md, "Enrolment".
"""

from collections.abc import Iterable

from msgspec.structs import replace

from stationkeep.cluster.commands import Registration, ResetCredential, RevokeCredential
from stationkeep.cluster.devices.credentials import HASH_BYTES, NO_CREDENTIAL, Credential, Standing
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.table import Properties
from stationkeep.cluster.fleet.orders import MAX_NAMED, existing_device
from stationkeep.cluster.names import speaks_for
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.state import Access, ClusterState, Token
from stationkeep.cluster.state.step import Refused, Step

PROOF, ENROLMENT = "credential", "enrolment"
"""What a refusal that is about these begins with, and no other."""


def enrolment_fault(state: ClusterState, registration: Registration, wall: int) -> str | None:
    """What is wrong with what a registration was let in by, at `wall`, Unix ms. A door that asks
    this first keeps what cannot succeed out of the log."""
    if not (registration.enrolment or registration.credential):
        return None
    had = state.fleet.credential(registration.id)
    if not registration.enrolment:
        is_good = had == Credential(Standing.GOOD, registration.credential)
        return None if is_good else f"{PROOF}: that of {registration.id} is another one, or ended"
    if len(registration.credential) != HASH_BYTES or not any(registration.credential):
        return f"{PROOF}: {len(registration.credential)} bytes are not the SHA-256 of a secret"
    if is_enrolled(state.fleet, registration):
        return None
    token = state.tokens.get(registration.enrolment)
    return _identity_fault(state, registration, had) or _token_fault(token, registration.id, wall)


def _identity_fault(state: ClusterState, registration: Registration, had: Credential) -> str | None:
    known = state.fleet.row(registration.id) is not None
    if known and had.standing is not Standing.RESET:
        rule = "is known already; an operator may reset its credential"
        return f"{ENROLMENT}: {registration.id} {rule}"
    if registration.credential == had.hash:
        return f"{PROOF}: that secret of {registration.id} has ended; it draws another one"
    return None


def _token_fault(token: Token | None, device: str, wall: int) -> str | None:
    if token is None or token.role is not Access.ENROL or not token.good(wall):
        return f"{ENROLMENT}: the token has ended"
    if not speaks_for(token.ids, device):
        return f"{ENROLMENT}: {token.actor} enrols {token.ids}, not {device}"
    if token.used >= token.limit:
        return f"{ENROLMENT}: {token.actor} has enrolled {token.limit} devices, its limit"
    return None


def imposed_by(state: ClusterState, registration: Registration, before: Properties) -> Properties:
    """The labels that a device has from its enrolment token, whatever it says: `before`, unless it
    enrols now."""
    token = state.tokens.get(registration.enrolment)
    return before if token is None else tuple(sorted(token.labels.items()))


def is_enrolled(fleet: Fleet, registration: Registration) -> bool:
    """Whether a device says once more what it has enrolled by. It is answered, and nothing else of
    it counts: hashes lie on disks, and whoever has one is not the device."""
    own = fleet.credential(registration.id) == Credential(Standing.GOOD, registration.credential)
    return own and bool(registration.enrolment)


def enrol(step: Step, row: int, registration: Registration) -> bool:
    """Gives the device in a row the credential of a registration without a fault, if it enrols by
    that; whether it does."""
    if not registration.enrolment:
        return False
    table = step.state.fleet.table
    table.credential[row], table.proof[row] = Standing.GOOD, registration.credential
    token = step.state.tokens[registration.enrolment]
    step.state.tokens[token.id] = replace(token, used=token.used + 1)
    return True


def note_enrolled(step: Step, enrolled: Iterable[Registration]) -> None:
    """One decision for each token."""
    by_token: dict[str, list[str]] = {}
    for registration in enrolled:
        by_token.setdefault(registration.enrolment, []).append(registration.id)
    for id_, devices in by_token.items():
        token = step.state.tokens[id_]
        facts = {"token": id_, "name": token.name, "devices": len(devices), "used": token.used,
                 "limit": token.limit}  # fmt: skip
        step.decide("enrolment", Outcome.NOTED, tuple(devices[:MAX_NAMED]), facts=facts)


def revoke_credential(step: Step, command: RevokeCredential) -> dict[str, object]:
    """Nothing is changed about one that was revoked before."""
    row = existing_device(step, command.device)
    if step.state.fleet.table.credential_of(row) == NO_CREDENTIAL:
        detail = f"device: {command.device} has no credential of its own"
        raise Refused(Reason.NOT_IN_STATE, detail)
    return _end(step, row, Standing.REVOKED)


def reset_credential(step: Step, command: ResetCredential) -> dict[str, object]:
    """Nothing is changed about one that was reset before."""
    return _end(step, existing_device(step, command.device), Standing.RESET)


def _end(step: Step, row: int, standing: Standing) -> dict[str, object]:
    fleet, word = step.state.fleet, standing.name.lower()
    if fleet.table.credential[row] != standing:
        fleet.credentials_ended += bool(fleet.table.credential[row] == Standing.GOOD)
        fleet.table.credential[row] = standing
        step.decide("credential", Outcome.DONE, (fleet.id(row),), facts={"change": word})
    return {"credential": word}
