"""The certificate that a node issues to itself."""

from pathlib import Path

import pytest
import yaml

from stationkeep.node.config.node_config import load
from stationkeep.node.runtime.certificates import hosts_of

MEMBERS = {
    "a": {"raft": "A.example.net:7701", "http": "[2001:db8::1]:8701"},
    "b": {"raft": "b.example.net:7701", "http": "b.example.net:8701"},
}


@pytest.mark.parametrize(
    ("listen", "more"),
    [
        ("0.0.0.0:7701", []),
        ("[::]:7701", []),
        ("[0::0]:7701", []),
        ("[fe80::1%eth0]:7701", []),
        ("localhost:7701", []),
        ("10.0.0.1:7701", ["10.0.0.1"]),
    ],
)
def test_it_is_good_for_what_others_can_use_and_for_no_other_address(
    tmp_path: Path, listen: str, more: list[str]
) -> None:
    path = tmp_path / "node.yaml"
    whole = {"node": "a", "cluster": "c", "data_dir": str(tmp_path), "members": MEMBERS}
    path.write_text(yaml.safe_dump(whole | {"raft": listen, "insecure": True}))
    assert hosts_of(load(path, {})) == sorted(["2001:db8::1", "a.example.net", *more])
