"""The HTTP server of a node: uvicorn, with devices beside it, on a port that is bound before."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import uvicorn

from stationkeep.cluster.names import is_loopback
from stationkeep.cluster.state.state import Token
from stationkeep.node.peers.hello import Refusals
from stationkeep.node.security.accepting import Acceptor
from stationkeep.node.security.contexts import HTTP, Contexts
from stationkeep.node.service.node_service import NodeService
from stationkeep.node.system.addresses import bind_problem, split_address
from stationkeep.node.system.streams import narrow

HTTP_GRACE = 1
"""Seconds for requests under way at the end."""


class StartError(Exception):
    """The node cannot start; the message says why and what to do. `code`: of the process's exit."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: the node decides when to stop."""

    def __init__(
        self, service: NodeService, tls: Contexts | None = None, local: Token | None = None
    ) -> None:
        """`local`: the token of this node's own administrator, where there are tokens."""
        # Slow to import, and not for tests.
        from stationkeep.node.api.app import create_app  # noqa: PLC0415
        from stationkeep.node.api.resources import rings, roles  # noqa: PLC0415
        from stationkeep.node.api.resources.probes import PROBES  # noqa: PLC0415
        from stationkeep.node.gateway.sessions import Sessions  # noqa: PLC0415
        from stationkeep.node.http.access import Admission  # noqa: PLC0415
        from stationkeep.node.http.connections import Connection, raise_descriptors  # noqa: PLC0415
        from stationkeep.node.http.crowd import Crowd  # noqa: PLC0415

        raise_descriptors()
        self.acceptor: Acceptor | None = None
        if tls is not None:
            self.acceptor = Acceptor(
                tls.http, self._connection, tls.handshakes[HTTP], Refusals().note
            )
        own, replica = service.config, service.loop.replica
        admission = Admission(
            lambda: replica.state.tokens,
            required=own.auth == "required",
            local=local,
            node=own.node,
            proxies=tuple(map(ipaddress.ip_network, own.trusted_proxies)),
            probes=PROBES,
            rescues=(*roles.RESCUES, rings.RELEASE_BRAKE),
            fleet=lambda: replica.state.fleet,
            revoked=lambda: replica.state.revoked,
            dropped=lambda: replica.state.dropped,
            known=self.acceptor.know if self.acceptor is not None else lambda _: None,
            used=service.loop.witness.used,
            guessed=service.loop.witness.guessed,
        )

        def trusted() -> str:
            """Once the CA was replaced: before, devices have what they were given."""
            known = tls is not None and replica.state.rotation is not None
            return tls.current.trusted if known and tls is not None else ""

        self.agents = Sessions(
            own.node, service.intake, service.errands, replica, admission, trusted=trusted
        )
        made = partial(Connection, self.agents.turns, Crowd(), PROBES)
        super().__init__(
            uvicorn.Config(
                create_app(service, self.agents, tls),
                http=cast("type[asyncio.Protocol]", made),
                ws=cast("type[asyncio.Protocol]", self.agents.socket),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                # Who connects is who is written down: what a client says of itself is in a header
                # of its own, and the audit keeps both.
                proxy_headers=False,
                timeout_graceful_shutdown=HTTP_GRACE,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """With TLS uvicorn is handed connections that have been made."""
        if self.acceptor is None:
            await super().startup(sockets)
            return
        await super().startup([])
        self.acceptor.open(sockets or ())

    def _connection(self) -> asyncio.Protocol:
        """As uvicorn makes one for its own servers."""
        made: Any = self.config.http_protocol_class
        state, app_state = self.server_state, self.lifespan.state
        protocol: asyncio.Protocol = made(
            config=self.config, server_state=state, app_state=app_state
        )
        return protocol

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets go of the devices first, of whom uvicorn does not know."""
        self.agents.close()
        if self.acceptor is not None:
            self.acceptor.close()
            await self.acceptor.closed()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(field: str, address: str) -> socket.socket:
    """A listening socket; raises `StartError` that says who has the port, when that is known."""
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio sets TCP_NODELAY only on sockets that say they are TCP.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not is_loopback(host):
            narrow(sock)
        sock.bind((host, port))
        sock.listen(256)
    except OSError as error:
        sock.close()
        raise StartError(f"{field}: {bind_problem(address, port, error)}") from error
    sock.setblocking(False)
    return sock
