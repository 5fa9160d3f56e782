"""What devices, nodes and clients say to each other, and what is wrong with it.

Shared with agents, which run without a node.
"""
