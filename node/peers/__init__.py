"""Links between the members of one cluster, on two lanes: streams and datagrams.

`network.py`: who is a peer, and what arrives of whom · `link.py`: one peer, and which message goes
on which lane · `sessions.py`: numbers, keys and echoes · `streams.py`, `datagrams.py`: the sockets
· `handshake.py`: who speaks · `frames.py`: the bytes of a message · `figures.py`: what was lost.
"""
