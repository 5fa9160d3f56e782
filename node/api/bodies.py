"""Bodies of writes: strict models that refuse unknown fields, wrong types and excess.

Durations are written as in the configuration ("10m", "1h", seconds); `parse_duration` reads
them, so that the message of a refusal is the same everywhere.
"""

from collections.abc import Callable
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from stationkeep.cluster.names import MAX_HOST, MAX_NAME, NAME_PATTERN, TEXT_PATTERN
from stationkeep.cluster.settings import LONGEST, SettingsError, parse_duration


def in_words(longest: int) -> WrapValidator:
    """One fault for a value that is neither form of a duration of at most `longest` ms, in the
    configuration's words."""

    def check(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            try:
                parse_duration("", value, longest)
            except SettingsError as error:
                raise PydanticCustomError("duration", "{rule}", {"rule": error.rule}) from None
            raise

    return WrapValidator(check)


def flag(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """A flag as JSON has it, or in the command line's words."""
    try:
        return handler(value)
    except ValidationError:
        raise PydanticCustomError("flag", "on or off") from None


def following(fault_of: Callable[[str], str | None]) -> AfterValidator:
    """What the state machine would refuse, in its words."""

    def check(value: str) -> str:
        fault = fault_of(value)
        if fault is not None:
            raise PydanticCustomError("address", "{rule}", {"rule": fault})
        return value

    return AfterValidator(check)


NodeName = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=NAME_PATTERN)]
Address = Annotated[str, Field(max_length=MAX_HOST + 6)]
Label = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=NAME_PATTERN)]
DurationText = Annotated[str, Field(max_length=32, examples=["10m"])]
Seconds = Annotated[float, Field(ge=0, le=LONGEST / 1_000, allow_inf_nan=False)]
Duration = Annotated[DurationText | Seconds, in_words(LONGEST)]
Reason = Annotated[
    str, Field(max_length=500, pattern=TEXT_PATTERN, description="Why; kept in the history.")
]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Input(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def milliseconds(field: str, duration: str | float | None) -> int:
    """A duration in ms, 0 when none is given; raises `SettingsError` for one that is not."""
    return 0 if duration is None else parse_duration(field, duration)
