"""Webhooks: the outbox, its sending over HTTP, and `webhooks:` in a node's file."""
