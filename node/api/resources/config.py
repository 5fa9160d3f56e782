"""Replicated settings."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, WrapValidator, create_model
from starlette.responses import Response

from stationkeep.cluster.commands import ChangeSettings
from stationkeep.cluster.settings import (
    PROFILES,
    Unit,
    choices_of,
    counts_of,
    parse_changes,
    to_user,
    unit_of,
)
from stationkeep.node.api.bodies import Duration, Input, Ratio, Reason, flag
from stationkeep.node.api.consistency import Reading
from stationkeep.node.api.openapi import answers, outcomes
from stationkeep.node.api.submission import Submit
from stationkeep.node.http.problems import invalid
from stationkeep.node.views import nodes as views

router = APIRouter()

_TYPES: dict[Unit, Any] = {
    Unit.DURATION: Duration,
    Unit.RATIO: Ratio,
    Unit.FLAG: Annotated[bool | Literal["on", "off", "true", "false"], WrapValidator(flag)],
}


def _field(name: str, default: object) -> tuple[Any, Any]:
    return (_type(name) | None, Field(None, description=f"orbit: {default}"))


def _type(name: str) -> Any:
    match unit_of(name):
        case Unit.CHOICE:
            return Literal[tuple(str(word) for word in choices_of(name))]
        case Unit.COUNT:
            least, most = counts_of(name)
            return Annotated[int, Field(ge=least, le=most)]
        case unit:
            return _TYPES[unit]


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


@router.get("/v1/config", responses=answers(views.ConfigView))
async def get_config(read: Reading) -> Response:
    """The replicated settings as people write them."""
    settings = read.service.settings
    profile = next((name for name, known in PROFILES.items() if known == settings), None)
    return read.answer(views.ConfigView(to_user(settings), profile))


@router.patch("/v1/config", responses=outcomes())
async def change_config(submit: Submit, body: SettingsInput) -> Response:
    """Changes settings; refused as a whole when a relation between them would break."""
    given: dict[str, Any] = body.model_dump(
        exclude={"reason"}, exclude_unset=True, exclude_none=True
    )
    if not given:
        raise invalid("body", given, "at least one setting to change")
    return await submit(ChangeSettings(parse_changes(given)), body.reason)
