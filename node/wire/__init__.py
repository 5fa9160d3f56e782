"""Messages between devices, nodes and clients: their schemas, and how invalid ones are described.

Shared with agents, which run without a node.
"""
