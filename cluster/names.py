"""What an id, a name and an address may look like.

The state machine refuses what breaks these rules, whoever proposed it: a door that asks here first
refuses it sooner, and in the same words, but no door has a rule of its own.
"""

import ipaddress
import re

MAX_NAME = 64
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""For the doors that publish a pattern; the length is beside it."""
NAME_RULE = "1 to 64 of the characters A-Z a-z 0-9 . _ -, beginning with a letter or digit"
ADDRESS_RULE = (
    "HOST:PORT, where HOST is a name, an IPv4 address or an IPv6 address in brackets, of one "
    "machine, and PORT is between 1 and 65535"
)
HOST_RULE = "a host name, without a port"
LOOPBACK_RULE = "on loopback (127.0.0.0/8, [::1], localhost) without certificates"
LOOPBACK_NAME = "localhost"

ANONYMOUS = "anonymous@"
"""Begins the name of an actor that gave none; what follows is its address."""
_LOWER = {code: chr(code).lower() for code in range(0x100)}
"""Of all that a header can hold. What has a small letter beyond that depends on the release of
Unicode, and replicas must not."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEVICE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}")
DEVICE_ID_RULE = "1 to 128 letters, digits or . _ : @ + - beginning with a letter or digit"
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
"""As RFC 1123 has it, and underscores, which names of containers have."""
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[Xx][0-9A-Fa-f]*)")
"""Hosts that browsers take for an IPv4 address (WHATWG URL, "ends in a number")."""
_UID = re.compile(r"[0-9a-f]{16}")
UID_RULE = "16 of the digits 0-9 a-f"
_RELEASE = re.compile(r"[0-9A-Za-z.+!-]{1,64}")
RELEASE_RULE = "the version of a release: 1 to 64 of the characters 0-9 A-Z a-z . + ! -"
_PORT = re.compile(r"[1-9][0-9]{0,4}")
MAX_HOST = 253
TEXT_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*$"
TEXT_RULE = "one line of text without control characters"
"""What is kept in the history is shown on people's terminals, and must be able neither to steer
them nor to turn the direction of what follows."""
_TEXT = re.compile(TEXT_PATTERN[1:-1])


def name_fault(name: str) -> str | None:
    """The rule that an id of a node, or a name of an action or a policy, breaks."""
    return None if _NAME.fullmatch(name) else NAME_RULE


def is_release(text: str) -> bool:
    """Whether it can be the version of a release (PEP 440 has no other characters)."""
    return _RELEASE.fullmatch(text) is not None


def is_uid(text: str) -> bool:
    """Whether it can be the uid of a cluster."""
    return _UID.fullmatch(text) is not None


def text_fault(text: str) -> str | None:
    """The rule that a text for people breaks."""
    return None if _TEXT.fullmatch(text) else TEXT_RULE


def address_fault(address: str) -> str | None:
    """The rule that an address breaks by which others are to reach a member.

    It becomes part of URLs, of a page's policy and of what browsers are told may read answers.
    """
    host, _, port = address.rpartition(":")
    bare = _bare(host)
    well_formed = bare is not None and _PORT.fullmatch(port) is not None and int(port) < 65_536
    return None if well_formed else ADDRESS_RULE


def host_fault(host: str) -> str | None:
    """The rule that the name of a host breaks; an address is no name."""
    is_name = len(host) <= MAX_HOST and _HOST.fullmatch(host) and not _NUMERIC.fullmatch(host)
    return None if is_name else HOST_RULE


def link_fault(address: str) -> str | None:
    """`address_fault`, and the rule that links between members do not leave the machine: they are
    neither encrypted nor authenticated."""
    fault = address_fault(address)
    if fault is None and not is_loopback(_bare(address.rpartition(":")[0]) or ""):
        return LOOPBACK_RULE
    return fault


def is_loopback(host: str) -> bool:
    """Whether a host name or address stays on this machine; IPv6 without brackets."""
    if host == LOOPBACK_NAME:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bare(host: str) -> str | None:
    """A host without brackets; None for what is none, or not that of one machine."""
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1] if _is_one(host[1:-1], 6) else None
    if _NUMERIC.fullmatch(host):
        return host if _is_one(host, 4) else None
    return host if len(host) <= MAX_HOST and _HOST.fullmatch(host) else None


def _is_one(text: str, version: int) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    scoped = "%" in text  # means something on one machine only
    several = address.is_unspecified or address.is_multicast
    return address.version == version and not (several or scoped)


def speaks_for(ids: str, device: str) -> bool:
    """Whether a token with these `ids` (the id of a device, or what ids begin with and a `*`) is
    about a device."""
    return device.startswith(ids[:-1]) if ids.endswith("*") else device == ids


def party(actor: str) -> str:
    """Whose share an order is reckoned to, and who must not approve it: names are one whatever
    their case and the blanks around them, whichever of their tokens is used (`NAME#ID`), and all
    who give no name are one."""
    name = actor.partition("#")[0].strip().translate(_LOWER)
    return ANONYMOUS if name.startswith(ANONYMOUS) else name
