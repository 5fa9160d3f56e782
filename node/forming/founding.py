"""The first node of a cluster: a CA, and a file with which it founds the cluster alone.

The CA's certificate is written last. Without it nothing can be used, and the same key makes the
same CA again: whoever was interrupted runs it again.
"""

import time
from datetime import UTC, datetime
from typing import NamedTuple

from stationkeep.node.config.node_config import ConfigError, load
from stationkeep.node.forming.place import SHARED, FormingError, Place, alone_in, check_silent, save
from stationkeep.node.runtime.certificates import issuer_of
from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import Authority, CertificateError
from stationkeep.node.system.operator_files import read_small


class Founded(NamedTuple):
    """Names of a new CA, as people compare them."""

    uid: str
    pin: str


def found(place: Place, cluster: str, profile: str) -> Founded:
    """Makes this machine the first node of `cluster`. Raises `FormingError`."""
    text = place.text("init", cluster, [place.own], profile=profile)
    _check_free(place, text)
    check_silent(place.own)
    with alone_in(place.tls_dir, SHARED):
        _check_free(place, text)  # somebody may have been quicker
        authority = _authority(place, cluster)
        save(place.ca_key, made.private_pem(authority.key), made.PRIVATE)
        save(place.config, text, made.PUBLIC)
        save(place.ca, made.public_pem([authority.certificate]), made.PUBLIC)
        _issue(place)
    return Founded(authority.uid, made.pin(authority.certificate))


def _check_free(place: Place, text: bytes) -> None:
    if place.ca.exists():
        raise FormingError(f"{place.ca} is there already: every cluster has one CA")
    if place.config.exists() and not _was_interrupted(place, text):
        raise FormingError(f"{place.config} is there already: this machine has a node")
    place.check_unused()


def _was_interrupted(place: Place, text: bytes) -> bool:
    """Whether the node's file is there because this has been run before."""
    try:
        return read_small(place.config, len(text)) == text
    except OSError:
        return False


def _authority(place: Place, cluster: str) -> Authority:
    try:
        key = made.key_in(made.read(place.ca_key)) if place.ca_key.exists() else made.new_key()
    except CertificateError as error:
        raise FormingError(f"{place.ca_key} {error}") from error
    return made.new_authority(cluster, datetime.now(UTC).replace(microsecond=0), key)


def _issue(place: Place) -> None:
    """The node's first certificate, which it would else issue when it starts."""
    try:
        config = load(place.config, {})
    except ConfigError as error:
        raise FormingError(str(error)) from error
    issuer = config.tls and issuer_of(config, config.tls)
    if issuer and not issuer.renew(time.time()):
        raise FormingError(f"no certificate for {config.node}: {issuer.failed}")
