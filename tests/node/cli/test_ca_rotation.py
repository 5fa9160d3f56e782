"""`certs rotate-ca`: orders to the cluster, and for whom it waits."""

import json
from pathlib import Path
from typing import Any

import pytest

from stationkeep.node.cli.commands import ca_rotation
from stationkeep.node.security import certificates as made
from stationkeep.node.security import trust
from tests.node.cli.canned import CannedNode, Run, problem
from tests.node.security.issuing import authority

ROTATE = ("certs", "rotate-ca")
READ = "/v1/tls/rotation"


@pytest.fixture
def said(canned: CannedNode) -> dict[str, Any]:
    """What the cluster says of the rotation."""
    found: dict[str, Any] = canned.reads[READ]
    return found


def asked(canned: CannedNode) -> list[tuple[str, Any]]:
    return [(r.url.path, json.loads(r.content)) for r in canned.requests if r.method == "POST"]


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (["start", "--reason", "stolen"], "start", {"reason": "stolen"}),
        (["finish"], "finish", {}),
        (["finish", "--leave-behind", "3"], "finish", {"leave_behind": 3}),
        (["abort"], "abort", {}),
    ],
)
def test_each_step_is_one_order(
    canned: CannedNode, stationkeep: Run, words: list[str], path: str, body: dict[str, Any]
) -> None:
    result = stationkeep(*ROTATE, *words)
    assert (result.exit_code, asked(canned)) == (0, [(f"{READ}/{path}", body)])


def test_the_status_says_who_has_followed_and_what_is_next(
    said: dict[str, Any], stationkeep: Run
) -> None:
    text = stationkeep(*ROTATE).stdout
    for part in ("nodes: 3 of 3 trust both", "devices: 2 have not", "then: finish", "sat-004"):
        assert part in text
    said |= {"phase": "issuing", "lagging": ["sat-003"], "waits": "sat-003 shows nothing yet"}
    text = stationkeep(*ROTATE).stdout
    assert "nodes: 2 of 3 show a certificate of the second\nwaits: sat-003 shows nothing" in text
    said |= {"phase": "none", "exposed": []}
    assert stationkeep(*ROTATE).stdout == "the CA was never replaced\n"


def test_a_refusal_names_who_is_in_the_way(canned: CannedNode, stationkeep: Run) -> None:
    canned.answer_to_writes = problem(409, "sat-003 does not trust the second CA", "not_in_state")
    result = stationkeep(*ROTATE, "finish")
    assert (result.exit_code, "sat-003 does not trust" in result.stderr) == (1, True)


def test_to_wait_is_to_name_whom_until_there_is_nobody(
    said: dict[str, Any], stationkeep: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said |= {"lagging": ["sat-003"], "waits": "sat-003 is behind"}
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            said.update(lagging=[], waits="")

    monkeypatch.setattr(ca_rotation.time, "sleep", nap)
    result = stationkeep(*ROTATE, "--wait")
    assert (result.exit_code, len(naps)) == (0, 3)
    assert result.stderr.count("waiting: sat-003 is behind") == 1


def test_a_second_ca_that_was_made_elsewhere_is_sent(
    canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    result = stationkeep(*ROTATE, "start", "--second", str(file))
    assert (result.exit_code, str(file) in result.stderr) == (1, True)
    file.write_bytes(b"\xff")
    assert "no certificate in PEM" in stationkeep(*ROTATE, "start", "--second", str(file)).stderr
    file.write_text("PEM")
    stationkeep(*ROTATE, "start", "--second", str(file))
    assert asked(canned) == [(f"{READ}/start", {"pem": "PEM"})]


@pytest.mark.parametrize("words", [["finish", "--second", "x"], ["start", "--leave-behind", "1"]])
def test_an_option_of_another_step_is_refused(
    canned: CannedNode, stationkeep: Run, words: list[str]
) -> None:
    assert stationkeep(*ROTATE, *words).exit_code == 2
    assert asked(canned) == []


def test_the_copy_that_a_login_has_kept_follows_and_no_other_file(
    canned: CannedNode, stationkeep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that somebody names is theirs, or a node's."""
    pem = made.public_pem([authority().certificate])
    ours = tmp_path / "ours.pem"
    ours.write_bytes(pem)
    both = (pem + made.public_pem([authority("other").certificate])).decode()
    canned.reads["/v1/tls/ca"]["pem"] = both
    monkeypatch.setenv(trust.VARIABLE, str(ours))
    stationkeep(*ROTATE)
    assert ours.read_bytes() == pem
    kept = ca_rotation.contexts.Context("http://127.0.0.1:8701", "", str(ours))
    monkeypatch.setattr(
        ca_rotation.contexts, "load", lambda: ca_rotation.contexts.Contexts({"prod": kept}, "prod")
    )
    result = stationkeep(*ROTATE)
    assert (ours.read_text(), "what the cluster trusts now" in result.stderr) == (both, True)
    ours.write_bytes(pem)
    canned.answer_to_writes = problem(409, "not yet", "not_in_state")
    stationkeep(*ROTATE, "finish")  # after it nobody would be believed any more
    assert ours.read_text() == both
    canned.answer_to_writes = None
    canned.reads["/v1/tls/ca"]["pem"] = "nonsense"
    assert stationkeep(*ROTATE).exit_code == 1
    assert ours.read_text() == both
