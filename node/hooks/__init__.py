"""Operators' commands as processes."""
