"""Simulations compute for long where they simulate loss; on a busy machine for minutes."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/simulation" in item.nodeid:
            item.add_marker(pytest.mark.timeout(600))
            item.add_marker(pytest.mark.simulation)
