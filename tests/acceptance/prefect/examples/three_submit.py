"""`submit` returns a future, for sync and async tasks alike.

Prints:
    async hello
    hello
    hello
    Completed()
"""

import asyncio

from taskyard import flow, task


@task
def hello():
    return "hello"


@task
async def hello_async():
    await asyncio.sleep(0)
    return "async hello"


@flow
def main():
    hello.submit()
    print(hello.submit().wait().result())
    print(hello.submit().result())
    print(hello.submit(return_state=True))


@flow
async def main_async():
    print(await hello_async.submit())
    hello.submit().wait()


asyncio.run(main_async())
main()
