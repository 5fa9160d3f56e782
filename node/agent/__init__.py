"""Devices' side of the fleet: what runs on a phone, in a car, or a thousand times in one process.

    connection   one WebSocket to a node
    addresses    which nodes there are, and which to turn to next
    host         what a real machine says of itself; `readings` is the form of it
"""
