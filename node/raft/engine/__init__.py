"""PySyncObj and its guards: elections, replication, membership (README.md one folder up)."""
