"""The text of a token: what is drawn is read again, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.access import TOKEN_ID
from stationkeep.node.security.tokens import LENGTH, TokenFault, draw, parse
from stationkeep.node.system.confidential import HIDDEN, hide

TOKEN = draw()


def test_what_is_drawn_is_read_again_and_proves_its_hash() -> None:
    shown = parse(TOKEN.text)
    assert shown == TOKEN
    assert shown.proves(TOKEN.hash)
    assert not shown.proves(draw().hash)
    assert TOKEN_ID.fullmatch(shown.id)
    assert len(TOKEN.text) == LENGTH


def test_no_two_are_the_same() -> None:
    assert len({draw().id for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "begins with skt_"),
        ("open sesame", "begins with skt_"),
        (TOKEN.text[:-1], f"has {LENGTH} characters, this has {LENGTH - 1}"),
        (TOKEN.text + " ", f"this has {LENGTH + 1}"),
        (TOKEN.text.replace("_", "-").replace("skt-", "skt_"), "52 of a-z 2-7"),
        (TOKEN.text[:-8] + "00000000", "checksum"),
    ],
    ids=["nothing", "words", "too short", "too long", "other letters", "checksum"],
)
def test_what_is_none_is_refused_with_the_rule_and_without_the_secret(text: str, rule: str) -> None:
    with pytest.raises(TokenFault, match=rule) as caught:
        parse(text)
    assert TOKEN.secret not in str(caught.value)


@given(st.integers(4, LENGTH - 1), st.sampled_from("abc234"))
def test_a_character_that_is_wrong_is_noticed(place: int, other: str) -> None:
    text = TOKEN.text[:place] + other + TOKEN.text[place + 1 :]
    if text != TOKEN.text:
        with pytest.raises(TokenFault):
            parse(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for tried in (text, "skt_" + text):
        try:
            parse(tried)
        except TokenFault:
            continue


def test_a_token_is_hidden_wherever_it_stands() -> None:
    assert TOKEN.secret not in repr(TOKEN)
    text = f"Authorization: Bearer {TOKEN.text}; skd_phone-7.abc, ske_x, skj_y, and whsec_QUJD"
    assert hide(text).count(HIDDEN) == 5
    assert TOKEN.secret not in hide(text)
    assert hide("a task skips; risk_x") == "a task skips; risk_x"
