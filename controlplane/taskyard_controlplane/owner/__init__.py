"""The single writer of a shard: state in memory, the database as its log.

Everything here runs on one event loop. A change is applied to the record at once, its rows go into the next
commit, and whatever others can see of it (acknowledgements, assignments, results) happens after that commit.

Its rooms, each above those it may use (checked by an import contract):

    serving    the owner as a whole; connections and leases
    shard      everything of one shard put together; recovery
    queueing   from submission to an agent: ready queues, backlog, dispatch
    rules      what an event means: reports, flow reports, dependencies, cache keys, settling
    journal    what is recorded: commits, templates, and rows made into records again
    peers      live sessions of clients and agents
"""
