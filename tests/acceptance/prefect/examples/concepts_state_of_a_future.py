"""A future tells its state without waiting, and `wait` returns the last one, with the result.

Prints:
    a state: True
    Completed()
    5
"""

from taskyard import flow, task
from taskyard.states import State


@task
def five():
    return 5


@flow
def main():
    future = five.submit()
    print("a state:", isinstance(future.get_state(), State))
    final_state = future.wait()
    print(final_state)
    print(final_state.result())


main()
