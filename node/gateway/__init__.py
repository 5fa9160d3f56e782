"""Receives messages from devices, by WebSocket and HTTP, and hands them to `node.fleet.intake`."""
