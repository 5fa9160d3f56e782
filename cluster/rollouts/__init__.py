"""Rollouts: how it is judged whether a version does harm.

`evidence` says how strongly the counts of a stage speak against a version, `gates` what follows
from that. Both are functions of a few integers, so that every replica judges for itself and comes
to the same verdict, digit by digit. Source: node/guide/reference/gates.md.
"""
