"""The OpenAPI document, and every request that it allows: none of them breaks the node."""

import json
import re

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from stationkeep.cluster.state.state import Access
from stationkeep.node.api.app import build
from stationkeep.node.security.authorisation import RIGHTS, may
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import register

ENDLESS = "/v1/events"

node = FakeNode().with_primary()
register(node, "device-001", "device-002", labels={"site": "lab"})
app = build(node, hosts=("testserver",))
schema = schemathesis.openapi.from_asgi("/openapi.json", app).exclude(path=ENDLESS)


@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_whatever_the_document_allows_is_answered_as_it_says(case: schemathesis.Case) -> None:
    response = case.call()
    assert response.status_code < 500 or response.status_code == 503  # a probe may say no
    case.validate_response(
        response,
        checks=[content_type_conformance, response_schema_conformance, status_code_conformance],
    )


def test_the_document_names_every_path_and_no_422() -> None:
    document = build(FakeNode()).openapi()
    assert {"/v1/cluster", "/v1/events", "/v1/snapshot", "/primary", "/v1/switchover"} <= set(
        document["paths"]
    )
    assert {"/v1/devices", "/v1/devices/{device}/ring", "/v1/rings", "/v1/rings/plan"} <= set(
        document["paths"]
    )
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all("422" not in operation["responses"] for operation in operations)
    assert all(operation.get("summary") for operation in operations)
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))


def test_the_document_names_no_module_of_ours() -> None:
    document = json.dumps(build(FakeNode()).openapi())
    assert re.findall(r"`(?:stationkeep|cluster|node)\.[\w.]+`", document) == []


def test_the_document_says_of_each_operation_which_roles_may() -> None:
    document = build(FakeNode()).openapi()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    said = {
        (method.upper(), path): next(iter(operation.get("security", [{}])[0].values()), None)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert said["POST", "/v1/pause"] == ["operator", "admin"]
    assert said["GET", "/v1/devices/{device}/assignment"] == ["admin", "device"]
    assert said["GET", "/v1/operations/{operation}"] == ["viewer", "operator", "admin"]
    assert said["GET", "/livez"] is None
    for (method, path), roles in said.items():
        for role in Access:
            route = next(r for m, r in RIGHTS if m == method and r.replace(":path}", "}") == path)
            assert may(role, method, route) is (roles is None or role in roles)
