"""Words that columns and commands write as numbers."""

import copy
import pickle

from stationkeep.cluster.deployments.lifecycle import STATES, TaskState
from stationkeep.cluster.devices.moves import MoveReason
from stationkeep.cluster.devices.rings import Ring


def test_the_code_of_a_word_is_its_place_in_its_class() -> None:
    for kind in (TaskState, MoveReason, Ring):
        assert [word.code for word in kind] == list(range(len(kind)))


def test_a_word_that_was_read_or_copied_has_the_code_of_the_one_that_was_written() -> None:
    for state in STATES:
        assert TaskState(state.value).code == state.code
        assert copy.deepcopy(state) is pickle.loads(pickle.dumps(state)) is state
