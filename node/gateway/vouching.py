"""By what a device is registered: an enrolment token, its own credential, or what speaks for many.

The log judges it (`cluster.fleet.enrolment`); what a device says of itself counts for nothing here.
"""

from msgspec.structs import replace

from stationkeep.cluster.commands import Registration
from stationkeep.node.http.access import Caller
from stationkeep.node.wire.faults import Fault

FIELD = "credential_sha256"


def vouched(registration: Registration, said: str | None, caller: Caller) -> Registration | Fault:
    """A registration with that by which it comes; `said`: the hash of the secret that the device
    has drawn. A node that asks nobody who they are has no use for one."""
    if caller.enrolment:
        if said is None:
            return Fault(FIELD, "", "the SHA-256 of the device's own secret; this token enrols")
        return replace(registration, credential=bytes.fromhex(said), enrolment=caller.enrolment)
    if said is not None and caller.name:
        return Fault(FIELD, said, "only who comes with an enrolment token says one")
    return replace(registration, credential=caller.credential)
