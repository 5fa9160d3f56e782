"""The machine under a node: clocks, processes, files, addresses, the log.

Knows nothing of Stationkeep.
"""
