"""`certs`: a cluster's CA, its certificates, what is wrong with one."""

import enum
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from stationkeep.cluster.names import NAME_RULE, UID_RULE, is_uid, name_fault
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import READ_SECONDS, named
from stationkeep.node.cli.exchange import answer_of_anybody, understood
from stationkeep.node.cli.failures import (
    CommandError,
    ConfigurationError,
    MissingError,
    UnreachableError,
    UsageError,
)
from stationkeep.node.cli.members import ask_each
from stationkeep.node.cli.options import (
    Format,
    FormatOption,
    KeyOption,
    ReasonOption,
    UrlOption,
    client,
)
from stationkeep.node.cli.output import note, say, show
from stationkeep.node.cli.sending import given, send
from stationkeep.node.client import errors
from stationkeep.node.client.exchange import Call, actor
from stationkeep.node.client.problems import problem_of
from stationkeep.node.system.addresses import split_address, system_message

if TYPE_CHECKING:
    from stationkeep.node.security.certificates import Authority

T = TypeVar("T")
_PIN = re.compile(r"sha256:[0-9a-f]{64}")
MOST_OF_CA = 1 << 20
"""Bytes of an answer with a CA's certificates."""
CA_FILE, CA_KEY_FILE = "ca.pem", "ca.key"
DirOption = Annotated[Path, typer.Option("--dir", help="Where ca.pem and ca.key are.")]


class Kind(enum.StrEnum):
    """Whose certificate."""

    NODE = "node"
    DEVICE = "device"
    CLIENT = "client"


def ca(
    cluster: Annotated[str, typer.Option("--cluster", help="The name of the cluster.")],
    out: Annotated[Path, typer.Option("--out", help="The directory to write to.")],
    uid: Annotated[
        str | None, typer.Option("--uid", help="Of a cluster that has one already.")
    ] = None,
) -> None:
    """Makes a CA for a cluster: ca.pem, which all may read, and ca.key, which can make anybody a
    member. Interrupted, it may be repeated."""
    from stationkeep.node.security import certificates as made  # noqa: PLC0415

    _check_name("--cluster", cluster)
    if uid is not None and not is_uid(uid):
        raise UsageError(f"--uid {uid!r} refused: {UID_RULE}")
    certificate_file, key_file = out / CA_FILE, out / CA_KEY_FILE
    if certificate_file.exists():
        raise CommandError(f"{certificate_file} is there already: every cluster has one CA")
    try:
        out.mkdir(parents=True, exist_ok=True)
        key = made.key_in(_content(key_file)) if key_file.exists() else made.new_key()
        authority = made.new_authority(cluster, _now(), key, uid)
        if not key_file.exists():
            made.write(key_file, made.private_pem(key), made.PRIVATE)
        made.write(certificate_file, made.public_pem([authority.certificate]), made.PUBLIC)
    except made.CertificateError as error:
        raise CommandError(f"{key_file} {error}") from error
    except OSError as error:
        raise CommandError(f"{error.filename or out}: {error.strerror}") from error
    say(f"wrote {certificate_file} and {key_file}; keep the key where nobody else can read it")
    say(f"uid {authority.uid}\npin {made.pin(authority.certificate)}")


def issue(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="node, device or client.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its id, or the client's name.")],
    *,
    directory: DirOption = Path("tls"),
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", help="A DNS name or address of it, for browsers; repeatable."),
    ] = None,
    role: Annotated[str | None, typer.Option("--role", help="Of a client: what it may do.")] = None,
    days: Annotated[
        int, typer.Option("--days", min=1, max=3_650, help="How long it is good.")
    ] = 90,
    csr: Annotated[
        Path | None,
        typer.Option("--csr", help="Use the public key of this request; names in it are ignored."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write. Default: NAME.pem in --dir.")
    ] = None,
) -> None:
    """Issues a certificate. Without --csr a key is made too, and is in the same file, so that the
    two cannot be torn apart."""
    from stationkeep.node.security import certificates as made  # noqa: PLC0415
    from stationkeep.node.security.identity import Identity  # noqa: PLC0415

    _check_name("NAME", name)
    if (role is not None) is not (kind is Kind.CLIENT):
        raise UsageError("--role: a client has one, and nobody else")
    if role is not None:
        _check_name("--role", role)
    authority = _authority(directory)
    file = out or directory / f"{name}.pem"
    key = None
    if csr is None:
        key = made.new_key()
        public = key.public_key()
    else:
        public = _of(made.requested_key, csr)
    identity = Identity(authority.uid, kind.value, name, role or "")
    try:
        certificate = made.issue(authority, identity, public, _now(), days=days, hosts=hosts or ())
    except made.CertificateError as error:
        raise CommandError(str(error)) from error
    content = (made.private_pem(key) if key else b"") + made.public_pem([certificate])
    try:
        made.write(file, content, made.PRIVATE if key else made.PUBLIC)
    except OSError as error:
        raise CommandError(f"{error.filename or file}: {error.strerror}") from error
    what = "certificate and key" if key else "certificate"
    say(
        f"wrote {file}: {what} of {identity}, good until {certificate.not_valid_after_utc:%Y-%m-%d}"
    )


def inspect(
    what: Annotated[
        str, typer.Argument(metavar="FILE|HOST:PORT", help="Certificates in PEM, or who shows one.")
    ],
    *,
    trusted: Annotated[
        Path | None, typer.Option("--ca", help="The CA's certificates; judge by them.")
    ] = None,
    node: Annotated[
        str | None, typer.Option("--as", help="Would it do as the certificate of this node?")
    ] = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Shows the certificates in a file or of a port, and in sentences what is wrong with them.
    Fails if anything is."""
    from stationkeep.node.security.certificates import certificates_in  # noqa: PLC0415
    from stationkeep.node.security.inspection import inspect as inspected  # noqa: PLC0415

    bundle = None if trusted is None else _of(certificates_in, trusted)
    content = _shown(what) if _is_address(what) else _content(Path(what))
    answer = _named(what, lambda: inspected(content, bundle, node, time.time()))
    show(answer, format_, _lines)
    if answer["faults"]:
        raise CommandError("; ".join(f"{what} {fault}" for fault in answer["faults"]))


def certs_list(*, url: UrlOption = None, format_: FormatOption = Format.TABLE) -> None:
    """Lists the certificates that the nodes show on their HTTP ports, and how long each is good."""
    found, silent = ask_each(client(url), inspected_at)
    nodes = [{"node": name, **shown} for name, shown in found.items()]
    show({"nodes": nodes, "unanswered": silent}, format_, _listed)
    for name, why in silent.items():
        note(f"{name}: {why}")


def fetch(
    address: Annotated[str, typer.Argument(metavar="URL", help="Any node of the cluster.")],
    *,
    pins: Annotated[
        list[str],
        typer.Option("--pin", help="Of the CA, as `certs ca` and `certs inspect` say; repeatable."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path(CA_FILE),
) -> None:
    """Fetches a cluster's CA from any node. Who answers is not believed: only a CA with this pin is
    kept, which you have from elsewhere."""
    from stationkeep.node.security import certificates as made  # noqa: PLC0415

    for pin in pins:
        if not _PIN.fullmatch(pin):
            raise UsageError(f"--pin {pin!r} refused: sha256: and 64 hexadecimal digits")
    told = _told(named(address))
    kept = _named(address, lambda: made.pinned(told, pins))
    if not kept:
        found = ", ".join(map(made.pin, made.certificates_in(told)))
        raise CommandError(f"{address}: somebody else answers there, with the pin {found}")
    try:
        made.write(out, made.public_pem(kept), made.PUBLIC)
    except OSError as error:
        raise CommandError(f"{error.filename or out}: {error.strerror}") from error
    say(f"wrote {out}, pin {' and '.join(map(made.pin, kept))}")


def revoke(
    *,
    serial: Annotated[
        str, typer.Option("--serial", help="Of a node's certificate, as `certs list` shows it.")
    ],
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
) -> None:
    """Has no member accept a node's certificate any more, for good. A node that issues its own has
    a new one within seconds; any other needs one. (A node that is to go: nodes leave.)"""
    digits = serial.replace(":", "").lower().lstrip("0")
    body = given(serial=digits, reason=reason)
    what = f"certificate {digits} revoked"
    send(client(url), "POST", "/v1/tls/revocations", body, key=key, what=what)


def renew(
    node: Annotated[str | None, typer.Argument(help="A running node, by its id.")] = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="Every node.")] = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="This machine's node, by its YAML file; it need not run."),
    ] = None,
    url: UrlOption = None,
) -> None:
    """Has nodes issue themselves another certificate, with another key. Nothing is interrupted."""
    if [node is not None, all_, config is not None].count(True) != 1:
        raise UsageError("one of NODE, --all and --config")
    if config is not None:
        _renew_here(config)
        return
    asked = client(url)
    found, silent = ask_each(
        asked,
        lambda address: asked.at(address).write("POST", "/v1/tls/renew", None, None),
        None if node is None else {node},
    )
    if node is not None and not found and not silent:
        raise MissingError(unknown("node", node))
    for name, answer in found.items():
        say(f"{name} has a new certificate, serial {answer.get('serial')}")
    if silent:
        raise CommandError("\n".join(f"{name}: {why}" for name, why in silent.items()))


def _renew_here(config: Path) -> None:
    """A node that runs uses it within seconds."""
    from stationkeep.node.config import node_config as configuration  # noqa: PLC0415
    from stationkeep.node.runtime.certificates import issuer_of  # noqa: PLC0415

    try:
        loaded = configuration.load(config)
    except configuration.ConfigError as error:
        raise ConfigurationError(str(error)) from error
    issuer = None if loaded.tls is None else issuer_of(loaded, loaded.tls)
    if issuer is None:
        raise CommandError(f"{config}: `tls.dir` has no ca.key; `certs issue` where it is")
    if not issuer.renew(time.time()):
        raise CommandError(f"not renewed: {issuer.failed}")
    say(f"{loaded.node} has a new certificate; it is in use within seconds")


def _told(url: str) -> bytes:
    """The CA's certificates in PEM as whoever is at an address has it."""
    call = Call("GET", "/v1/tls/ca", actor(), READ_SECONDS, most=MOST_OF_CA)
    try:
        answer = answer_of_anybody(url, call)
    except errors.UnreachableError as error:
        raise UnreachableError(str(error)) from error
    problem = problem_of(answer)
    if problem is not None:
        raise CommandError(f"{url}: {problem.line}")
    pem: str = understood(answer, shapes.Ca)["pem"]
    return pem.encode()


def _is_address(what: str) -> bool:
    try:
        split_address(what)
    except ValueError:
        return False
    return not Path(what).exists()


def inspected_at(address: str) -> dict[str, Any]:
    """The certificates that an HTTPS port shows, and their faults."""
    from stationkeep.node.security.inspection import inspect as inspected  # noqa: PLC0415

    return _named(address, lambda: inspected(_shown(address), None, None, time.time()))


def _shown(address: str) -> bytes:
    from stationkeep.node.security.inspection import shown_at  # noqa: PLC0415

    try:
        return shown_at(*split_address(address))
    except (OSError, ValueError) as error:
        why = system_message(error) if isinstance(error, OSError) else ""
        raise CommandError(f"{address} shows no certificate: {why or 'no TLS'}") from error


def _listed(answer: dict[str, Any]) -> Any:
    from rich.text import Text  # noqa: PLC0415

    lines = []
    for node in answer["nodes"]:
        for one in node["certificates"]:
            lines.append(f"{node['node']}: {one['subject']}, {one['days_left']:,} days left")
            lines[-1] += f", serial {one['serial']}, issued by {one['issuer']}"
        lines += [f"  {fault}" for fault in node["faults"]]
    return Text("\n".join(lines))


def _lines(answer: dict[str, Any]) -> Any:
    from rich.text import Text  # noqa: PLC0415

    lines = []
    for one in answer["certificates"]:
        lines.append(f"{one['subject']}" + (f" of cluster {one['uid']}" if one["uid"] else ""))
        lines.append(f"  valid from {one['not_before']} to {one['not_after']}: ")
        lines[-1] += f"{one['days_left']:,} days left"
        lines.append(f"  issued by {one['issuer']}, serial {one['serial']}")
        lines.append(f"  for use as {' and '.join(one['purposes']) or 'neither server nor client'}")
        if one["hosts"]:
            lines.append(f"  for browsers: {', '.join(one['hosts'])}")
        lines.append(f"  pin {one['pin']}")
    return Text("\n".join(lines))


def _authority(directory: Path) -> "Authority":
    from stationkeep.node.security import certificates as made  # noqa: PLC0415

    key = _content(directory / CA_KEY_FILE)
    try:
        return made.authority(_content(directory / CA_FILE), key)
    except made.CertificateError as error:
        raise CommandError(f"{directory / CA_KEY_FILE} {error}") from error


def _of(reader: Callable[[bytes], T], file: Path) -> T:
    """What `reader` makes of a file; its complaint with the file's name in front."""
    content = _content(file)
    return _named(str(file), lambda: reader(content))


def _named(what: str, read: Callable[[], T]) -> T:
    """Puts in front of a complaint what it is about."""
    from stationkeep.node.security.certificates import CertificateError  # noqa: PLC0415

    try:
        return read()
    except CertificateError as error:
        raise CommandError(f"{what} {error}") from error


def _content(file: Path) -> bytes:
    from stationkeep.node.security import certificates as made  # noqa: PLC0415

    try:
        return made.read(file)
    except made.CertificateError as error:
        raise CommandError(f"{file} {error}") from error


def _check_name(option: str, name: str) -> None:
    if name_fault(name) is not None:
        raise UsageError(f"{option} {name!r} refused: {NAME_RULE}")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
