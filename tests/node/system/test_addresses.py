"""Addresses as people write them."""

import pytest

from stationkeep.node.system.addresses import join_address, split_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:9", ("localhost", 9)),
    ],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text) == expected
    assert join_address(*expected) == text


@pytest.mark.parametrize(
    "text",
    ["", ":1", "host", "host:", "host:0", "host:65536", "host:x", "host:٣", "host:" + "1" * 5_000],
)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        split_address(text)


def test_the_system_may_be_let_choose_a_port() -> None:
    assert split_address("127.0.0.1:0", lowest_port=0) == ("127.0.0.1", 0)
