"""Sends decisions to other services over HTTP: the outbox, its delivery, and its lateness.

`webhooks:` in a node's file is read by `node.config.webhooks`. Commands that operators have run on
a node are `node.hooks`.
"""
