"""A node's file: read once at start, every fault shown with its line."""
