"""`certs rotate-ca`: another CA with a new key, while everything runs."""

import enum
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from stationkeep.node.cli import contexts, shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError, NoQuorumError, UnreachableError, UsageError
from stationkeep.node.cli.options import (
    Format,
    FormatOption,
    KeyOption,
    ReasonOption,
    UrlOption,
    client,
)
from stationkeep.node.cli.output import note, show
from stationkeep.node.cli.sending import given, send
from stationkeep.node.system.operator_files import read_small

PATH = "/v1/tls/rotation"
POLL_SECONDS = 1.0
PATIENCE = 60.0
"""Seconds for which a cluster that does not answer is asked again; a failover is over by then."""
MOST_OF_CA = 8_192
"""Bytes of a CA's certificate."""


class Order(enum.StrEnum):
    """What to do about the CA."""

    STATUS = "status"
    START = "start"
    FINISH = "finish"
    ABORT = "abort"


def rotate_ca(
    order: Annotated[Order, typer.Argument(metavar="status|start|finish|abort")] = Order.STATUS,
    *,
    second: Annotated[
        Path | None, typer.Option("--second", help="Of start: a CA made elsewhere (certs ca).")
    ] = None,
    leave_behind: Annotated[
        int | None,
        typer.Option("--leave-behind", min=0, help="Of finish: devices that were not told."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until no node is waited for.")] = False,
    reason: ReasonOption = None,
    key: KeyOption = None,
    url: UrlOption = None,
    format_: FormatOption = Format.TABLE,
) -> None:
    """Replaces the CA while everything runs: `start`, `finish` when all have followed; `abort` is a
    step back."""
    if second is not None and order is not Order.START:
        raise UsageError("--second is of start")
    if leave_behind is not None and order is not Order.FINISH:
        raise UsageError("--leave-behind is of finish")
    asked = client(url)
    if order is Order.FINISH:
        _learn(asked)  # since nodes soon prove who they are by the second CA
    if order is not Order.STATUS:
        pem = None if second is None else _content(second)
        body = given(pem=pem, leave_behind=leave_behind, reason=reason)
        what = f"rotate-ca {order.value}"
        path = f"{PATH}/{order.value}"
        send(asked, "POST", path, body, key=key, what=what, preliminary=True)
    answer = _awaited(asked) if wait else _asked(asked)
    _learn(asked)
    show(answer, format_, _lines)


def _content(file: Path) -> str:
    try:
        return read_small(str(file), MOST_OF_CA).decode("ascii")
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror or error}") from error
    except ValueError as error:
        raise CommandError(f"{file}: no certificate in PEM") from error


def _asked(asked: Client) -> dict[str, Any]:
    answer: dict[str, Any] = asked.get(PATH, shapes.CaRotation)
    return answer


def _awaited(asked: Client) -> dict[str, Any]:
    """When no node is waited for any more; a line for each change of whom."""
    last, heard = "", time.monotonic()
    while True:
        try:
            answer = _asked(asked)
        except (UnreachableError, NoQuorumError):
            if time.monotonic() - heard > PATIENCE:
                raise
        else:
            heard = time.monotonic()
            if not answer["waits"]:
                return answer
            if answer["waits"] != last:
                last = answer["waits"]
                note(f"waiting: {last}")
        time.sleep(POLL_SECONDS)


def _learn(asked: Client) -> None:
    """The copy of the CA that a login has kept follows."""
    found: dict[str, Any] = asked.get("/v1/tls/ca", shapes.Ca)
    copy = contexts.learn_ca(found["pem"])
    if copy:
        note(f"{copy} has what the cluster trusts now")


def _lines(answer: dict[str, Any]) -> Any:
    from rich.text import Text  # noqa: PLC0415

    return Text("\n".join(_sentences(answer)))


def _sentences(answer: dict[str, Any]) -> list[str]:
    phase = answer["phase"]
    if phase == "none":
        return ["the CA was never replaced", *_exposed(answer)]
    lines = [f"{phase}: {answer['second']} in the place of {' and '.join(answer['first'])}"]
    done = answer["members"] - len(answer["lagging"])
    if phase in ("trusting", "issuing"):
        what = "trust both" if phase == "trusting" else "show a certificate of the second"
        lines.append(f"nodes: {done} of {answer['members']} {what}")
        if answer["waits"]:
            lines.append(f"waits: {answer['waits']}")
    if phase == "trusting":
        lines.append(f"devices: {answer['devices_behind']} have not been told of the second CA")
        if not answer["waits"]:
            lines.append("bring the CAs to clients and programs (certs fetch); then: finish")
    return lines + _exposed(answer)


def _exposed(answer: dict[str, Any]) -> list[str]:
    names = ", ".join(answer["exposed"])
    return [f"in foreign hands, with the CA's key: {names}"] if names else []
