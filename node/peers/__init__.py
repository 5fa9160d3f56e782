"""Links between the members of one cluster, on two lanes: streams and datagrams.

`network.py`: the peers, and the messages from them · `link.py`: one peer, and the lane for each
message · `sessions.py`: numbers, keys and echoes · `streams.py`, `datagrams.py`: the sockets ·
`handshake.py`: identification · `frames.py`: encoding · `figures.py`: statistics of losses.
"""
