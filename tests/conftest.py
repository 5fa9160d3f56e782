"""Bounds for every test: hypothesis profiles, chosen by `HYPOTHESIS_PROFILE` (default `ci`)."""

import gc
import os

from hypothesis import HealthCheck, settings

_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
# `ci` runs the same examples wherever the same modules are loaded: hypothesis also draws constants
# that it finds in those. So a failure that does not come back by itself comes back beside the tests
# that ran before it in its worker. `search` looks for new ones and remembers what it found in
# .hypothesis.
settings.register_profile("ci", derandomize=True, max_examples=60, database=None, **_COMMON)
settings.register_profile("search", max_examples=2_000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection() -> None:
    """Nothing that is imported or collected is garbage, for which a fifth of the time went."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What was imported and collected stays: with it to look at, collections of garbage took a
    fifth of the time of all tests."""
    gc.collect()
    gc.freeze()
    gc.enable()
