"""Where the log and snapshots live, and what may go wrong there."""
