"""A whole cluster in one process and in virtual time: the machine that looks for our mistakes.

What is real: Raft (PySyncObj with our guards), journal and snapshot logic, `NodeLoop` with
gossip, votes, leases, hooks' bookkeeping, and `cluster.apply`. What is simulated: network, clocks,
disks, hooks, health, clients. One seed decides everything; the same seed replays exactly.

    scenario.py    what happens when: a seed, a cluster, a script of timed actions
    actions.py     the verbs of a script
    faults.py      named fault profiles, each turning a seed into actions, in one rhythm.py
    link_faults.py those of the network;  extremes.py  profiles beyond what is promised
    world.py       the agenda: deliveries, turns, actions, in the order of virtual time
    member.py      one simulated node around the real parts
    network.py     links with two lanes, and when each is used;  socket.py  as one node sees them
    weather.py     what becomes of a packet;  disturbances.py  the verbs that make it worse
    connection.py  one connection: it simply delivers, until packets can be lost
    stream.py      then it is the kernel's TCP, packet by packet: its timeouts
                   (retransmission.py), window (congestion.py), receiving end (reception.py)
    dialling.py    SYN, SYN-ACK and hellos, and several dials that race
    disk.py        what survives a crash, and the named points at which one can happen
    clock.py       drift, and wall clocks that jump
    clients.py     keyed commands, retried as clients do, and what they saw
    devices.py     devices and what they do;  promises.py  what they are told must stay true
    operators.py   who is taken into the cluster, and who is sent away
    checks.py      what must hold after every turn;  linearizability.py  of the clients' histories
    quorums.py     majorities of a configuration that changes
    progress.py    what must go on while a fault lasts
    convergence.py what must come true within a bound once the faults are over
    agreement.py   what `plan` computes, counted in whole simulated clusters
    transcript.py  a run as a file: readable, versioned, replayable, and shrunk
    campaign.py    many seeds;  summary.py, picture.py  what an operator wants to know of them

Its users: `tests/simulation`, `scripts/simulate`, `stationkeep simulate`.
"""
