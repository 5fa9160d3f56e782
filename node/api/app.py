"""The HTTP API of one node: assembled here, told apart by concern in the modules beside."""

import asyncio
from collections.abc import Collection
from functools import partial

from fastapi import FastAPI
from prometheus_client.registry import Collector

from stationkeep.node.api import guide, openapi, pages
from stationkeep.node.api.resources import (
    actions,
    alarms,
    artifacts,
    ca_rotation,
    cluster,
    config,
    decisions,
    deployments,
    device_batches,
    device_tasks,
    devices,
    events,
    freezes,
    invitations,
    joining,
    level,
    me,
    nodes,
    operations,
    probes,
    rings,
    roles,
    rollout_orders,
    rollout_previews,
    rollouts,
    snapshot,
    tls,
    tokens,
)
from stationkeep.node.gateway.sessions import Sessions
from stationkeep.node.http import problems
from stationkeep.node.http.access import Admission, Entrance
from stationkeep.node.http.fast_path import FastPath
from stationkeep.node.http.limits import MAX_BATCH_BYTES, Limits
from stationkeep.node.http.origin import Origin
from stationkeep.node.http.worker import Worker
from stationkeep.node.metrics import node as metrics
from stationkeep.node.metrics.access import AccessCollector
from stationkeep.node.metrics.devices import AgentsCollector
from stationkeep.node.metrics.tls import TlsCollector
from stationkeep.node.metrics.traces import TracesCollector
from stationkeep.node.metrics.webhooks import WebhooksCollector
from stationkeep.node.security.contexts import Contexts
from stationkeep.node.security.registrar import Registrar
from stationkeep.node.service.node_service import NodeService
from stationkeep.node.service.port import Service
from stationkeep.node.system.addresses import split_address
from stationkeep.node.system.turns import Gate
from stationkeep.node.version import VERSION

RESOURCES = (
    *(cluster, level, nodes, roles, decisions, actions, alarms, config, operations),
    *(devices, rings, device_batches, device_tasks, deployments),
    *(rollouts, rollout_orders, rollout_previews, freezes, artifacts, events, snapshot, me),
    *(tokens, tls, ca_rotation, invitations, joining),
)

DESCRIPTION = """
Every node answers every request. Reads are local and say how old they are
(`X-Stationkeep-Applied-Index`, `X-Stationkeep-Staleness-Ms`); `?consistency=strong` passes a
read barrier first. Writes go through the replicated log; with an `Idempotency-Key` a repetition
returns the first outcome. Errors are RFC 9457 problem documents.
"""


def create_app(
    service: NodeService, agents: Sessions, certified: Contexts | None = None
) -> FastAPI:
    """The application of a running node; `agents`: its WebSockets, which are beside it."""
    collectors: list[Collector] = [AgentsCollector(agents)]
    collectors.append(WebhooksCollector(service.loop.webhooks))
    if service.tracing is not None:
        collectors.append(TracesCollector(service.tracing.spans.sink))
    if certified is not None:
        collectors.append(TlsCollector(certified))
    own = service.config
    founders = [split_address(member.http)[0].lower() for member in own.members]
    hosts = {*own.http_hosts, *founders}
    registrar = None if own.tls is None else Registrar(own.tls.ca, own.tls.ca_key)
    return build(
        service, *collectors, hosts=hosts, admission=agents.admission, certified=certified,
        registrar=registrar,
    )  # fmt: skip


def build(
    service: Service,
    *collectors: Collector,
    hosts: Collection[str] = (),
    admission: Admission | None = None,
    certified: Contexts | None = None,
    registrar: Registrar | None = None,
) -> FastAPI:
    """The application that speaks for `service`; `collectors`: what else it exports; `hosts`:
    under which names it answers, beside those of the members; `admission`: to whom, None: to
    everybody; `certified`: the node's certificates, if it has any; `registrar`: who issues those of
    new members."""
    admission = admission or Admission(probes=probes.PROBES)
    app = FastAPI(
        title="Stationkeep",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,  # `pages` has one of ours
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # we have our own
    )
    app.state.service = service
    app.state.tls = certified
    app.state.registrar = registrar
    app.state.admission = admission
    app.state.snapshots = snapshot.Slots()
    app.state.planning = asyncio.Lock()
    app.state.worker = Worker()
    app.state.parts = Gate(1)
    app.state.guide = guide.Shelf()
    app.router.routes[:0] = probes.routes(service)
    instruments = metrics.Instruments(service)
    for collector in (*collectors, AccessCollector(admission)):
        instruments.registry.register(collector)
    app.router.routes.append(instruments.route())
    for resource in RESOURCES:
        app.include_router(resource.router)
    app.include_router(pages.routes(pages.load()))
    app.include_router(guide.router)
    problems.install(app)
    # The last one that is added is asked first.
    app.add_middleware(
        FastPath, routes=[route for resource in RESOURCES for route in resource.router.routes]
    )
    app.add_middleware(
        Limits,
        scrapes=(metrics.PATH,),
        follows=(events.PATH,),
        rescues=(*roles.RESCUES, rings.RELEASE_BRAKE),
        exempt=probes.PROBES,
        bodies=dict.fromkeys(
            (device_batches.REPORT, device_batches.REGISTER, device_tasks.REPORT), MAX_BATCH_BYTES
        ),
    )
    app.add_middleware(Entrance, admission=admission)
    app.add_middleware(
        Origin,
        members=lambda: (member.http for member in service.state.members.values()),
        hosts=hosts,
        probes=probes.PROBES,
    )
    app.openapi = partial(openapi.describe, app)  # type: ignore[method-assign]
    _prepare(app)
    return app


def _prepare(app: FastAPI) -> None:
    """FastAPI works out what a route depends on when a request first comes by it: 0.1 s for all of
    them, in one turn of the event loop. So one comes by here, before anybody asks."""
    by = {"type": "http", "method": "GET", "path": "/nowhere", "root_path": "", "headers": []}
    for route in app.router.routes:
        route.matches(by)
