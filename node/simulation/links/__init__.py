"""Simulated links: packets, weather, TCP as Linux speaks it."""
