"""What TCP is told about connections, seen at real sockets."""

import socket
from contextlib import closing

from stationkeep.node.system.streams import SEGMENT, narrow


def longest(stream: socket.socket) -> int:
    """Bytes that it puts into a packet."""
    return stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


def test_both_ends_of_a_connection_to_a_narrow_port_send_what_passes_every_path() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        narrow(server)
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with closing(near), closing(far):
            assert longest(near) <= SEGMENT
            assert longest(far) <= SEGMENT
