"""Devices with certificates of a CA that is not the cluster's own, and which device each is.

Such a CA has rules of its own for names. The id is what follows the last `/` or `:` in the one URI
among a certificate's subject alternative names, or its one common name, as the node's file says.
Whatever else it says counts for nothing, also where it is written as in a certificate of ours.
"""

import enum
from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from stationkeep.cluster.names import name_fault
from stationkeep.node.security import certificates as made
from stationkeep.node.security.identity import Facts, Identity


class IdFrom(enum.StrEnum):
    """Where in a certificate the id of a device is."""

    SAN_URI = "san-uri"
    CN = "cn"


class ForeignDevices(NamedTuple):
    """`bundle`: the foreign CA; `uid`: of the cluster."""

    bundle: Sequence[x509.Certificate]
    uid: str
    id_from: IdFrom

    def read(self, leaf: x509.Certificate, facts: Facts) -> Facts:
        """The facts of a certificate of this CA, with the identity of the device that it is of, if
        of any."""
        device = self._device(leaf)
        return facts._replace(
            uris=() if device is None else (Identity(self.uid, "device", device).uri,)
        )

    def _device(self, leaf: x509.Certificate) -> str | None:
        try:
            found = _uris(leaf) if self.id_from is IdFrom.SAN_URI else _common_names(leaf)
        except ValueError:  # what cannot be read is of nobody
            return None
        return found[0] if len(found) == 1 and name_fault(found[0]) is None else None


def _uris(leaf: x509.Certificate) -> list[str]:
    return [uri.replace(":", "/").rpartition("/")[2] for uri in made.facts_of(leaf).uris]


def _common_names(leaf: x509.Certificate) -> list[str]:
    return [str(name.value) for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
