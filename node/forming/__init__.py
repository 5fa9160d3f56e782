"""Makes a machine a node: the first one of a cluster (`founding`), or one more of it (`joining`).

Both write a CA, a certificate and a node's file, and neither starts anything. Each file is replaced
as a whole and synced, in an order in which whoever is killed in between is run again. What is there
already is never replaced. Source: guide/forming.md.
"""
