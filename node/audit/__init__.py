"""The audit file of a node: every decision as a line, held together by a hash chain."""
