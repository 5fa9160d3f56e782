"""Who is a member, where it is reached, and where this node listens.

Beyond loopback a node must be able to tell friend from stranger, or be told to do without.
"""

from collections.abc import Callable

from stationkeep.cluster.commands import MemberSpec
from stationkeep.cluster.names import (
    ADDRESS_RULE,
    NAME_RULE,
    address_fault,
    is_loopback,
    link_fault,
    name_fault,
)
from stationkeep.cluster.state.state import MAX_MEMBERS
from stationkeep.node.config.yaml_document import Value
from stationkeep.node.system.addresses import join_address, split_address
from stationkeep.node.system.resolver import is_address

EVERYWHERE = "0.0.0.0"  # noqa: S104 - beyond loopback whoever reaches a port shows who they are
BEYOND_LOOPBACK = {
    "raft": "beyond loopback (127.0.0.0/8, ::1, localhost) `tls:` is needed; `insecure: true` does "
    "without",
    "http": "beyond loopback (127.0.0.0/8, ::1, localhost) `tls:` and `auth: required` are needed; "
    "`insecure: true` does without, and lets anybody give every order unless there is `auth:`",
}


def read_members(root: Value, node: str) -> tuple[MemberSpec, ...]:
    """Every member, this one where it says of itself that it is reached (`advertise`); errors go
    into the document."""
    table = root.required("members", "every member with its raft and http address")
    if table is None:
        return ()
    entries = table.mapping()
    reaches_out = root.child("tls") is not None or _is_insecure(root)
    fault_of = address_fault if reaches_out else link_fault
    if isinstance(table.raw, dict) and not 1 <= len(entries) <= MAX_MEMBERS:
        table.refuse(f"between 1 and {MAX_MEMBERS} members", len(entries))
    advertised = root.child("advertise")
    if advertised is not None:
        advertised.known(("raft", "http"))
    members, used = [], dict[str, str]()
    for name, value in sorted(entries.items()):
        if name_fault(name):
            value.refuse(NAME_RULE, name)
        value.known(("raft", "http"))
        at = {
            "raft": value.required("raft", "host:port for the other members"),
            "http": value.required("http", "host:port for clients"),
        }
        if name == node and advertised is not None:
            at |= {field: child for field in at if (child := advertised.child(field)) is not None}
        raft, http = _reached(at["raft"], fault_of), _reached(at["http"], address_fault)
        for field, address in (("raft", raft), ("http", http)):
            child = at[field]
            if child is not None and address and address in used:
                child.refuse(f"every address once; {used[address]} has it too")
            used[address] = f"{name}.{field}"
        members.append(MemberSpec(name, raft, http))
    _check_own_loopback(advertised or table.mapping().get(node), members, node)
    return tuple(members)


def read_listener(root: Value, field: str, advertised: str) -> str:
    """The address to listen on, by default the advertised one, and where that has a name every one
    of this machine: the name may lead elsewhere here, or not resolve yet. Errors go into the
    document. Beyond loopback members must know each other by their certificates, and clients by
    their tokens; whoever does without listens where it says."""
    value = root.child(field)
    table = root.child("members")
    address = _address(value) if value is not None else advertised
    place = value or table or root
    try:
        host, port = split_address(address)
    except ValueError:
        return address
    auth = root.child("auth")
    known = field == "raft" or (auth is not None and auth.raw == "required")
    secured = root.child("tls") is not None and known
    if not (is_loopback(host) or secured or _is_insecure(root)):
        place.refuse(BEYOND_LOOPBACK[field], address)
    is_named = not (is_loopback(host) or is_address(host))
    return join_address(EVERYWHERE, port) if value is None and is_named and secured else address


def _is_insecure(root: Value) -> bool:
    flag = root.child("insecure")
    return flag is not None and flag.raw is True


def _check_own_loopback(place: Value | None, members: list[MemberSpec], node: str) -> None:
    """Nobody on another machine reaches this one on its own loopback."""
    beyond = [m.raft for m in members if m.raft and not is_loopback(split_address(m.raft)[0])]
    own = next((m.raft for m in members if m.id == node), "")
    if place is not None and own and beyond and own not in beyond:
        child = place.child("raft") or place
        child.refuse(f"an address that {beyond[0]} can reach: this is loopback", own)


def _reached(value: Value | None, fault_of: Callable[[str], str | None]) -> str:
    """An address at which others reach a member."""
    text = "" if value is None else value.text(ADDRESS_RULE)
    fault = fault_of(text) if text else None
    if value is not None and fault is not None:
        value.refuse(fault)
        return ""
    return text


def _address(value: Value) -> str:
    text = value.text("an address host:port")
    if text:
        value.through(lambda _: split_address(text), ("", 0))
    return text
