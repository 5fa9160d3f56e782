"""The audit file of a node: every decision as one line, secured by a hash chain."""
