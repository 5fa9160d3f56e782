"""Links between the members of one cluster.

`network.py`: who is connected to whom · `streams.py`: the connections · `handshake.py`: who speaks
· `frames.py`: the bytes of a message.
"""
