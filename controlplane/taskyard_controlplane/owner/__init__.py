"""The single writer of a shard: state in memory, the database as its log.

Everything here runs on one event loop. A change is applied to the record at once, its rows go into the next
commit, and whatever others can see of it (acknowledgements, assignments, results) happens after that commit.
"""
