"""Devices as data: the table of devices, rings, selectors, policies, shares.

Data only, below the state. The commands that change it, and the rules for that, are in
`cluster.fleet`.
"""
