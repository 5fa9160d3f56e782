"""Whatever the documented types of orders allow, up to their limits, passes the turns of a cluster.

An order is taken by the application first; what it puts into the log then goes into the log of
whole nodes, which act by it for a while. Nothing may raise, and all nodes must end in one state.
What devices say has a test like it (`tests.node.gateway.test_extremes`).
"""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from stationkeep.cluster.commands import CreateDeployment, CreateRollout, Draft
from stationkeep.cluster.deployments.artifacts import Artifact
from stationkeep.cluster.deployments.deployment import Target
from stationkeep.cluster.rollouts.plan import Plan, plan_faults
from stationkeep.cluster.state import codec
from stationkeep.node.api.app import build
from stationkeep.node.rollout_file.writing import plan_json
from tests.node.api.fake import FakeNode
from tests.node.api.fleet_story import register
from tests.node.api.test_fast_path import BODIES
from tests.node.fleet.test_intake import WELL, C, Fleet
from tests.strategies import plans

CAPABLE = {"deployment": "true"}
DEPLOYMENT = CreateDeployment(Target(everyone=True), artifact=Artifact("2.0.0"))
ROLLOUT = CreateRollout("fw", Plan(Artifact("3.0.0")))
ORDERS = sorted(route for route in BODIES if ":" not in route and route != "POST /v1/nodes")
"""All but what devices say, and the join of a node that there would have to be."""
PLACES = {
    "node": "sat-002", "device": "device-001", "number": "1", "alarm": "no_primary",
    "rollout": "fw", "freeze": "xmas", "invitation": "ab12cd34", "token": "ab12cd34",
}  # fmt: skip
READS = (
    "cluster", "nodes", "config", "rings", "devices", "deployments", "actions", "rollouts",
    "freezes", "artifacts",
)  # fmt: skip
PLANS = plans.filter(lambda plan: not any(plan_faults(plan))).map(plan_json)
TEXTS = [
    "",
    "a",
    "0s",
    "10ms",
    "1d",
    "90d",
    "battery > 0",
    "cpu < 327",
    "app=1.0.0",
    "2.0.0",
    "x:1",
]
NAMES = ["dev", "prod", "version", "target", "a"]
UNBOUNDED = 2.0**70


def made(schema: dict[str, Any], shapes: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a JSON schema, its bounds above all."""
    match schema:
        case {"$ref": ref}:
            return made(shapes[ref.rpartition("/")[2]], shapes)
        case {"anyOf": kinds} | {"oneOf": kinds}:
            return st.one_of([made(kind, shapes) for kind in kinds])
        case {"enum": values}:
            return st.sampled_from(values)
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "null"}:
            return st.none()
        case {"type": "integer" | "number" as kind}:
            bounds = schema.get("minimum", -UNBOUNDED), schema.get("maximum", UNBOUNDED)
            ends = st.sampled_from(list(map(int if kind == "integer" else float, bounds)))
            return ends if kind == "integer" else ends | st.floats(*map(float, bounds))
        case {"type": "string"}:
            return st.sampled_from(TEXTS) | st.just("ü" * schema.get("maxLength", 99))
        case {"type": "array", "items": item}:
            return st.lists(made(item, shapes), max_size=3)
        case {"type": "object", "properties": properties}:
            needed = schema.get("required", ())
            fields = {name: made(kind, shapes) for name, kind in properties.items()}
            return st.fixed_dictionaries(
                {name: field for name, field in fields.items() if name in needed},
                optional={name: field for name, field in fields.items() if name not in needed},
            )
        case {"type": "object"}:
            kinds = schema.get("patternProperties", {}).values()
            value = next(iter(kinds), schema.get("additionalProperties"))
            return st.dictionaries(st.sampled_from(NAMES), made(value, shapes), max_size=3)
        case _:
            raise AssertionError(f"nothing here makes {schema}")


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return build(FakeNode())


@st.composite
def orders(draw: st.DrawFn, document: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """One that is right, but for some fields of which only the type is."""
    route = draw(st.sampled_from(ORDERS))
    method, _, path = route.partition(" ")
    content = document["paths"][path][method.lower()]["requestBody"]["content"]
    shapes, schema = document["components"]["schemas"], content["application/json"]["schema"]
    name = schema.get("anyOf", [schema])[0]["$ref"].rpartition("/")[2]
    fields = shapes[name]["properties"]
    body = dict(BODIES[route])
    for field in draw(st.lists(st.sampled_from(sorted(fields)), max_size=4)):
        kind = PLANS if field == "plan" else made(fields[field], shapes)
        body[field] = draw(kind)
    return method, path.format_map(PLACES), body


class Noting(FakeNode):
    """Notes what goes into its log by order."""

    def __init__(self) -> None:
        super().__init__()
        self.drafts: list[Draft] = []

    async def submit(self, draft: Draft, caller: Any, timeout: float) -> Any:  # noqa: ASYNC109
        self.drafts.append(draft)
        return await super().submit(draft, caller, timeout)


async def taken(app: FastAPI, method: str, path: str, body: dict[str, Any]) -> list[Draft]:
    """What one node makes of an order."""
    app.state.service = node = Noting().with_primary()  # type: ignore[assignment]
    register(node, "device-001", capabilities=CAPABLE)
    node.commit(DEPLOYMENT)
    node.commit(ROLLOUT)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8701") as client:
        answer = await client.request(method, path, json=body)
        assert answer.status_code < 500, answer.text
        for read in (
            "cluster",
            "nodes",
            "config",
            "rings",
            "devices",
            "deployments",
            "actions",
            "rollouts",
        ):
            assert (await client.get(f"/v1/{read}")).status_code == 200
    return node.drafts


def test_whatever_an_order_may_say_passes_the_turns_of_the_cluster(app: FastAPI) -> None:
    document = app.openapi()

    @given(orders(document))
    @settings(deadline=None)
    def walk(order: tuple[str, str, dict[str, Any]]) -> None:
        drafts = asyncio.run(taken(app, *order))
        fleet = Fleet()
        fleet.register("device-001", reading=WELL, app_version="1.0.0", capabilities=CAPABLE)
        fleet.order(DEPLOYMENT)
        fleet.order(ROLLOUT)
        results: list[Any] = []
        for draft in drafts:
            fleet.loops[C].consensus.propose(codec.encode_draft(draft), results.append, 5.0)
        fleet.run(3.0)
        assert len(results) == len(drafts)
        states = [codec.digest(loop.replica.state) for loop in fleet.loops.values()]
        assert len(set(states)) == 1

    walk()
