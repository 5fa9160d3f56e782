"""How nodes measure themselves and each other, and what they report."""
