"""The OpenAPI document: FastAPI's of the requests, msgspec's of the answers.

Answers are msgspec structs, which encode many times faster than models; their schemas are
published from the same definitions, so that the document cannot say anything else.
"""

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from stationkeep.node.api.resources import probes as health
from stationkeep.node.gateway import batch_bodies as batches
from stationkeep.node.http import problems
from stationkeep.node.security.authorisation import RIGHTS
from stationkeep.node.views import ca_rotation as rotation_views
from stationkeep.node.views import comparison, previews, records
from stationkeep.node.views import deployments as deployment_views
from stationkeep.node.views import fleet as fleet_views
from stationkeep.node.views import invitations as invitation_views
from stationkeep.node.views import level as level_views
from stationkeep.node.views import links as link_views
from stationkeep.node.views import machine as machine_views
from stationkeep.node.views import nodes as views
from stationkeep.node.views import rollouts as rollout_views
from stationkeep.node.views import tls as tls_views
from stationkeep.node.views import tokens as token_views
from stationkeep.node.wire import tasks

JSON = "application/json"
BINARY = "application/octet-stream"
EVENTS = "text/event-stream"
TEXT = "text/plain"

VIEWS: tuple[type[msgspec.Struct], ...] = (
    views.ClusterView,
    views.NodeView,
    views.NodeList,
    views.NodeRoleList,
    views.ConfigView,
    views.AlarmList,
    views.MeView,
    records.DecisionList,
    records.ExplanationView,
    records.ProposalList,
    records.ActionList,
    records.RoleChangeList,
    records.OperationView,
    records.DoneView,
    records.UnknownView,
    fleet_views.DeviceView,
    fleet_views.DeviceList,
    fleet_views.MoveList,
    fleet_views.DeviceExplanationView,
    fleet_views.RingsView,
    machine_views.MachineView,
    machine_views.RingMemoryView,
    fleet_views.RebalancePlanView,
    fleet_views.HealthPlanView,
    fleet_views.PoliciesPlanView,
    deployment_views.DeploymentView,
    deployment_views.DeploymentList,
    deployment_views.TaskView,
    deployment_views.TaskList,
    deployment_views.ArtifactView,
    deployment_views.ArtifactList,
    deployment_views.CreatedView,
    rollout_views.RolloutView,
    rollout_views.RolloutList,
    rollout_views.LaidDownView,
    rollout_views.TimelineView,
    previews.PreviewView,
    rollout_views.RolloutTaskList,
    rollout_views.RolloutExplanationView,
    comparison.ReportView,
    rollout_views.FreezeView,
    rollout_views.FreezeList,
    tls_views.CaView,
    tls_views.CertificateView,
    tls_views.RevokedList,
    rotation_views.RotationView,
    token_views.TokenView,
    token_views.TokenList,
    invitation_views.InvitationView,
    invitation_views.InvitationList,
    invitation_views.AdmittedView,
    batches.BatchView,
    batches.AssignedView,
    batches.StatusBatch,
    batches.RegistrationBatch,
    batches.TaskUpdateBatch,
    batches.TaskBatchView,
    tasks.TaskPayload,
    level_views.LevelView,
    link_views.LinksView,
    health.HealthView,
    problems.ProblemView,
)
ALWAYS = (400, 401, 403, 408, 413, 429)
"""Problems that any request may meet."""


def _content(view: type) -> dict[str, Any]:
    if view is bytes:
        return {BINARY: {"schema": {"type": "string", "format": "binary"}}}
    return {JSON: {"schema": {"$ref": f"#/components/schemas/{view.__name__}"}}}


def problem(status: int) -> dict[str, Any]:
    """How the document describes the problem with this HTTP status."""
    kind = next(kind for kind in problems.Kind if kind.status == status)
    schema = {"$ref": "#/components/schemas/ProblemView"}
    return {"description": kind.title, "content": {problems.MEDIA_TYPE: {"schema": schema}}}


def answers(view: type, *statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a read that answers with `view`, or with one of these problems."""
    return {
        200: {"description": "As asked.", "content": _content(view)},
        **{status: problem(status) for status in (*ALWAYS, 503, *statuses)},
    }


def outcomes() -> dict[int | str, dict[str, Any]]:
    """`responses=` of a write."""
    return {
        200: {"description": "Done and applied here.", "content": _content(records.DoneView)},
        202: {"description": "Outcome unknown yet.", "content": _content(records.UnknownView)},
        **{status: problem(status) for status in (*ALWAYS, 404, 409, 503)},
    }


def created(view: type) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a write that makes something."""
    done = {201: {"description": "Made, and applied here.", "content": _content(view)}}
    return done | {status: said for status, said in outcomes().items() if status != 200}


def _probe(summary: str, name: str) -> dict[str, Any]:
    content = _content(health.HealthView)
    responses = {
        "200": {"description": "Yes.", "content": content},
        "503": {"description": "No.", "content": content},
    }
    return {
        "get": {
            "tags": ["health"],
            "summary": summary,
            "operationId": f"probe_{name}",
            "responses": responses,
        }
    }


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, schemas = msgspec.json.schema_components(
            VIEWS, ref_template="#/components/schemas/{name}"
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas)
        for path, (_, summary) in health.PROBES.items():
            document["paths"][path] = _probe(summary, path[1:].replace("-", "_"))
        _drop_validation_answers(document)
        _say_who_may(document)
        app.openapi_schema = document
    return app.openapi_schema


def _say_who_may(document: dict[str, Any]) -> None:
    """Which roles have a right to each operation, where a node asks for a token."""
    scheme = {
        "type": "http",
        "scheme": "bearer",
        "description": "Where a node has `auth: required`.",
    }
    document["components"]["securitySchemes"] = {"token": scheme}
    rights = {(method, route.replace(":path}", "}")): it for (method, route), it in RIGHTS.items()}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            right = rights[method.upper(), path]
            if not right.nobody:
                operation["security"] = [{"token": right.roles}, {}]


def _drop_validation_answers(document: dict[str, Any]) -> None:
    """FastAPI announces a 422 of its own; here every invalid request is a 400 problem."""
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
