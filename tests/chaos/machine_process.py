"""`stationkeep agent` on a machine that a test reboots: BOOT-FILE, then its arguments.

Of the machine only the id of its boot is played: the file's content, and its age for the time.
"""

import sys
import time
from pathlib import Path

from stationkeep.node.agent.tasks import spool
from stationkeep.node.agent.tasks.book import Moment


def _moment(boot: Path) -> Moment:
    return Moment(boot.read_text(), time.time() - boot.stat().st_mtime)


boot_file = Path(sys.argv.pop(1))
spool.present_moment = lambda: _moment(boot_file)

from stationkeep.node.__main__ import main  # noqa: E402 - imports the moment by its name

main()
