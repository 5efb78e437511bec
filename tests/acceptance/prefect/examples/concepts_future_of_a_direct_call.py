"""What the first releases of Prefect 2 do with the future of a call: here the call has returned the value.

Prints:
    AttributeError: 'int' object has no attribute 'get_state'
    AttributeError: 'int' object has no attribute 'wait'
"""

from taskyard import flow, task


@task
def five():
    return 5


@flow
def main():
    for ask in (lambda: five().get_state(), lambda: five().wait().result()):
        try:
            print(ask())
        except AttributeError as error:
            print(f"AttributeError: {error}")


main()
