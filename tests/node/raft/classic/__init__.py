"""Scenarios that the tests of etcd-io/raft and hashicorp/raft tell, on our own harness and in our
own words. Each docstring names the scenario it follows; no code of theirs is here.
"""
