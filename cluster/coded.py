"""Words that columns and commands write as numbers."""

import enum


class Coded(enum.StrEnum):
    """Each word's `code` is its place among those of its class, from 0: what lies in logs and
    snapshots depends on the order in which a class names its words."""

    code: int

    def __init__(self, _: str) -> None:
        # Once, and not looked up by those who ask: they ask at every entry, for every device.
        self.code = len(type(self).__members__)
