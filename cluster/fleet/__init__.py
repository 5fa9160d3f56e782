"""The fleet: devices, the rings they stand in, and when they may be moved.

One row of numpy columns for each device (`table`), written by `registration`, `reports`,
`checks` and `orders` alone, each of them called by `apply`. What a check of the rings wants is
planned by `rebalance`, outside the log, and recorded as an explicit list of moves.
Source: rings.md, "Devices" to "Rebalancing".
"""
