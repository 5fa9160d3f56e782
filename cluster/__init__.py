"""What every node agrees on: the theory on one page.

**State machine.** `apply(state, entry, index)` is the only writer of a `ClusterState`. It is
total (a refusal is a value, an exception would stop every replica at the same entry for ever) and
deterministic: integers only, no clock, no randomness, no iteration whose order is not the order
of the log. Equal applied index therefore means equal `codec.digest`.

**Time.** Cluster time is an integer of milliseconds that moves only through entries: the leader
stamps each with the last cluster time plus its own monotonic time since. While nobody leads it
does not advance; it never runs ahead of real time. Deadlines live in the state and fall due in
`deadlines.advance` at the same entry on every replica; `deadlines.next_due` tells the leader when
an entry is needed for that.

**From health to a change of role.**

1. Nodes report to each other outside the log. At each evaluation the leader commits one
   `RecordEvaluation`: for every member the median risk of the reports received since the last
   one, or a missed sample. Histories and runs are in the state, so a new leader continues them.
2. `roles.evaluate.evaluate_roles(state, now)` is pure. It returns motions, and holds: what it would
   have proposed but may not, with the reason. Both are committed in one `AdoptPlan` that names the
   revision it was made on, so that a deposed leader's late plan is refused.
3. Each motion becomes a proposal; the electorate are the nodes alive now. Every elector judges it
   by the reports that it received itself (`roles.proposals.judge`) and commits a vote. With two
   thirds of the votes, rounded up, the change is applied in the entry of the deciding vote, after
   everything was checked again (`roles.proposals.obstacle`).
4. `roles.seat.change_roles` moves the seat, raises its epoch, and opens an action that every
   alive node must acknowledge; nodes that do not are escalated (`roles.actions`).

**Never two PRIMARYs.** A holder acts under a lease that it counts from when it *sent* a report
which a committed command echoed. `registry.hear` records for each member a cluster time by which
any such lease has expired, drift included. A successor becomes active when its predecessor has
acknowledged its demotion at the new epoch, or at that time (`roles.seat`).

**Alarms** (`alarms`) are a closed set, raised and cleared where the state changes, or by what a
member reports of itself for long enough. Webhooks are sent what the decision log holds, which is
numbered; how far each has received it is in the state. Whether anything needs attention is judged
in one place, `verdict`, for everything that shows it.

**The fleet.** Devices are rows of numpy columns (`devices.table`). Nodes commit what their devices
said as columns, once a second at most (`fleet.reports`): a verdict needs several statuses in a
row. From time to time the leader copies the columns and plans which devices belong in another
ring (`fleet.rebalance`, pure, with the randomness it is given); the plan is recorded as an
explicit list of moves, and each is made only if its reason still holds (`fleet.checks`).

- *A device moves when it must*: unhealthy in STAGE or PROD, or against its policy; *when it goes
  home* after its health sent it away; *when a ring is off its quota by more than the band*, from
  surplus to deficit; or *by redistribution*, as much of it as the settings allow. Devices that are
  pinned or offline stay, and so, unless they must move, do those that have not dwelt.
- *Health goes before policy, a pin before both.* Each policy has quotas of its own.
- Every change of an assignment raises its revision and is in the log of moves with its reason and
  actor (`fleet.journeys`). What a device is sent is read from the table.

**Tasks.** A deployment is a roster of tasks, one a device, in columns (`deployments.roster`);
which steps a task may take is one table (`deployments.lifecycle`), and every step is taken in one
place (`delivery.steps`). The leader plans offers and expiries (pure), nodes commit what devices say
of their tasks; apply checks all of it again row by row, and leaves out what no longer holds.

- *A device runs what it reports*: an installation has succeeded when the device registers with
  the version, not when it says so, and has failed if it then reports another.
- *Every word is taken once*: (deployment, device, birth, attempt) must be the present one, and the
  table must have the step; a repetition is answered and changes nothing.
- *Every wait has an end*, which the leader looks for; a million tasks are too many for `deadlines`.

**Rollouts.** A stage is a deployment that its rollout opens and keeps open while it is judged.
What is asked for is a plan (`rollouts.plan`), which never changes once it runs; the steps of a
rollout and of a stage are two tables (`rollouts.lifecycle`), taken in one place
(`progression.steps`). What comes next is read off the state by one function, `progression.advance`:
the leader proposes it, apply looks again.

- *Who belongs to a stage is found in apply*, by rings and lots: one short entry opens a stage of a
  million devices.
- *Stopping needs proof, passing needs the figure, the rest needs a person* (`rollouts.gates`). Each
  updated device is compared with twins that were found when it was told (`progression.twins`), and
  the evidence holds however often one looks.
- *There is always a way back* (`progression.rollback`): nothing begins that would not leave room
  for it, and nobody forgets who ran what while a rollout goes on.

**The caller's duties** (kept by `node`):

- Feed `apply` every committed entry once, in order; nothing else may touch the state.
- Sync entries before sending what depends on them; acknowledge after applying.
- Treat events as news, not as orders: compare what should be with what is.
- Only the leader records evaluations, adopts plans, renews leases and advances time; being wrong
  about who leads costs a refused entry, never a wrong one.
"""
