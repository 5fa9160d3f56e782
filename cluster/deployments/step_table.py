"""The steps of `lifecycle` by codes, for columns of tasks: whoever needs their words alone, as the
command line does, need not wait for numpy."""

import numpy as np

from stationkeep.cluster.deployments.lifecycle import CAUSES, STATES, TRANSITIONS
from stationkeep.cluster.devices.table import Column

NO_STEP = 255
TARGETS: Column = np.full((len(CAUSES), len(STATES)), NO_STEP, np.uint8)
"""[cause, state] → the state that follows, or `NO_STEP`."""
for _cause, _transition in TRANSITIONS.items():
    TARGETS[_cause.code, [_origin.code for _origin in _transition.origins]] = (
        _transition.target.code
    )
TARGETS.flags.writeable = False
