"""Rollouts: what they are to do, how far they have come, and how a version is judged.

`plan` is what an author wrote, `rollout` what has come of it, `lifecycle` the steps that there are,
`twins` who is compared with whom, and `book` all of it. `evidence` says how strongly the counts of
a stage speak against a version, `gates` what follows from that: both are functions of a few
integers, so that every replica judges for itself and comes to the same verdict, digit by digit.
The rules are in `cluster.progression`. Source: node/guide/reference/rollouts.md and gates.md.
"""
