"""Driving and watching a real local cluster from outside: signals, files and HTTP, as a user has.

Its users are `tests/chaos`, `tests/network`, `scripts/bench` and `stationkeep chaos` (`storm.py`).
Where packets are to be lost as well, the cluster lives in a network namespace (`isolated.py`).
"""
