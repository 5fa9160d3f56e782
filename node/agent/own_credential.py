"""A device's own credential: drawn here, kept in a file, shown from its enrolment on.

The secret is on disk before anybody hears of it, so that an answer that is lost, or a crash, costs
nothing: the device says the same again. It shows the enrolment token until it has been told that it
is enrolled, then what is its own. A node that will not have the one is shown the other next time:
an answer may have been lost with the token used up since, or the device been removed. Pauses grow
all the same (see `link`). A secret that was revoked is never good again, so that another is drawn,
which an operator may have the device enrol with. Source: guide/access.md, "Enrolment".
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Unpack

from stationkeep.node.agent.turned_away import REVOKED
from stationkeep.node.security.credentials import Access, Credentials
from stationkeep.node.security.device_secrets import DeviceSecret, draw, parse
from stationkeep.node.security.tokens import TokenFault, enrols
from stationkeep.node.system.operator_files import private_directory, read_small
from stationkeep.node.system.small_file import SmallFile

MAX_FILE = 1_024
"""Bytes of the file; a credential has 186 at the most."""
ENROLLED = "enrolled"
"""Second line of the file, once it is."""


class OwnCredentials(Credentials):
    """What a device shows that has a credential of its own, or gets one: with an enrolment token.
    Any other token is shown as it is. Raises ValueError as `Credentials`, and for the file."""

    def __init__(
        self,
        device: str,
        file: str | os.PathLike[str],
        said: Iterable[str] = (),
        **access: Unpack[Access],
    ) -> None:
        self._device, self._path = device, Path(file)
        self._own, self._shows_own = _kept(self._path, device)
        given = access.get("token_file")
        if self._own is not None and given is not None and not Path(given).exists():
            access = {**access, "token": "", "token_file": None}  # it has done its work
        super().__init__(said, **access)
        if self._token and not enrols(self._token):
            self._own = None
        elif self._token and self._own is None:
            try:
                self._draw_first()
            except OSError as error:
                raise _unusable(self._path, error.strerror or error) from error
        elif not self._token:
            self._shows_own = self._own is not None

    @property
    def token(self) -> str:
        return self._own.text if self._own is not None and self._shows_own else self._token

    @property
    def own(self) -> bool:
        return self._own is not None

    def renewed(self, refused: str) -> bool:
        mine = self._own is not None and refused == self._own.text
        if mine or not super().renewed(refused):
            return False
        if self._own is None and enrols(self._token):  # in place of one that speaks for many
            try:
                self._own, self._shows_own = _kept(self._path, self._device)
                if self._own is None:
                    self._draw_first()
            except (OSError, ValueError):
                return False
        return True

    def sha256_for(self, shown: str) -> str | None:
        return self._own.hash.hex() if self._own is not None and enrols(shown) else None

    def enrolled(self) -> None:
        self._shows_own = True
        with contextlib.suppress(OSError):  # at the next start it enrols once more, and is answered
            self._keep()

    def turned_away(self, shown: str, rule: str) -> None:
        """Two connections may have shown the same: what counts is what this one did."""
        if self._own is None or not self._token:
            return
        mine = shown == self._own.text
        if mine and rule == REVOKED:
            with contextlib.suppress(OSError):  # the next time, then
                self._draw()
        elif mine or shown == self._token:
            self._shows_own = not mine

    def _draw_first(self) -> None:
        """Where two agents of one device start at once, both have what the first of them drew: the
        other's would be enrolled, and forgotten. Raises OSError, ValueError."""
        drawn = draw(self._device)
        private_directory(self._path.parent)
        if SmallFile(self._path).create(_content(drawn)):
            self._own = drawn
        else:
            self._own, self._shows_own = _kept(self._path, self._device)

    def _draw(self) -> None:
        """Raises OSError, and nothing is changed."""
        former = self._own, self._shows_own
        self._own, self._shows_own = draw(self._device), False
        try:
            self._keep()
        except OSError:
            self._own, self._shows_own = former
            raise

    def _keep(self) -> None:
        assert self._own is not None
        private_directory(self._path.parent)
        SmallFile(self._path).save(_content(self._own, *([ENROLLED] if self._shows_own else [])))


def credentials_of(
    device: str,
    file: str | os.PathLike[str] | None,
    said: Iterable[str],
    **access: Unpack[Access],
) -> Credentials:
    """What a device shows; with a `file`, what is its own. Raises ValueError."""
    if file is not None:
        return OwnCredentials(device, file, said, **access)
    found = Credentials(said, **access)
    if enrols(found.token):
        raise ValueError("credential_file: a device that enrols keeps its own credential in one")
    return found


def _content(secret: DeviceSecret, *words: str) -> bytes:
    return "".join(f"{line}\n" for line in (secret.text, *words)).encode()


def _unusable(path: Path, why: object) -> ValueError:
    return ValueError(f"credential_file: {path}: {why}")


def _kept(path: Path, device: str) -> tuple[DeviceSecret | None, bool]:
    """The credential in a file, and whether it was enrolled; None when there is no file."""
    try:
        lines = read_small(path, MAX_FILE).decode("latin-1").split()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None, False
    except OSError as error:
        raise _unusable(path, error.strerror or error) from error
    if mode & 0o077:
        raise _unusable(path, "others can read it (chmod 600)")
    try:
        kept = parse(lines[0] if lines else "")
    except TokenFault as fault:
        raise _unusable(path, fault) from None
    if kept.device != device:
        raise _unusable(path, f"it is that of {kept.device}, not of {device}")
    return kept, ENROLLED in lines[1:]
