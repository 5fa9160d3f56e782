"""Prometheus metrics, read from the node at the moment of the scrape."""
