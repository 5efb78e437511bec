"""Scenarios with an owner and somebody who asks it why runs wait."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from support.explained import Asker, asking
from support.owner_harness import World

Scenario = Callable[[World, Asker], Coroutine[Any, Any, None]]
Ask = Callable[..., None]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Plays a scenario."""

    def play(scenario: Scenario, **options: Any) -> None:
        async def main() -> None:
            async with asking(tmp_path, **options) as (it, asker):
                await scenario(it, asker)

        asyncio.run(asyncio.wait_for(main(), 20))

    return play
