"""Selectors: reading them, saying where they are wrong, and what they match."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.devices.selector import SelectorError, Term, matches, parse

PIXEL = {"os": "Android 14", "model": "Pixel 8"}


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        ("os=Android 14", (Term("os", ("Android 14",)),)),
        (
            "os=Android 14, model in (Pixel 8, Pixel 9)",
            (Term("os", ("Android 14",)), Term("model", ("Pixel 8", "Pixel 9"))),
        ),
        ("site != lab", (Term("site", ("lab",), True),)),
        ("site not in (a,b) ,x=y", (Term("site", ("a", "b"), True), Term("x", ("y",)))),
        ("in=in", (Term("in", ("in",)),)),
    ],
)
def test_selectors_as_people_write_them(text: str, terms: tuple[Term, ...]) -> None:
    assert parse(text) == terms


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("=x", "character 1: a key"),
        ("os", "character 3: =, != or in"),
        ("os=", "character 4: a value"),
        ("os= ", "character 5: a value"),
        ("os=a,", "character 6: a key"),
        ("os=a)", "character 5: a comma"),
        ("os in (a", "character 9: a closing parenthesis"),
        ("os in ()", "character 8: a value"),
        ("os in (a) b", "character 11: a comma"),
        ("x" * 1_025, "at most 1024 characters"),
        (",".join(f"k{n}=v" for n in range(17)), "at most 16 terms"),
        (f"k in ({','.join('v' * 65)})", "at most 64 values"),
    ],
)
def test_a_selector_that_cannot_be_read_says_where(text: str, words: str) -> None:
    with pytest.raises(SelectorError) as refused:
        parse(text)
    assert words in str(refused.value)


@given(st.text(st.sampled_from("ab=!(), innot"), max_size=30))
def test_any_text_is_terms_or_a_selector_error(text: str) -> None:
    with contextlib.suppress(SelectorError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", True),
        ("os=Android 14", True),
        ("os=Android 14, model in (Pixel 8, Pixel 9)", True),
        ("os=Android 14, model=Pixel 9", False),
        ("model!=Pixel 9", True),
        ("site=lab", False),
        ("site!=lab", True),
        ("site not in (lab)", True),
    ],
)
def test_every_term_must_hold_and_a_key_that_is_missing_equals_nothing(
    text: str, match: bool
) -> None:
    assert matches(parse(text), PIXEL.get) is match
