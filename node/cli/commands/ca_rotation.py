"""`certs rotate-ca`: another CA with a new key, step by step; each asks first if nodes follow."""

import enum
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.members import ask_each
from stationkeep.node.cli.options import Format, FormatOption, UrlOption, client
from stationkeep.node.cli.output import note, say, show

if TYPE_CHECKING:
    from stationkeep.node.security.rotation import Rotation


class Step(enum.StrEnum):
    """Of a rotation."""

    STATUS = "status"
    START = "start"
    SWITCH = "switch"
    FINISH = "finish"
    ABORT = "abort"


class Trust(NamedTuple):
    """What a node says of itself."""

    trusts: list[str]
    issued_by: str


def rotate_ca(
    step: Annotated[Step, typer.Argument(metavar="status|start|switch|finish|abort")] = Step.STATUS,
    *,
    directory: Annotated[Path, typer.Option("--dir", help="Where ca.pem and ca.key are.")] = Path(
        "tls"
    ),
    force: Annotated[
        bool, typer.Option("--force", help="Although nodes do not follow, or do not answer.")
    ] = False,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Replaces the CA in steps, each of which can be taken back: start, switch, finish; abort."""
    from stationkeep.node.security.certificates import CertificateError  # noqa: PLC0415
    from stationkeep.node.security.rotation import Rotation  # noqa: PLC0415

    asked = client(url)
    if step is Step.STATUS:
        _show_status(asked, format_)
        return
    try:
        _STEPS[step](Rotation(directory), asked, force)
    except CertificateError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or directory}: {error.strerror}") from error


def _start(rotation: "Rotation", _asked: Client, _force: bool) -> None:
    from stationkeep.node.security.certificates import pin  # noqa: PLC0415

    rotation.start(datetime.now(UTC).replace(microsecond=0))
    say(f"ca.pem has the second CA too, pin {pin(rotation.incoming)}; ca.next.key is its key")
    say("bring ca.pem to all clients and devices, both files to all nodes; then: switch")


def _switch(rotation: "Rotation", asked: Client, force: bool) -> None:
    from stationkeep.node.security.certificates import pin  # noqa: PLC0415

    second = pin(rotation.incoming)
    lacking = "does not trust the second CA"
    _check(asked, force, lambda node: None if second in node.trusts else lacking)
    rotation.switch()
    say("the second CA issues: nodes with this ca.key renew within seconds; then: finish")


def _finish(rotation: "Rotation", asked: Client, force: bool) -> None:
    from stationkeep.node.security.certificates import pin  # noqa: PLC0415

    second = pin(rotation.incoming)
    lacking = "shows a certificate of another CA"
    _check(asked, force, lambda node: None if node.issued_by == second else lacking)
    rotation.finish()
    say("ca.pem has the second CA alone, and the first one's key is gone; this has no way back")


def _abort(rotation: "Rotation", asked: Client, force: bool) -> None:
    from stationkeep.node.security.certificates import pin  # noqa: PLC0415
    from stationkeep.node.security.rotation import Phase  # noqa: PLC0415

    if rotation.phase is Phase.STARTED:
        second = pin(rotation.incoming)
        lacking = "shows a certificate of the second CA"
        _check(asked, force, lambda node: lacking if node.issued_by == second else None)
    rotation.abort()
    if rotation.phase is Phase.STARTED:
        say("the first CA issues again; when all nodes have renewed, a second abort ends it")
    else:
        say("ca.pem has the first CA alone")


_STEPS: dict[Step, Callable[["Rotation", Client, bool], None]] = {
    Step.START: _start,
    Step.SWITCH: _switch,
    Step.FINISH: _finish,
    Step.ABORT: _abort,
}


def _check(asked: Client, force: bool, fault: Callable[[Trust], str | None]) -> None:
    """Raises `CommandError` if a node does not follow, unless that is to be."""
    if force:
        return
    found, silent = _ask_each(asked)
    faults = [f"{name} {why}" for name, node in found.items() if (why := fault(node)) is not None]
    faults += [f"{name} does not answer" for name in silent]
    if faults:
        raise CommandError(f"{'; '.join(faults)}. Nothing was changed (--force: although)")


def _show_status(asked: Client, format_: Format) -> None:
    found, silent = _ask_each(asked)
    items = [{"node": name, **node._asdict()} for name, node in found.items()]
    show({"nodes": items, "unanswered": silent}, format_, _lines)
    for name, why in silent.items():
        note(f"{name}: {why}")


def _lines(answer: dict[str, Any]) -> Any:
    from rich.text import Text  # noqa: PLC0415

    return Text(
        "\n".join(
            f"{node['node']}: certificate of {node['issued_by'] or '?'}, trusts "
            f"{' and '.join(node['trusts']) or '?'}"
            for node in answer["nodes"]
        )
    )


def _ask_each(asked: Client) -> tuple[dict[str, Trust], dict[str, str]]:
    """What each member trusts and shows, and by name why some did not answer."""

    def ask(address: str) -> Trust:
        said: dict[str, Any] = asked.at(address).get("/v1/tls/ca", shapes.Ca)
        return Trust(said.get("pins", []), said.get("issued_by", ""))

    return ask_each(asked, ask)
