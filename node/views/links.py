"""Figures of links → what clients see of them.

Each node numbers the datagrams that it sends to a peer, and sends a probe every second if there is
nothing else, so the peer knows how many were lost. The figures are this node's own: they are not
replicated, and another node's differ.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from stationkeep.node.ports import LinkFigures, Obstacle
from stationkeep.node.views.base import View

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]


class LinkView(View, frozen=True):
    """One link, from `peer` to this node. Its loss is 1 - heard / sent, or unknown if `sent` is 0.
    Totals count from the start of this node."""

    peer: Annotated[str, Meta(description="Id of the member at the other end.")]
    connected: Annotated[
        bool, Meta(description="Whether messages reach the peer, by stream or datagram.")
    ]
    streams: Annotated[Count, Meta(description="Streams to the peer, including draining ones.")]
    stalled: Annotated[
        bool, Meta(description="The newest stream to the peer has unanswered retransmissions.")
    ]
    in_doubt: Annotated[
        bool,
        Meta(
            description="Packets were lost recently, or the peer does not answer datagrams: small "
            "messages are sent by stream and datagram."
        ),
    ]
    window_s: Annotated[
        Seconds, Meta(description="The next three figures cover this many seconds up to now.")
    ]
    sent: Annotated[Count, Meta(description="Datagrams sent by the peer.")]
    heard: Annotated[Count, Meta(description="How many of these were received here.")]
    longest_silence_s: Annotated[
        Seconds, Meta(description="Longest time without a datagram from the peer, in seconds.")
    ]
    received_total: Annotated[Count, Meta(description="Datagrams received from the peer.")]
    lost_total: Annotated[
        Count, Meta(description="Datagrams not received; decreases when one arrives late.")
    ]
    duplicates_total: Annotated[
        Count, Meta(description="Messages received more than once; the copies were discarded.")
    ]
    refused_total: Annotated[
        dict[str, Count], Meta(description="Datagrams from the peer that were refused, by reason.")
    ]
    address: Annotated[str, Meta(description="Where the cluster has the peer.")]
    state: Annotated[
        Literal["up", "dialling", "refused"],
        Meta(description="Refused: somebody is there, and one of the two will not have the other."),
    ]
    error: Annotated[
        Obstacle | None, Meta(description="What was met there; null once the peer is reached.")
    ]
    since_s: Annotated[
        Seconds, Meta(description="For how long the link has been up, or has not been.")
    ]


class LinksView(View, frozen=True):
    """`GET /v1/links`: the links of `node` to the other members."""

    node: str
    links: list[LinkView]


def links_view(node: str, figures: list[LinkFigures]) -> LinksView:
    """The links of a node from its figures."""
    return LinksView(node, msgspec.convert(figures, list[LinkView], from_attributes=True))
