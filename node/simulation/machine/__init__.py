"""One simulated node and the machine under it."""
