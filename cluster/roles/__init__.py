"""Roles: which changes exist (`transitions`), and how the leader comes to want one (`evaluate`)."""
