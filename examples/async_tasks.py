"""`async def` tasks and flows: the same names, awaited.

Runs a handful of commands of this machine at the same time and shows what they print.
"""

import asyncio
import sys

from taskyard import flow, task


@task(timeout_seconds=20)
async def output_of(*command: str) -> str:
    """Runs a program and returns the first line it prints."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    return printed.decode().partition("\n")[0]


@flow
async def look_around() -> dict[str, str]:
    """Asks several programs at once."""
    python = sys.executable
    commands = {
        "interpreter": (python, "--version"),
        "platform": (python, "-c", "import platform; print(platform.platform())"),
        "processors": (python, "-c", "import os; print(os.cpu_count())"),
    }
    futures = {name: output_of.submit(*command) for name, command in commands.items()}
    found = {name: await future for name, future in futures.items()}
    found["answer"] = await output_of(python, "-c", "print(6 * 7)")  # a direct call is awaited as well
    return found


if __name__ == "__main__":
    for name, value in asyncio.run(look_around()).items():
        print(f"{name:12} {value}")
