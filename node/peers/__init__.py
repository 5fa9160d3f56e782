"""Links between the members of one cluster, on two lanes: streams and datagrams.

`network.py`: the links, and the messages from them · `whereabouts.py`: who the peers are, and where
· `link.py`: one peer, and the lane for each message · `dialling.py`: how it is reached, and
`obstacles.py`: what is met there · `sessions.py`: numbers, keys and echoes · `streams.py`,
`datagrams.py`: the sockets · `hello.py`: identification · `frames.py`: encoding · `figures.py`:
statistics of losses.

How messages between members may grow, so that releases understand each other:

- *Every message is a map, and unknown fields are ignored*, in hellos, reports (`health.reports`),
  messages of Raft (`raft.engine.messages`), forwarded drafts and their answers (`raft.forwarding`)
  and tables of peers. A field that a release adds must be one that others can do without, and that
  it can do without when they do not send it. The same holds for second-hand reports, which are
  arrays: they grow at the end.
- *What an older release would misunderstand is another protocol*: another meaning of a field, a new
  kind of message that must be answered, other frames or datagrams (`sessions.VERSION`). The hello
  says which protocols a node speaks (`hello.PROTOCOLS`).
- *What enters the log has a level instead* (`cluster.levels`): drafts, entries, snapshots.
"""
