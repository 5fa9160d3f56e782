"""Renders answers as text for a terminal: tables, figures, plots."""
