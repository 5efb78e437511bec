"""The interface of the storage room: all that the rest of the control plane may know of a database.

`rows` are written, `results` come back, `tables` declares which rows go into which table and how, `batch`
is one transaction's worth of them; `store`, `reader`, `documents` and `cache_entries` are what one can do.
Nothing here knows SQL.
"""

from taskyard_controlplane.storage.errors import DatabaseLost, RowsRefused
from taskyard_controlplane.storage.interface.batch import WriteBatch
from taskyard_controlplane.storage.interface.cache_entries import (
    CacheEntries,
    CacheReader,
    ClearedPart,
    EntryPage,
    StoredEntry,
)
from taskyard_controlplane.storage.interface.documents import (
    Document,
    DocumentReader,
    Documents,
    VersionConflict,
)
from taskyard_controlplane.storage.interface.logs import DAY_US, LogDay, LogPosition, LogStore, day_of
from taskyard_controlplane.storage.interface.reader import LAST_LOG, MOST_LOOKED_AT, Reader, RunFilter
from taskyard_controlplane.storage.interface.refused_rows import RefusedRow
from taskyard_controlplane.storage.interface.results import (
    BacklogPage,
    CachedResult,
    CalledRun,
    CommitResult,
    EndedCounts,
    ListedRun,
    OpenRun,
    OpenRuns,
    Ownership,
    ParkedRow,
    RunEnd,
    RunHead,
    RunPage,
    RunSums,
    StoredLog,
    StoredPayloads,
    StoredRun,
    SummedRuns,
)
from taskyard_controlplane.storage.interface.rows import (
    AgentRow,
    BacklogRow,
    BlobRefKind,
    BlobRefRow,
    BlobRow,
    BlobState,
    CacheRow,
    DispatchRow,
    EndedBadlyRow,
    EndedRow,
    EventRow,
    LogMarkRow,
    LogRow,
    LogTuple,
    NewRunRow,
    NoBadEndRow,
    ReopenedRow,
    TemplateRow,
)
from taskyard_controlplane.storage.interface.store import Store

__all__ = [
    "AgentRow", "BacklogRow", "BlobRefKind", "BlobRefRow", "BlobRow", "BlobState",
    "CacheRow", "DispatchRow", "EndedBadlyRow", "EndedRow", "EventRow",
    "LogMarkRow", "LogRow", "LogTuple", "NewRunRow", "NoBadEndRow", "ReopenedRow", "TemplateRow",
    "BacklogPage", "CachedResult", "CalledRun", "CommitResult", "EndedCounts", "ListedRun", "OpenRun",
    "OpenRuns", "Ownership", "ParkedRow",
    "RunEnd", "RunHead", "RunPage", "RunSums", "StoredLog",
    "StoredPayloads", "StoredRun", "SummedRuns",
    "CacheEntries", "CacheReader", "ClearedPart", "EntryPage", "StoredEntry",
    "DAY_US", "LAST_LOG", "LogDay", "LogPosition", "LogStore", "day_of",
    "DatabaseLost", "Document", "DocumentReader", "Documents", "VersionConflict",
    "MOST_LOOKED_AT", "Reader", "RefusedRow", "RowsRefused", "RunFilter", "Store", "WriteBatch",
]  # fmt: skip
