"""How a node's process looks for garbage."""

import gc

CONTAINERS = 10_000
"""Made and not freed again, before Python looks for cycles among them; by itself it does at 700."""


def settle() -> None:
    """Once the process has come up: what lives now lives to the end and is not looked at again,
    and cycles are looked for less often. Ours are few, nearly everything goes when its last
    reference does, and a busy leader spent a tenth of its time with the commands in flight."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(CONTAINERS)
