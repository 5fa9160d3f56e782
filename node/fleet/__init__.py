"""What one node does for the fleet: the intake of devices' reports, and the leader's rebalancing.

    intake.py         `DeviceIntake`: the devices that talk to this node
    replies.py        what a device is sent, and the seam to whatever carries it (`Listener`)
    registrations.py  registrations on their way into the log
    status_buffer.py  the newest statuses since the log last took them, one column each, by row
    report_outbox.py  reports on their way into the log: one flush a second, the same again until
                      it is known to be there
    connected.py      the connected devices, and what each was sent
    reach.py          whether what devices say here comes into the log, or another node is better
    load_shedding.py  how many devices a node sends to others
    errands.py        tasks: devices are sent theirs
    task_words.py     what devices say about tasks, on its way into the log
    rebalancer.py     the leader's duties: who is offline, who moves
    conductor.py      the leader's duties: which tasks are offered, whose time is over

Synchronous and without a clock of its own, as everything in `node.loop`: the simulator drives
the same code. What is promised, and what it hangs on:

- **An acknowledged registration is in the log.** A device hears `registered` only after the entry
  was applied here; every node knows its row and ring from then on.
- **An acknowledged word about a task is in the log**, and a device repeats it until then; the
  state takes it once, whichever node it comes by.
- **A status counts once.** Session and sequence order the words of a device; apply drops what
  is not newer. A flush whose outcome is unknown is proposed again with the very same content:
  merged with newer statuses it could be counted twice.
- **Everybody hears of the newest assignment.** Not by following events: after entries were
  applied, and after a snapshot replaced the state, what the connected devices were told is
  compared with the table, in a few passes over columns. A missed event loses nothing.
- **The newest word wins.** A connection is a device's as long as the log knows no newer
  (session, sequence) than was heard on it; else the device has moved on to another node, or
  another agent of it has started, and the connection is told so.
- **Without a leader nothing grows.** Of each device the newest status is kept (and how the last
  eight were judged); registrations wait in a bounded queue, with a deadline, and are refused
  beyond it.
"""
