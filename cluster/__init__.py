"""What every node agrees on: the theory on one page.

**State machine.** `apply(state, entry, index)` is the only writer of a `ClusterState`. It is
total (a refusal is a value, an exception would stop every replica at the same entry for ever) and
deterministic: integers only, no clock, no randomness, no iteration whose order is not the order
of the log. Equal applied index therefore means equal `codec.digest`.

**Time.** Cluster time is an integer of milliseconds that moves only through entries: the leader
stamps each with the last cluster time plus its own monotonic time since. While nobody leads it
stands still; it never runs ahead of real time. Deadlines live in the state and fall due in
`clockwork.advance` at the same entry on every replica; `clockwork.next_due` tells the leader when
an entry is needed for that.

**From health to a change of role.**

1. Nodes report to each other outside the log. At each evaluation the leader commits one
   `RecordEvaluation`: for every member the median risk of the reports heard since the last one,
   or a missed sample. Histories and runs live in the state, so a new leader counts on.
2. `roles.evaluate.evaluate_roles(state, now)` is pure. What it wants comes back as motions, what
   it wanted and may not as holds with reasons; both are committed in one `AdoptPlan` that names
   the revision it was made on. A deposed leader's late plan is refused by that number.
3. Each motion becomes a proposal with the nodes alive as electorate. Every elector judges it on
   what it heard itself (`proposals.judge`) and commits a vote. Two thirds, rounded up, and the
   change is applied by the entry of the deciding vote, after everything was checked again
   (`proposals.obstacle`).
4. `roles.seat.change_roles` moves the seat, raises its epoch, and opens an action that every
   alive node must acknowledge; who does not is escalated (`actions`).

**Never two PRIMARYs.** A holder acts under a lease that it counts from when it *sent* a report
which a committed command echoed. `registry.hear` notes for each member a cluster time by which
any such lease is over, drift included. A successor becomes active when its predecessor has
acknowledged its demotion at the new epoch, or at that time (`roles.seat`).

**Alarms** (`alarms`) are a closed set, raised and cleared where the state changes, or by what a
member says of itself for long enough. Whatever is to be told of them, and of changes of role, is
told from the decision log, which is numbered; how far each webhook has been told is in the state.
Whether anything needs somebody is judged in one place, `verdict`, for all who show it.

**The fleet.** Devices are rows of numpy columns (`fleet.table`). Nodes commit what their devices
said as columns, once a second at most (`fleet.reports`): a verdict needs several statuses in a
row. From time to time the leader copies the columns and plans which devices belong into another
ring (`fleet.rebalance`, pure, with the randomness it is given); the plan is recorded as an
explicit list of moves, and each is made only if its reason still holds (`fleet.checks`).

- *A device moves when it must*: unhealthy in STAGE or PROD, or against its policy; *when it goes
  home* after its health sent it away; *when a ring is off its quota by more than the band*, from
  surplus to deficit; or *by redistribution*, as much of it as the settings allow. Whoever is
  pinned, offline or (unless it must) has not dwelt, stays.
- *Health goes before policy, a pin before both.* Quotas are kept for each policy by itself.
- Every change of an assignment raises its revision and stands in the log of moves with its reason
  and actor (`fleet.journeys`): what a device is told is read off the table, never remembered.

**Tasks.** A deployment is a roster of tasks, one a device, in columns (`deployments.roster`);
which steps a task may take is one table (`deployments.lifecycle`), and every step is taken in one
place (`delivery.steps`). The leader plans offers and expiries (pure), nodes commit what devices say
of their tasks; all of it is looked at again row by row, and what no longer holds is left out.

- *A device runs what it reports*: an installation has succeeded when the device registers with
  the version, not when it says so, and has failed if it then reports another.
- *Every word is taken once*: (deployment, device, birth, attempt) must be the present one, and the
  table must have the step; a repetition is answered and changes nothing.
- *Every wait has an end*, which the leader looks for: a million deadlines are not in the clockwork.

**The caller's duties** (kept by `node`):

- Feed `apply` every committed entry once, in order; nothing else may touch the state.
- Sync entries before sending what depends on them; acknowledge after applying.
- Treat events as news, not as orders: compare what should be with what is.
- Only the leader records evaluations, adopts plans, renews leases and advances time; being wrong
  about who leads costs a refused entry, never a wrong one.
"""
