"""A name server for the machines of a test: what it says, and whether it says anything."""

import socket
import socketserver
import struct
import threading
from typing import Any, Literal

Mood = Literal["answers", "silent", "unknown", "failing"]
_CODES = {"answers": 0, "failing": 2, "unknown": 3}  # RFC 1035, 4.1.1
_TYPES = {1: socket.AF_INET, 28: socket.AF_INET6}
_HEAD = struct.Struct("!6H")


class NameServer:
    """Serves port 53 of one address, UDP, from `start` to `stop`. `known` and `mood` may change at
    any time: answers have a life of 0 s."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        """Addresses of each name, IPv4 and IPv6."""
        self.mood: Mood = "answers"
        self.asked: list[str] = []
        """Names, in the order of the questions."""

    def start(self, address: str) -> None:
        names = self

        class Question(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, sock = self.request
                answer = names.answer(data)
                if answer is not None:
                    sock.sendto(answer, self.client_address)

        self._server = socketserver.UDPServer((address, 53), Question)
        serve: dict[str, Any] = {"poll_interval": 0.05}
        threading.Thread(target=self._server.serve_forever, kwargs=serve, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, data: bytes) -> bytes | None:
        """What is said to a question; None: nothing."""
        number, *_ = _HEAD.unpack_from(data)
        name, end = _name(data)
        (kind,) = struct.unpack_from("!H", data, end)
        self.asked.append(name)
        if self.mood == "silent":
            return None
        code = _CODES["unknown" if name not in self.known else self.mood]
        found = [packed for text in self.known.get(name, []) if (packed := _packed(text, kind))]
        found = [] if code else found
        head = _HEAD.pack(number, 0x8580 | code, 1, len(found), 0, 0)
        records = [struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(one)) + one for one in found]
        return b"".join([head, data[_HEAD.size : end + 4], *records])


def _name(data: bytes) -> tuple[str, int]:
    """The name in a question, and where it ends."""
    at, labels = _HEAD.size, []
    while size := data[at]:
        labels.append(data[at + 1 : at + 1 + size].decode("ascii").lower())
        at += 1 + size
    return ".".join(labels), at + 1


def _packed(address: str, kind: int) -> bytes | None:
    """An address in a record of this type; None if it is of another."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address) if _TYPES.get(kind) == family else None
