"""What a node does about roles: lease, votes, enactment, the leader's duties.

Mirrors `cluster.roles`, which has the rules.
"""
