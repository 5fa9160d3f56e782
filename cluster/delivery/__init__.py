"""Tasks: what devices are told to do, and what became of it.

A deployment is a roster of tasks, one a device. The leader plans which tasks are offered and whose
wait is over (`offers`, `expiries`), nodes say what their devices said (`reports`), and a device
that registers says which version it runs (`arrivals`): that, and not what it was told, decides
whether an installation succeeded. All of it is checked again in apply, and every step of a task is
taken in one place (`steps`), by the table in `cluster.deployments.lifecycle`.
Source: node/guide/reference/tasks.md.
"""
