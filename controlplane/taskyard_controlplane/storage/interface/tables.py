"""Which rows a batch can write, declared once.

`WriteBatch` has one list for each entry of `WRITES`, and both databases make their statements from the same
entries, so a new kind of row is: its class in `rows`, its entry here, its list's type in `batch`, its table
in `schema` and a migration. Tests hold all of these against each other.
"""

from enum import Enum
from typing import Any, Final, NamedTuple

from taskyard_controlplane.storage.interface.rows import (
    AgentRow,
    BacklogRow,
    BlobRefRow,
    BlobRow,
    CacheRow,
    DispatchRow,
    EndedBadlyRow,
    EndedRow,
    EventRow,
    KeyRow,
    LogMarkRow,
    LogRow,
    NewRunRow,
    NoBadEndRow,
    OldLogMarksRow,
    ReopenedRow,
    TakenRow,
    TemplateRow,
)


class Rule(Enum):
    """What writing a row means for the table."""

    APPEND = "insert; no row like it can exist"
    KEEP_FIRST = "insert, unless there is one under the key"
    ADD = "insert, unless there is the very same row"
    KEEP = "insert; a row under the key is not about to go any more"
    KEEP_LAST = "insert, or replace what is there under the key"
    CHANGE_OPEN = "update the run under the key, unless it has ended"
    CHANGE_ENDED = "update the run under the key, if it has ended"
    COPY_BAD_END = "insert what the run under the key says, if it has ended otherwise than completed"
    REMOVE = "delete what is there under the key"
    REMOVE_SAME = "delete what agrees in all columns"
    REMOVE_UP_TO = "delete what agrees in all columns but the last, up to the value of that one"


class Write(NamedTuple):
    """How one kind of row is written, on every database."""

    batch_list: str
    """The list of `WriteBatch` that holds them."""
    table: str
    row: type[Any]
    """The named tuple that says what a row holds, in order."""
    rule: Rule
    key: str = ""
    """The column that decides about conflicts."""
    rarely_set: tuple[str, ...] = ()
    """Columns that are NULL in most batches: not binding them saves SQLite a third of the insertion."""
    copied: tuple[str, ...] = ()
    """Columns that are filled from the run under the key."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a row, in order."""
        fields: tuple[str, ...] = self.row._fields
        return fields


# In the order of dependence: templates before runs, insertions before endings (a run may end in the batch
# that submits it), and endings before the cache entries that point at them.
WRITES: Final = (
    Write("templates", "template", TemplateRow, Rule.KEEP_FIRST, "template_id"),
    Write("agents", "agent", AgentRow, Rule.KEEP_FIRST, "number"),
    Write(
        "new_runs",
        "run",
        NewRunRow,
        Rule.KEEP_FIRST,
        "run_id",
        rarely_set=("caller_id", "name", "args_blob", "cache_key", "upstream", "headers"),
    ),
    Write("keys", "run", KeyRow, Rule.CHANGE_OPEN, "seq"),
    # Before endings: the attempt that follows may end in the same batch.
    Write("reopened", "run", ReopenedRow, Rule.CHANGE_ENDED, "seq"),
    Write("bad_ends_removed", "ended_badly", NoBadEndRow, Rule.REMOVE_SAME),
    Write("ended", "run", EndedRow, Rule.CHANGE_OPEN, "seq"),
    # Copied inside the transaction, so it says what the run's row says, whatever of the batch does not count.
    Write(
        "ended_badly",
        "ended_badly",
        EndedBadlyRow,
        Rule.COPY_BAD_END,
        "seq",
        copied=("kind", "state", "flow_seq"),
    ),
    Write("events", "run_event", EventRow, Rule.APPEND),
    Write("logs", "run_log", LogRow, Rule.APPEND),
    Write("log_marks", "log_mark", LogMarkRow, Rule.KEEP_LAST, "session_id"),
    Write("log_marks_removed", "log_mark", OldLogMarksRow, Rule.REMOVE_UP_TO),
    Write("dispatches", "dispatch", DispatchRow, Rule.APPEND),
    Write("backlog_added", "backlog", BacklogRow, Rule.KEEP_FIRST, "seq"),
    Write("backlog_removed", "backlog", BacklogRow, Rule.REMOVE_UP_TO),
    Write("backlog_taken", "backlog", TakenRow, Rule.REMOVE, "seq"),
    Write("cache", "cache_entry", CacheRow, Rule.KEEP_LAST, "cache_key"),
    Write("blobs_named", "blob", BlobRow, Rule.KEEP, "name"),
    Write("blob_refs", "blob_ref", BlobRefRow, Rule.ADD),
)

LISTS: Final = tuple(write.batch_list for write in WRITES)
NEW_RUNS: Final = LISTS.index("new_runs")
