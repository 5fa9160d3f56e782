"""Certificates that nobody accepts any more, though they are not over yet.

Kept is the serial number alone, which a CA gives once. Dates play no part, so that the list is the
same everywhere whatever a clock shows. Source: guide/certificates.md, "Revoke one".
"""

import re

from stationkeep.cluster.commands import RevokeCertificate
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.state import MAX_REVOKED
from stationkeep.cluster.state.step import Refused, Step

SERIAL = re.compile(r"[1-9a-f][0-9a-f]{0,39}")
SERIAL_RULE = "1 to 40 hexadecimal digits in lower case, without zeros in front"
"""At most 20 bytes: RFC 5280, 4.1.2.2."""


def revoke_certificate(step: Step, command: RevokeCertificate) -> dict[str, object]:
    """Nothing is changed about one that was revoked before. None is ever forgotten, since it would
    be good again then."""
    serial, revoked = command.serial, step.state.revoked
    if not SERIAL.fullmatch(serial):
        raise Refused(Reason.INVALID, f"serial: {serial[:64]!r} is not {SERIAL_RULE}")
    if serial not in revoked:
        if len(revoked) >= MAX_REVOKED:
            detail = f"serial: {MAX_REVOKED} are revoked: replace the CA"
            raise Refused(Reason.LIMIT, detail)
        revoked[serial] = step.now
        step.decide("certificate", Outcome.DONE, (), facts={"serial": serial})
    return {"serial": serial, "at_ms": revoked[serial]}
