"""The replicated state, its parts and its encoding. Only `apply` writes it."""
