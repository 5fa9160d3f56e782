"""The replicated state as clients see it."""
