"""Grafana's dashboards as code; `python -m scripts.grafana` writes them as JSON."""
