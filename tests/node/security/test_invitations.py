"""The word by which a machine is invited."""

import pytest

from stationkeep.node.security.invitations import LENGTH, draw, parse
from stationkeep.node.security.tokens import TokenFault
from stationkeep.node.system.confidential import hide

UID, PIN = "0123456789abcdef", "sha256:" + "5a" * 32
WORD = draw(UID, PIN)


def test_it_says_whom_to_believe_and_proves_who_was_invited() -> None:
    found = parse(WORD.text)
    assert found == WORD
    assert (found.uid, found.pin) == (UID, PIN)
    assert found.proves(WORD.hash)
    assert not found.proves(draw(UID, PIN).hash)
    assert len(WORD.text) == LENGTH


def test_it_is_hidden_wherever_it_is_put_by_mistake() -> None:
    assert hide(f"x {WORD.text} y") == "x (hidden) y"
    assert WORD.text.split("_")[2] not in repr(WORD)
    assert WORD.secret.hex() not in str(WORD)


def test_any_character_that_is_wrong_is_found() -> None:
    for at in range(len(WORD.text)):
        other = "b" if WORD.text[at] == "a" else "a"
        with pytest.raises(TokenFault):
            parse(WORD.text[:at] + other + WORD.text[at + 1 :])


@pytest.mark.parametrize(
    ("text", "rule"),
    [("", "begins with skj_"), ("skt_x", "begins with skj_"), ("skj_x", "has 112 characters")],
)
def test_what_is_no_word_is_told_without_it(text: str, rule: str) -> None:
    with pytest.raises(TokenFault, match=rule):
        parse(text)
