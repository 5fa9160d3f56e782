"""Figures of links → what clients see of them.

Each node numbers the datagrams that it sends to a peer, and probes an idle one every second, so
the peer knows how many it did not get. These figures are the node's own: they are not replicated,
and another node sees other ones.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from stationkeep.node.ports import LinkFigures
from stationkeep.node.views.base import View

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]


class LinkView(View, frozen=True):
    """One link, from `peer` to this node. Its loss is 1 - heard / sent; without a datagram
    (`sent` 0) that is not known. Totals count from the start of this node."""

    peer: Annotated[str, Meta(description="Id of the member at the other end.")]
    connected: Annotated[bool, Meta(description="Whether messages reach the peer, either way.")]
    streams: Annotated[Count, Meta(description="Streams to the peer, those that drain included.")]
    standing: Annotated[
        bool, Meta(description="The newest stream to the peer has unanswered retransmissions.")
    ]
    in_doubt: Annotated[
        bool,
        Meta(
            description="Packets were lost lately, or the peer answers none: small messages "
            "travel on both lanes."
        ),
    ]
    window_s: Annotated[
        Seconds, Meta(description="Seconds up to now that the next three figures cover.")
    ]
    sent: Annotated[Count, Meta(description="Datagrams that the peer numbered.")]
    heard: Annotated[Count, Meta(description="Of these, datagrams that arrived here.")]
    longest_silence_s: Annotated[
        Seconds, Meta(description="Longest time without a datagram of the peer, in seconds.")
    ]
    received_total: Annotated[Count, Meta(description="Datagrams that arrived.")]
    lost_total: Annotated[
        Count, Meta(description="Datagrams that have not arrived; fewer when one comes late.")
    ]
    duplicates_total: Annotated[
        Count, Meta(description="Messages that arrived on both lanes, or twice; taken once.")
    ]
    refused_total: Annotated[
        dict[str, Count], Meta(description="Datagrams of the peer that were dropped, by reason.")
    ]


class LinksView(View, frozen=True):
    """`GET /v1/links`: the links to the other members as `node` sees them, by peer."""

    node: str
    links: list[LinkView]


def links_view(node: str, figures: list[LinkFigures]) -> LinksView:
    """Figures → what clients see of them."""
    return LinksView(node, msgspec.convert(figures, list[LinkView], from_attributes=True))
