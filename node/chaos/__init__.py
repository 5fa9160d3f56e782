"""Driving and watching a real local cluster from outside: signals, files and HTTP, as a user has.

Its users are `tests/chaos`, `scripts/bench` and `stationkeep chaos` (`storm.py`).
"""
