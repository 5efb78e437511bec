"""Verbs: what turns decorated functions into runs, and runs into results.

The public doors (`taskyard.tasks`, `taskyard.flows`, `taskyard.futures`, `taskyard.task_runners`) stand on
this and are never imported from here. Rooms, from the top: `flow_runs` and `recorded_runs`, `thread_agent`
and `own_agent`, `submission`, `execution`, `definitions`, `futures`; each may use those below it, the
network, the words that users write (`context`, `states`, `logging`, `cache_policies`) and the data.
"""
