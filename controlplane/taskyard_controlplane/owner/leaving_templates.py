"""Templates that nothing names, on their way out of the database, and how whoever needs one meets that.

    retention begins to look -> what is used is noted -> all that was accepted before is durable
                             -> what rows name is read -> what nothing names, nobody holds and nobody has used
                                is removing (in memory) -> its row goes

Whoever reads a template back while its row goes waits, and reads again: it is there, or it is not, and then
it is recorded anew under another number. So no run ever names a row that is going.
"""

import asyncio
from collections.abc import Iterable


class LeavingTemplates:
    """Numbers of templates, by how far they have come. Of the owner's loop alone."""

    def __init__(self) -> None:
        """Nothing leaves."""
        self.noting = False
        """Whether what is used is to be noted. To be looked at before `used` is called."""
        self._used: set[int] = set()
        self._removing: set[int] = set()
        self._gone: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Note what is used from here on."""
        self.noting = True

    def end(self) -> None:
        """Note nothing any more."""
        self.noting = False
        self._used.clear()

    def used(self, template_ids: Iterable[int]) -> None:
        """Note that somebody is about to submit runs of some templates."""
        self._used.update(template_ids)

    def was_used(self, template_id: int) -> bool:
        """Whether somebody has used a template since this began."""
        return template_id in self._used

    def begin_removing(self, template_ids: Iterable[int]) -> None:
        """Note that rows begin to go."""
        self._removing.update(template_ids)
        self._gone = asyncio.get_running_loop().create_future()

    def end_removing(self) -> None:
        """Note that they are gone, or stay."""
        self._removing.clear()
        if self._gone is not None:
            self._gone.set_result(None)

    async def had_to_wait(self, template_ids: Iterable[int]) -> bool:
        """Wait while one of some templates is going, which was read before; whether one was."""
        if self._removing.isdisjoint(template_ids) or self._gone is None:
            return False
        await asyncio.shield(self._gone)
        return True
