"""Answers as text for a terminal: tables, figures, pictures."""
