"""``maia up``: everything one machine needs, from one command, and kept alive.

PostgreSQL (embedded or given), a Prefect server with a database of its own there, and a process that serves the
deployments. Whatever dies is started again; whatever ends, ends as a whole.
"""
