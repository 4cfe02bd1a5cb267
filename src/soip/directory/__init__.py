"""The directory: the database of organisations, sites, users, devices, cameras, media servers and recordings.

Rules of this room:

1. Open it with `Directory.open(url)` (see `directory.py`) and close it; each process has its own.
2. Rows leave this room as frozen dataclasses (`rows.py`); no one outside sees SQL.
3. A transaction is a plain function of one connection (`database.py`), so nothing else can be awaited inside it.
   Writing ones begin IMMEDIATE: on SQLite a transaction that starts by reading and then writes cannot wait.
4. What changes often (bindings, states, recordings, gaps, heartbeats) goes through `WriteBehind`: at most one
   transaction a second for each process, kept in memory while the database is away.
5. A change of configuration raises the version row in the same transaction; `Directory.follow` sees it within a second.
   Bindings, heartbeats and recordings never raise it.
6. Times are integers: microseconds UTC since 1970. Ids are `[A-Za-z0-9_][A-Za-z0-9._-]{0,63}`, unique across users,
   devices, cameras and media servers.

It imports nothing else of SoIP.
"""
