"""A cluster of node processes on this machine: what `up`, `down`, `kill` and `start` stand on."""
