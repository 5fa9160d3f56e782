"""Sets of twins by themselves; what is seen of them is in `progression`."""

import numpy as np

from stationkeep.cluster.rollouts.twins import COMPLETE, LOOKED_AT, MAX_TWINS, Twins


def test_a_twin_that_served_two_sets_in_turn_is_one_s_when_both_are_watched_on() -> None:
    twins, births = Twins(), np.ones((2, MAX_TWINS), np.int64)
    rows = np.array([[11, 12, 13, 14], [11, 12, 15, 16]])
    twins.add(np.array([0, 1]), rows, births)
    twins.move_on(np.array([0, 1]), COMPLETE)
    twins.reopen(np.array([16]))
    assert twins.stage.tolist() == [LOOKED_AT, LOOKED_AT]
    assert twins.serving().tolist() == [11, 12, 13, 14, 15]
