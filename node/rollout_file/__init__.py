"""What people write of a rollout, and the plan that it means: durations as "5m", shares as "10%",
stages as bare names.

`reading` makes a `Plan` of JSON values and finds every fault, `writing` is its inverse, and
`document` reads files of YAML. Requests and files are read by the same code, so they have the same
keys. Source: node/guide/rollout-file.md.
"""
