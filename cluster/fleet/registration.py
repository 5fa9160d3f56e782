"""Registration: a device becomes a row, and finds its ring."""

from cluster.commands import Registration


def registration_fault(registration: Registration) -> str | None:
    """What is wrong with a registration (field, value, rule), or None. A door that asks this
    first never spoils a batch of others with one bad device."""
    raise NotImplementedError
