"""Methods, class methods and static methods are tasks, too.

Prints:
    11 True False False
    Counter 2
    3
"""

from taskyard import flow, task


class Counter:
    def __init__(self, start):
        self.start = start

    @task
    def plus(self, x):
        return self.start + x

    @task
    @classmethod
    def named(cls, x):
        return cls.__name__, x

    @task
    @staticmethod
    def alone(x):
        return x


@flow
def main():
    counter = Counter(10)
    plus = counter.plus
    print(plus(1), plus.ismethod, plus.isclassmethod, plus.isstaticmethod)
    print(*Counter.named(2))
    print(Counter.alone(3))


main()
