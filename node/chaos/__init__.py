"""Drives and watches a real local cluster from outside, as a user can: signals, files and HTTP.

Used by `tests/chaos`, `tests/network`, `scripts/bench` and `stationkeep chaos` (`storm.py`). To
lose packets as well, the cluster runs in a network namespace (`isolated.py`).
"""
