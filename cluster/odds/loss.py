"""How packets are lost: independently, or in bursts (Gilbert-Elliott)."""

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]
Vector = NDArray[np.floating[Any]]
GOOD, BAD = 0, 1
LONGEST_BURST = 24 * 3_600.0


class LossError(ValueError):
    """A loss model that makes no sense; names the field, the value and the rule broken."""

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(f"{field}: {value!r} refused: {rule}")
        self.field = field
        self.value = value
        self.rule = rule


class Loss(msgspec.Struct, frozen=True):
    """`rate`: share of packets lost, 0 ≤ rate < 1. `burst`: mean seconds a burst lasts; None:
    every packet is lost or not whatever happened before."""

    rate: float
    burst: float | None = None

    def check(self, report_interval: int) -> None:
        """Raises `LossError` when the model is impossible for reports this many ms apart."""
        if not 0 <= self.rate < 1:
            raise LossError("loss", self.rate, "a share of at least 0 and less than 1")
        if self.burst is None:
            return
        if self.rate == 0:
            raise LossError("burst", self.burst, "bursts need a loss above 0")
        if not report_interval / 1_000 <= self.burst <= LONGEST_BURST:
            rule = f"seconds from report_interval ({report_interval / 1_000:g} s) to 24 h"
            raise LossError("burst", self.burst, f"{rule}: shorter ones are independent losses")

    @property
    def stationary(self) -> Vector:
        """Long-run share of time in GOOD and in BAD."""
        return np.array([1 - self.rate, self.rate])

    def transition(self, seconds: float) -> Matrix:
        """Probabilities from the channel's state to the one `seconds` later, in closed form.

        With rates b = 1/burst out of BAD and g = b·rate/(1-rate) out of GOOD, what is remembered
        decays with exp(-(b+g)t). Nothing is subtracted: also tiny entries keep their digits.
        Independent losses remember nothing, not even at 0 seconds: the next message is another.
        """
        good, bad = 1 - self.rate, self.rate
        if self.burst is None:
            return np.array([[good, bad], [good, bad]])
        pace = seconds / self.burst / good
        kept, changed = math.exp(-pace), -math.expm1(-pace)
        return np.array([[good + bad * kept, bad * changed], [good * changed, bad + good * kept]])
