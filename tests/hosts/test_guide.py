"""The page of the guide about three machines, typed on three machines word for word."""

import re
import time
from typing import NamedTuple

from stationkeep.node.guide.pages import find
from tests.hosts.bed import Bed, Machine

SECONDS = 90.0
"""Within which what is typed works, if need be at a later try: people look again, too."""
STAYS = "stationkeep node run "
WORD = re.compile(r"^skj_\S+$", re.MULTILINE)


class Typed(NamedTuple):
    """A line of the page: on which machine, what."""

    machine: str
    words: str


def typed(text: str) -> list[Typed]:
    """All lines of a page, in order."""
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^([abc])\$ ((?:.*\\\n)*.*)$", "".join(blocks), re.MULTILINE)
    return [Typed(machine, words) for machine, words in lines]


class Reader:
    """Follows the page on three machines, and pastes the word where it is asked for."""

    def __init__(self, bed: Bed) -> None:
        self._machines = {name: bed.machine(name) for name in "abc"}
        self._word = ""

    def type(self, line: Typed) -> str:
        """What it printed, once it works."""
        machine = self._machines[line.machine]
        if line.words.startswith(STAYS):
            machine.start(*line.words.split(), log="node.log")
            return ""
        said = self._until_it_works(machine, line.words)
        word = WORD.search(said)
        self._word = word[0] if word else self._word
        return said

    def _until_it_works(self, machine: Machine, words: str) -> str:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                return machine.run("sh", "-c", words, text=f"{self._word}\n")
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def read(self, line: Typed, wanted: str) -> None:
        """Types it again until it shows what the page says that it shows."""
        deadline = time.monotonic() + SECONDS
        while not re.search(wanted, said := self.type(line), re.MULTILINE):
            assert time.monotonic() < deadline, said
            time.sleep(0.5)


def test_the_commands_of_the_page_form_a_cluster_that_fails_over(bed: Bed) -> None:
    reader = Reader(bed)
    shown = ["^PRIMARY +[abc], epoch", "^PRIMARY +[ab], epoch"]
    for line in typed(find("machines").text):
        if line.words == "stationkeep status":
            reader.read(line, shown.pop(0))
        else:
            reader.type(line)
    assert not shown
    reader.read(Typed("a", "stationkeep status"), "3 of 3 connected")


def test_lines_are_found_with_their_machines() -> None:
    text = "```console\na$ one \\\n  two\nout\nb$ three\n```\n```sh\na$ no\n```\n"
    assert typed(text) == [Typed("a", "one \\\n  two"), Typed("b", "three")]
