"""One process: puts a node together, starts it, drives it, stops it."""
