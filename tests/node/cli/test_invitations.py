"""`stationkeep nodes invite`, `invitations`, `uninvite`, and what `join` is given."""

import io
from pathlib import Path

import pytest

from stationkeep.node.cli import confided
from stationkeep.node.cli.commands import forming
from stationkeep.node.forming import joining
from stationkeep.node.forming.joining import Joined
from stationkeep.node.forming.place import Place
from stationkeep.node.security.invitations import Word, draw, parse
from tests.node.cli.canned import INVITATIONS, CannedNode, Run

WORD = draw("0123456789abcdef", f"sha256:{'5a' * 32}")


def test_of_an_invitation_only_the_hash_leaves(canned: CannedNode, stationkeep: Run) -> None:
    result = stationkeep("nodes", "invite", "--uses", "2", "--for", "10m")
    assert result.exit_code == 0, result.output
    word = parse(result.stdout.strip())
    assert (word.uid, word.pin) == (INVITATIONS["uid"], INVITATIONS["pin"])
    sent = next(r for r in canned.requests if r.method == "POST")
    assert canned.body == {
        "invitation": word.id, "sha256": word.hash.hex(), "uses": 2, "lifetime": "10m",
    }  # fmt: skip
    assert word.text.split("_")[2] not in sent.content.decode() + result.stderr
    assert "on the other machine: stationkeep join 127.0.0.1:8701" in result.stderr


def test_it_goes_to_a_new_file_that_only_its_owner_reads(
    canned: CannedNode, stationkeep: Run, tmp_path: Path
) -> None:
    out = tmp_path / "word"
    assert stationkeep("nodes", "invite", "--out", str(out)).exit_code == 0
    assert parse(out.read_text().strip()).id in str(canned.body)
    assert out.stat().st_mode & 0o777 == 0o600
    assert stationkeep("nodes", "invite", "--out", str(out)).exit_code == 1


def test_a_node_without_the_ca_s_key_invites_nobody(canned: CannedNode, stationkeep: Run) -> None:
    canned.reads["/v1/invitations"] = INVITATIONS | {"uid": None, "pin": None}
    result = stationkeep("nodes", "invite")
    assert (result.exit_code, "has not the CA's key" in result.stderr) == (1, True)
    assert all(request.method == "GET" for request in canned.requests)


@pytest.mark.parametrize("ca", [{"uid": "x"}, {"pin": "sha256:5a"}, {"pin": 7}])
def test_a_pin_that_is_none_makes_no_word(
    canned: CannedNode, stationkeep: Run, ca: dict[str, object]
) -> None:
    canned.reads["/v1/invitations"] = INVITATIONS | ca
    result = stationkeep("nodes", "invite")
    assert (result.exit_code, "is that a Stationkeep node?" in result.stderr) == (1, True)


def test_invitations_are_listed_and_ended(canned: CannedNode, stationkeep: Run) -> None:
    result = stationkeep("nodes", "invitations")
    for shown in ("q7w2e9ab", "used", "1 of 1", "sat-004"):
        assert shown in result.stdout
    assert stationkeep("nodes", "uninvite", "q7w2e9ab", "--reason", "lost").exit_code == 0
    assert canned.requests[-1].method == "DELETE"
    assert canned.body == {"reason": "lost"}


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Place, str, Word]]:
    """What `join` is told to do, which is not done."""
    told: list[tuple[Place, str, Word]] = []

    def noted(place: Place, address: str, word: Word, _tell: object) -> Joined:
        told.append((place, address, word))
        return Joined("my-fleet", before=len(told) > 1)

    monkeypatch.setattr(joining, "join", noted)
    monkeypatch.delenv(forming.VARIABLE, raising=False)
    return told


Told = list[tuple[Place, str, Word]]


def test_the_word_comes_from_a_file_the_environment_or_standard_input(
    joined: Told, stationkeep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["join", "https://a.example.net:8701/", "--node", "sat-009", "--advertise", "b"]
    file = tmp_path / "word"
    file.write_text(WORD.text + "\n")
    assert stationkeep(*words, "--token-file", str(file)).exit_code == 0
    monkeypatch.setattr(confided.sys, "stdin", io.StringIO(WORD.text))
    given = confided.given(Path("-"), "")
    assert given == WORD.text
    monkeypatch.setenv(forming.VARIABLE, WORD.text)
    result = stationkeep(*words)
    assert "stationkeep node run --config /etc/stationkeep/node.yaml" in result.stdout
    assert "sat-009 was a member of my-fleet" in result.stdout
    places, addresses, told = zip(*joined, strict=True)
    assert len(told) == 2
    assert set(told) == {WORD}
    assert set(addresses) == {"a.example.net:8701"}
    assert {(p.own.raft, p.own.http) for p in places} == {("b:7701", "b:8701")}


@pytest.mark.parametrize("text", ["", "skt_x", WORD.text[:-1] + "x"])
def test_what_is_no_word_is_not_shown(
    joined: Told, stationkeep: Run, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "word"
    file.write_text(text)
    result = stationkeep("join", "a:8701", "--advertise", "b", "--token-file", str(file))
    assert result.exit_code == 2
    assert WORD.text.split("_")[2] not in result.output
    assert joined == []


def test_an_address_that_is_none_is_refused_before_the_word_is_asked_for(
    joined: Told, stationkeep: Run
) -> None:
    result = stationkeep("join", "a.example.net")
    assert (result.exit_code, "'a.example.net' refused" in result.stderr) == (2, True)
