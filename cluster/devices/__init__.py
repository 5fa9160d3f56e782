"""The fleet as data: the device table, rings, selectors, policies, shares.

The rules about it are in `cluster.fleet`.
"""
