"""Direct calls in order: each has ended when the next begins, so `wait_for` has nothing left to wait for.

Prints:
    a
    b
    c
    d
"""

from taskyard import flow, task


@task
def say(name):
    print(name)


@flow
def main():
    a = say("a")
    b = say("b")
    c = say("c", wait_for=[a, b])
    say("d", wait_for=[c])


main()
