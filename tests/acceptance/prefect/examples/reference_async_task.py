"""Tasks of both kinds in an asynchronous flow.

Prints:
    async done
    sync done
"""

import asyncio

from taskyard import flow, task


@task
async def asynchronous():
    await asyncio.sleep(0)
    return "async done"


@task
def synchronous():
    return "sync done"


@flow
async def main():
    print(await asynchronous())
    print(synchronous())


asyncio.run(main())
