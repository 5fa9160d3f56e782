"""Bodies of writes: strict models that refuse unknown fields, wrong types and excess.

Durations are written as in the configuration ("10m", "1h", seconds); `parse_duration` reads
them, so that the message of a refusal is the same everywhere.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)
from pydantic_core import PydanticCustomError

from stationkeep.cluster.names import (
    MAX_HOST,
    MAX_NAME,
    NAME_PATTERN,
    TEXT_PATTERN,
    address_fault,
    link_fault,
)
from stationkeep.cluster.settings import (
    LONGEST,
    PROFILES,
    SettingsError,
    Unit,
    choices_of,
    parse_duration,
    to_user,
    unit_of,
)
from stationkeep.node.http.patterns import NO_NUL


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


def _flag(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    try:
        return handler(value)
    except ValidationError:
        raise PydanticCustomError("flag", "on or off") from None


def _following(fault_of: Callable[[str], str | None]) -> AfterValidator:
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
Pattern = Annotated[
    str, Field(min_length=1, max_length=128, description="`[NODE:]ORIGIN->TARGET`, `*` for any.")
]


class Input(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SwitchoverInput(Input):
    target: NodeName | None = None
    reason: Reason = ""


class FailoverInput(Input):
    target: NodeName
    force: bool = False
    reason: Reason = ""


class PauseInput(Input):
    duration: Duration
    reason: Reason = ""


class ResumeInput(Input):
    reason: Reason = ""


class AcknowledgeInput(Input):
    reason: Reason = ""


class MaintenanceInput(Input):
    on: bool
    duration: Duration = "1h"
    reason: Reason = ""


class JoinInput(Input):
    id: NodeName
    raft: Annotated[Address, _following(link_fault), Field(examples=["127.0.0.1:7706"])]
    http: Annotated[Address, _following(address_fault), Field(examples=["127.0.0.1:8706"])]
    reason: Reason = ""


class PriorityInput(Input):
    priority: Annotated[int, Field(ge=0, le=1_000)]
    reason: Reason = ""


class PolicyInput(Input):
    name: Label
    priority: Literal["safety", "performance", "availability"]
    score: Ratio
    forbids: Annotated[list[Pattern], Field(min_length=1, max_length=32)]
    lifetime: Duration | None = None
    reason: Reason = ""


class ActionInput(Input):
    name: Label
    targets: Annotated[list[NodeName], Field(max_length=99)] = []
    parameters: Annotated[
        dict[Label, Annotated[str, Field(max_length=1_000, pattern=NO_NUL)]], Field(max_length=32)
    ] = {}
    deadline: Duration | None = None
    reason: Reason = ""


_TYPES: dict[Unit, Any] = {
    Unit.DURATION: Duration,
    Unit.RATIO: Ratio,
    Unit.COUNT: Annotated[int, Field(ge=0, le=100)],
    Unit.FLAG: Annotated[bool | Literal["on", "off", "true", "false"], WrapValidator(_flag)],
}


def _field(name: str, default: object) -> tuple[Any, Any]:
    unit = unit_of(name)
    words = tuple(str(word) for word in choices_of(name)) if unit is Unit.CHOICE else ()
    kind = Literal[words] if words else _TYPES[unit]
    return (kind | None, Field(None, description=f"orbit: {default}"))


class SettingsBase(Input):
    """What a change of settings has beside the settings."""

    reason: Reason = ""


if TYPE_CHECKING:
    SettingsInput = SettingsBase
else:
    SettingsInput = create_model(
        "SettingsInput",
        __base__=SettingsBase,
        __doc__="Settings to change, by name; what is left out stays.",
        **{name: _field(name, shown) for name, shown in to_user(PROFILES["orbit"]).items()},
    )


def milliseconds(field: str, duration: str | float | None) -> int:
    """A duration in ms, 0 when none is given; raises `SettingsError` for one that is not."""
    return 0 if duration is None else parse_duration(field, duration)
