"""What the figures of a link come to, wherever they are shown."""

from stationkeep.node.peers.figures import LinkFigures


def loss(link: LinkFigures) -> float | None:
    """Share of the peer's datagrams that did not arrive lately, 0 to 1.

    None when it is not known: nothing came that would say how many there were. A peer to which
    there is a way sends one every second, so then all are lost.
    """
    if link.sent:
        return 1 - link.heard / link.sent
    return 1.0 if link.connected else None
