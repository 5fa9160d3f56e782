"""A whole cluster in one process and in virtual time, to find our mistakes.

What is real: Raft (PySyncObj with our guards), journal and snapshot logic, `NodeLoop` with
gossip, votes, leases, hooks' bookkeeping, and `cluster.apply`. What is simulated: network, clocks,
disks, hooks, health, clients. One seed decides everything; the same seed replays exactly.

    actions.py       the verbs of a script: the words that each takes, and what it does to a world
    world.py         one run: the turns of the nodes, the life and death of their processes
    scenario.py      what happens when: a seed, a cluster, a script of timed actions
    agenda.py        virtual time, and the calls that are due in it

    campaigns/       `campaign` many seeds; `hazards` each guard off; `agreement` what `plan`
                     computes, counted; `transcript` a run as a file; `summary`, `picture`
    actors/          `clients` keyed commands, retried, and what they saw; `devices`, each a
                     `device`, some of them `carriers` of tasks; `operators` who add and remove
                     members, `newcomers` that come by invitation, `movers` that are elsewhere now,
                     `deployments` by others; `authority`: who issues, renews and replaces
                     certificates, and who is refused; `liars`: nodes that report of tasks what no
                     device said; `deceivers`: nodes that send devices what is in no log; `windows`
                     in which alone a device begins to install; `rollouts` by others, with their
                     `plans`
    checks/          `checks` what must hold after every turn, `promises` what devices were
                     promised, `tasks` the steps of tasks and what is acknowledged of them,
                     `rollouts` who is told when, and what devices run in the end,
                     `linked` who is linked with whom, `progress` while a fault lasts,
                     `convergence` once all are over
    faults/          `profiles` named, each turning a seed into actions; `links` those of the
                     network, `disturbances` what they do; `certificates`; `extremes` beyond what
                     is promised
    machine/         `node` one node around the real parts, `members` all nodes, `disk` what
                     survives a crash, `clock` drift and jumps, `papers` its certificates,
                     `socket` the network as one node sees it
    links/           `network` links with two lanes, `link` one of them; `connection` one
                     connection: while no packet can be lost it simply delivers, else `stream` is
                     the kernel's TCP, packet by packet (`retransmission`, `congestion`,
                     `reception`), after `dialling`; `weather` what becomes of a packet

Its users: `tests/simulation`, `scripts/simulate`, `stationkeep simulate`.
"""
