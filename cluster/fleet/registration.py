"""Registration: a device becomes a row and finds its ring; one that comes back keeps both.

Source: rings.md, "Devices" and "Ring assignment".
"""

import hashlib
import re
from collections.abc import Iterator, Mapping

import numpy as np

from stationkeep.cluster.commands import MAX_REGISTRATIONS, RegisterDevices, Registration
from stationkeep.cluster.devices.fleet import Fleet
from stationkeep.cluster.devices.moves import MoveReason
from stationkeep.cluster.devices.rings import RINGS, UNSET, furthest_below
from stationkeep.cluster.devices.status import Reading, reading_fault
from stationkeep.cluster.devices.table import MAX_DEVICES, NEVER, Kind, Properties
from stationkeep.cluster.fleet.enrolment import (
    enrol,
    enrolment_fault,
    imposed_by,
    is_enrolled,
    note_enrolled,
)
from stationkeep.cluster.fleet.journeys import Journey, travel
from stationkeep.cluster.fleet.reports import Batch, named, serving, take_in
from stationkeep.cluster.fleet.storm import watch
from stationkeep.cluster.names import DEVICE_ID, DEVICE_ID_RULE, text_fault
from stationkeep.cluster.numbers import SEQUENCE, SESSION, U32
from stationkeep.cluster.state.decisions import Reason
from stationkeep.cluster.state.events import DevicesRegistered
from stationkeep.cluster.state.step import Refused, Step

MAX_TEXT = 256
MAX_PROPERTIES = 32
"""Labels, and capabilities, of one device."""
OLDER = "is older than"
"""In the refusal of a session before the one that is known, and in no other."""
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,63}")


def registration_fault(registration: Registration) -> str | None:
    """What is wrong with a registration (field, value, rule), or None. A door that asks this
    first never has a device of a batch refused for its form."""
    return next(_faults(registration), None)


def _faults(registration: Registration) -> Iterator[str]:
    if DEVICE_ID.fullmatch(registration.id) is None:
        yield f"id: {registration.id[:80]!r} is not {DEVICE_ID_RULE}"
    for field in ("name", "os_version", "app_version"):
        yield from _text_faults(field, getattr(registration, field))
    for field in ("capabilities", "labels"):
        yield from _property_faults(field, getattr(registration, field))
    for field in ("session", "sequence"):
        if not 0 <= getattr(registration, field) <= U32:
            yield f"{field}: {getattr(registration, field)} is not between 0 and {U32}"
    fault = None if registration.reading is None else reading_fault(registration.reading)
    if fault is not None:
        yield fault


def properties_fault(field: str, properties: Mapping[str, str]) -> str | None:
    """What is wrong with labels or capabilities, or None."""
    return next(_property_faults(field, properties), None)


def _property_faults(field: str, properties: Mapping[str, str]) -> Iterator[str]:
    if len(properties) > MAX_PROPERTIES:
        yield f"{field}: {len(properties)} given, at most {MAX_PROPERTIES}"
    for key, value in properties.items():
        if _KEY.fullmatch(key) is None:
            yield f"{field}: {key[:80]!r} is not a key (64 letters, digits or _ . / -)"
        yield from _text_faults(f"{field}.{key[:64]}", value)


def order_fault(registration: Registration, session: int, sequence: int) -> str | None:
    """What is wrong with the numbers of a registration where these are known of the device (0, 0
    for a new one): so far ahead that nothing the device says itself would be new any more."""
    limit = SESSION.limit(session)
    if registration.session > limit:
        rule = f"is too far ahead of {session}, which is known; at most {limit}"
        return f"session: {registration.session} {rule}"
    return sequence_fault(registration.sequence, sequence * (registration.session == session))


def sequence_fault(said: int, known: int) -> str | None:
    """What is wrong with the number of a word where `known` is the newest of its session."""
    limit = SEQUENCE.limit(known)
    rule = f"is too far ahead of {known}, which is known; at most {limit}"
    return f"sequence: {said} {rule}" if said > limit else None


def _text_faults(field: str, text: str) -> Iterator[str]:
    if len(text) > MAX_TEXT or text_fault(text) is not None:
        yield f"{field}: {text[:80]!r} is not at most {MAX_TEXT} printable characters"


class _Desk:
    """One command's registrations, as they are taken in."""

    def __init__(self, step: Step, served_by: int) -> None:
        self.step, self.fleet = step, step.state.fleet
        self.served_by = served_by
        self.newcomers: dict[int, int] = {}  # row → ring
        self.returned: dict[int, Registration] = {}
        self.enrolled: list[Registration] = []
        self.refused: dict[str, str] = {}

    def take(self, position: int, registration: Registration) -> int:
        """The row of a device, or -1 when it is refused."""
        fault = registration_fault(registration)
        row = self.fleet.row(registration.id)
        if fault is None and row is None and len(self.fleet) >= MAX_DEVICES:
            fault = f"id: the fleet has {MAX_DEVICES} devices, there is no room for another"
        if fault is None:
            fault = enrolment_fault(self.step.state, registration, self.step.wall)
        if fault is None and row is not None and is_enrolled(self.fleet, registration):
            return row
        if fault is None:
            fault = self._order_fault(row, registration)
        if fault is not None:
            self.refused[str(position)] = fault
            return -1
        row = self._newcomer(registration) if row is None else self._known(row, registration)
        if enrol(self.step, row, registration):
            self.enrolled.append(registration)
        return row

    def _order_fault(self, row: int | None, registration: Registration) -> str | None:
        if row is None:
            return order_fault(registration, 0, 0)
        table = self.fleet.table
        known = int(table.session[row])
        if registration.session < known:
            return f"session: {registration.session} {OLDER} {known}, which is known"
        return order_fault(registration, known, int(table.sequence[row]))

    def _newcomer(self, registration: Registration) -> int:
        fleet, table, now = self.fleet, self.fleet.table, self.step.now
        kind = kind_of(registration, imposed_by(self.step.state, registration, ()))
        row = table.add(registration.id, registration.name, kind)
        table.lot[row] = lot_of(self.step.state.cluster_id, registration.id)
        table.policy[row] = fleet.policy_of(kind)
        table.healthy[row] = registration.healthy
        table.online[row] = True
        table.home[row] = UNSET
        table.turned_at[row] = NEVER
        table.updated_at[row] = NEVER
        table.seen_at[row] = table.ring_since[row] = now
        table.session[row], table.sequence[row] = registration.session, registration.sequence
        table.served_by[row] = self.served_by
        if registration.reading is not None:
            table.bits[row], table.known[row] = registration.healthy, 1
            self._write(row, registration.reading)
        self.newcomers[row] = table.ring[row] = place(fleet, row)
        table.count(np.array([row]), 1)
        return row

    def _write(self, row: int, reading: Reading) -> None:
        table = self.fleet.table
        table.updated_at[row] = self.step.now
        for field in ("battery", "charging", "cpu", "memory", "disk"):
            getattr(table, field)[row] = getattr(reading, field)
        for name, value in reading.metrics.items():
            if table.knows_metric(name):
                table.metric(name)[row] = value

    def _known(self, row: int, registration: Registration) -> int:
        """A device that comes back. A repeated message changes nothing; one that enrols again has
        the labels of its token, however old its words are."""
        table = self.fleet.table
        stamp = (registration.session, registration.sequence)
        newest = (int(table.session[row]), int(table.sequence[row]))
        if stamp <= newest and not registration.enrolment:
            return row
        former = table.kinds[int(table.kind[row])]
        kind = kind_of(registration, imposed_by(self.step.state, registration, former.imposed))
        if _runs_another(kind, former):
            table.changed_at[row] = min(U32, self.step.now // 1_000)
        table.describe(row, registration.name, kind)
        policy = self.fleet.policy_of(kind)
        if policy != table.policy[row]:  # hardly ever, and counting costs more than all the rest
            with table.counted(np.array([row])):
                table.policy[row] = policy
        table.session[row], table.sequence[row] = max(stamp, newest)
        if registration.reading is not None:
            self._write(row, registration.reading)
        self.returned[row] = registration
        return row

    def close(self) -> None:
        """What is done for all of them at once."""
        if self.newcomers:
            rows = np.array(sorted(self.newcomers))
            rings = np.array([self.newcomers[row] for row in rows.tolist()], np.uint8)
            travel(self.step, Journey.of(rows, rings, MoveReason.REGISTERED))
        if self.returned:
            self._count_in()
        registered = np.array(sorted({*self.newcomers, *self.returned}), np.intp)
        if len(registered):
            self.step.emit(DevicesRegistered(*named(self.fleet.table, registered)))
        note_enrolled(self.step, self.enrolled)
        watch(self.step)

    def _count_in(self) -> None:
        """The first status of each session counts towards the verdict like any other."""
        rows = np.array(sorted(self.returned))
        back = [self.returned[row] for row in rows.tolist()]
        self.fleet.table.served_by[rows] = self.served_by
        bits = np.array([one.healthy for one in back], np.uint8)
        counts = np.array([one.reading is not None for one in back], np.uint8)
        take_in(self.step, Batch(rows, bits, counts))


def register_devices(step: Step, command: RegisterDevices) -> dict[str, object]:
    """Takes in every device that may be; the others are refused one by one."""
    if not 1 <= len(command.devices) <= MAX_REGISTRATIONS:
        rule = f"{len(command.devices)} given, 1 to {MAX_REGISTRATIONS} are due"
        raise Refused(Reason.INVALID, f"devices: {rule}")
    intake = _Desk(step, serving(step, command.node))
    rows = [intake.take(n, registration) for n, registration in enumerate(command.devices)]
    intake.close()
    table = step.state.fleet.table
    return {
        "rows": rows,
        "births": [int(table.birth[row]) if row >= 0 else 0 for row in rows],
        "rings": [RINGS[table.ring[row]].value if row >= 0 else "" for row in rows],
        "refused": intake.refused,
    }


def _runs_another(kind: Kind, former: Kind) -> bool:
    """Whether a version is reported that is not the one reported before."""
    pairs = ((kind.os_version, former.os_version), (kind.app_version, former.app_version))
    return any(now not in ("", before) for now, before in pairs)


def kind_of(registration: Registration, imposed: Properties) -> Kind:
    """What this device shares with others. `imposed`: labels that it cannot choose."""
    return Kind(
        registration.os_version,
        registration.app_version,
        tuple(sorted(registration.capabilities.items())),
        tuple(sorted((registration.labels | dict(imposed)).items())),
        imposed,
    )


def lot_of(cluster_id: str, device: str) -> int:
    """A hash of the id that nobody can choose beforehand without knowing the cluster: it
    decides between equals, and which cohort a device belongs to."""
    key = hashlib.blake2b(cluster_id.encode(), digest_size=32).digest()
    return int.from_bytes(hashlib.blake2b(device.encode(), key=key, digest_size=4).digest())


def place(fleet: Fleet, row: int) -> int:
    """The ring of a new device: of those it may stand in, the one furthest below its quota."""
    table, shares = fleet.table, fleet.shares
    group = int(table.policy[row])
    lacking = shares.lacking(group, table.standing(), table.by_class[..., 1].sum(axis=(0, 2, 3)))
    mask = shares.eligible(group, bool(table.healthy[row]))
    return furthest_below(lacking, mask, int(table.lot[row]))
