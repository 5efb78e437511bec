"""The single writer of a shard: state in memory, the database as its log.

Everything here runs on one event loop. A change is applied to the record at once, its rows go into the next
commit, and whatever others can see of it (acknowledgements, assignments, results) happens after that commit.

Its rooms, each above those it may use (checked by an import contract):

    serving       the owner as a whole; connections and leases
    shard         the parts of one shard put together; recovery
    after_commit  what follows a commit: promises, effects, refusals
    queueing      from submission to an agent: ready queues, backlog, dispatch
    rules         what an event means: reports, dependencies, cache keys, admission, settling
    journal       what is recorded and what is in memory: commits, the run book, templates, rows read back
    peers         live sessions of clients and agents
"""
