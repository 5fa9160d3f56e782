"""How far one word may raise a number that only grows."""

import os
from pathlib import Path

import pytest

from stationkeep.cluster import numbers
from stationkeep.cluster.numbers import BOOT, CEILING, SEQUENCE, SESSION, TERM, TIME, Number, table

README = Path(__file__).parents[2] / "node" / "raft" / "README.md"
BEGIN, END = "<!-- numbers: begin -->\n", "<!-- numbers: end -->\n"


def test_the_page_beside_raft_has_the_table() -> None:
    """STATIONKEEP_REWRITE=1 writes it."""
    before, _, rest = README.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    if os.environ.get("STATIONKEEP_REWRITE"):
        README.write_text(f"{before}{BEGIN}{table()}\n{END}{after}")
        return
    assert shown == table() + "\n"


@pytest.mark.parametrize("number", [TERM, BOOT, SESSION, SEQUENCE, TIME])
def test_a_word_raises_a_number_by_a_step_and_never_above_its_ceiling(number: Number) -> None:
    assert number.limit(0) == number.base + number.step
    assert number.limit(number.base + 5) == number.base + 5 + number.step
    assert number.limit(number.ceiling) == number.limit(number.ceiling - 1) == number.ceiling
    assert (number.ceiling - number.base) // number.step > 4_000, "many words to the ceiling"
    assert any(number.name in row.numbers for row in numbers.TABLE)


def test_every_number_fits_sqlite_and_msgpack() -> None:
    assert max(n.ceiling for n in (TERM, BOOT, SESSION, SEQUENCE, TIME)) < 1 << 63
    assert TERM.ceiling == TIME.ceiling == CEILING
