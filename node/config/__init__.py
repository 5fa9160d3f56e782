"""A node's configuration file: read once at start, every error reported with its line."""
