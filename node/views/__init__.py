"""Turns the replicated state into the JSON shapes that clients see. Pure: no I/O, no clock."""
