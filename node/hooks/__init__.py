"""Runs operators' commands as processes: hooks of roles and actions, and the health check.

Not to be confused with `node.webhooks`, which sends decisions to other services over HTTP.
"""
