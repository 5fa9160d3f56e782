"""Rollouts: how a version comes to all devices, stage by stage, and back.

Each stage is a deployment that its rollout opens (`openings`) and keeps open while it is judged
(`looks`). What comes next is read off the state by one function that the leader asks and apply asks
again (`advance`); every step of a rollout and of a stage is taken in one place (`steps`), by the
tables in `cluster.rollouts.lifecycle`. Source: node/guide/reference/rollouts.md.
"""
