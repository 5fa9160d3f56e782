"""Traces of orders and proposals: what each node did for them, and how long it took. Off unless a
node's file has `tracing:`.

    request ─ propose ─┬─ commit                  an order, at the node that took it
                       ├─ apply                   every node
                       ├─ handover                the new PRIMARY
                       └─ acknowledge ─ commit    every target
    proposal ─┬─ propose ─ commit                 the leader whose plan it was
              ├─ vote ─ commit                    every elector
              └─ apply, handover, acknowledge     as above; `apply` of its opening, and of its end

Each node records only what it does itself, so no span is recorded twice. The spans form one trace
because its id, and the id of the parent span (`propose` of an order, or `proposal`), are derived
from what is in the log. A request continues the trace of its caller, and so do the spans that
follow on all nodes, unless the client chose the operation's id: then the two traces are linked.

Tracing only observes the entries applied here and the commands proposed here. It delays nothing,
and records nothing that it does not know for certain. A node that restarts, or installs a snapshot,
records nothing more about what had begun before; a leader that is lost takes its spans with it. So
traces may be incomplete, but are never wrong. Entries that were in the journal at the start were
applied in the previous run and are not recorded again.

Times are those of each node's own clock: spans of different nodes are off by as much as the clocks.

spans.py        spans: their ids, sampling and times
watching.py     observes what this node proposes and applies
request.py      a client's order, from request to response
otlp.py         exports to a collector; the only module that knows OpenTelemetry (extra `tracing`)

`wire/traceparent.py` reads the caller's trace from a request, `config/tracing.py` reads `tracing:`
from a node's file.
"""
