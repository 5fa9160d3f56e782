"""Deployments as data: artifacts, versions, rosters of tasks, and which steps a task may take.

The rules about it are in `cluster.delivery`.
"""
