"""Receives messages from devices, by WebSocket and HTTP, and hands them to `node.fleet.intake`.

`sessions.py`: all connections of a node · `conversation.py`: what is said on one · `websocket.py`:
its frames · `batch_bodies.py`: requests with many messages · `fixed_point.py`: numbers in the log's
form.
"""
