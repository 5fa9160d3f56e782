"""A cluster of node processes on this machine, for the commands `up`, `down`, `kill`, `start`."""
