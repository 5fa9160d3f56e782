"""Judgements about histories, shared by simulation and chaos."""
