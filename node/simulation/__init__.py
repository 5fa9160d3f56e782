"""A whole cluster in one process and in virtual time: the machine that looks for our mistakes.

What is real: Raft (PySyncObj with our guards), journal and snapshot logic, `NodeLoop` with
gossip, votes, leases, hooks' bookkeeping, and `cluster.apply`. What is simulated: network, clocks,
disks, hooks, health, clients. One seed decides everything; the same seed replays exactly.

    scenario.py      what happens when: a seed, a cluster, a script of timed actions
    world.py         the agenda: deliveries, turns, actions, in the order of virtual time; most
                     verbs of a script

    machine/         `member` one node around the real parts, `disk` what survives a crash, `clock`
                     drift and jumps, `socket` the network as one node sees it
    links/           `network` links with two lanes; `connection` one of them: it simply delivers,
                     until packets can be lost: then `stream` is the kernel's TCP, packet by packet
                     (`retransmission`, `congestion`, `reception`), after `dialling`; `weather`
                     what becomes of a packet
    actors/          `clients` keyed commands, retried, and what they saw; `devices`; `operators`
    faults/          `profiles` named, each turning a seed into actions; `links` those of the
                     network, `disturbances` their verbs; `extremes` beyond what is promised
    checks/          `checks` what must hold after every turn, `promises` of what devices are sent,
                     `progress` while a fault lasts, `convergence` once all are over
    campaigns/       `campaign` many seeds; `hazards` each guard off; `agreement` what `plan`
                     computes, counted; `transcript` a run as a file; `summary`, `picture`

Its users: `tests/simulation`, `scripts/simulate`, `stationkeep simulate`.
"""
