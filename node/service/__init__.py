"""The one asynchronous face of a running node."""
