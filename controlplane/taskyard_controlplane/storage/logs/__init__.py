"""Where logs are, and how they are read: files of days on SQLite, partitions on PostgreSQL.

Their tables are no part of the schema that migrations look after: each day has its own, as its writer made
it, and goes with it.
"""
