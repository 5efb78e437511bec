"""A key with the id of the flow run: once in each flow run.

Prints:
    an expensive operation
    [42, 42]
    an expensive operation
    [42, 42]
"""

from taskyard import flow, task
from taskyard.tasks import task_input_hash


def key_in_flow_run(context, parameters):
    return f"{context.flow_run_id}-{task_input_hash(context, parameters)}"


@task(cache_key_fn=key_in_flow_run)
def expensive():
    print("an expensive operation")
    return 42


@flow
def main():
    return [expensive(), expensive()]


for _ in range(2):
    print(main())
