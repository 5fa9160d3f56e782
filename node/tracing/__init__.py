"""Traces of orders and proposals: who did what on their way, and how long each took. Off unless a
node's file says `tracing:`.

    request ─ propose ─┬─ commit                  an order, at the node that took it
                       ├─ apply                   every node
                       ├─ handover                the new PRIMARY
                       └─ acknowledge ─ commit    every target
    proposal ─┬─ propose ─ commit                 the leader whose plan it was
              ├─ vote ─ commit                    every elector
              └─ apply, handover, acknowledge     as above; `apply` of its opening, and of its end

Each node tells of its own doings alone, so nothing is told twice. They meet in one trace because
its id, and that of the span which the others hang on (`propose` of an order, `proposal`), follow
from what is in the log. A request continues the trace of its caller, and what follows on all
nodes does as well, unless the client chose the operation's id; then the two traces are linked.

All of it only watches: the entries that are applied here and the commands that are proposed here.
It holds up nothing, and what it cannot know for certain it does not tell. A node that restarts,
or is sent a snapshot, says no more of what had begun before; the spans of a leader that is lost
are missing, while those of the others stay: traces may be cut, and are never wrong. What stood in
the journal at the start was applied in an earlier life and is not told again.

Times are those of each node's own clock; spans of different nodes are as far off as the clocks.

spans.py        spans, and when they are told
watching.py     what this node does, as it sees it happen
request.py      a client's order
otlp.py         to the collector: the only module that knows OpenTelemetry (extra `tracing`)

The caller's trace, as a request names it, is `wire/traceparent.py`'s; `tracing:` in a node's file
is `config/tracing.py`'s.
"""
