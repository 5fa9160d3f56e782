"""Prometheus metrics, read from the node at each scrape."""
