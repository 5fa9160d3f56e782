"""Programs' side of the API: asks the nodes of a cluster, and gives them orders.

errors        how a call ends when it does not end well
problems      problem documents of nodes
exchange      one request, bounded in bytes and in time
"""
