"""The agent's protocol machine."""

from collections.abc import Iterable, Sequence

import pytest

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, session_service_pb2, template_pb2
from taskyard_contract.agent_link.handler import Demand, Identity
from taskyard_contract.agent_link.pending import MAX_PROGRESS_BYTES, MAX_REPORT_BYTES
from taskyard_contract.agent_link.session import LinkSession
from taskyard_contract.errors import InvalidRequest, TaskyardError
from taskyard_contract.states import StateReason
from taskyard_contract.transport.reconnecting import Reconnecting


class Recorder:
    """A handler that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.keys: list[pb.RunKey] = []
        self.wanted = Demand(0, 2, 1)
        self.told = False

    def on_welcome(self, welcome: pb.AgentWelcome) -> None:
        self.calls.append(("welcome", welcome.max_inline_bytes))

    def on_assign(self, chunk: pb.AssignChunk, template: template_pb2.TemplateDefinition) -> None:
        self.calls.append(("assign", (chunk.first_epoch, template.template.name)))

    def on_cancel(self, keys: Sequence[pb.RunKey]) -> None:
        self.calls.append(("cancel", [key.epoch for key in keys]))

    def on_drop(self, keys: Sequence[pb.RunKey]) -> None:
        self.calls.append(("drop", [key.epoch for key in keys]))

    def on_worlds_ended(self, world_ids: Sequence[bytes]) -> None:
        self.calls.append(("worlds ended", list(world_ids)))

    def on_doubt(self, doubtful: bool) -> None:
        self.calls.append(("doubt", doubtful))

    def on_lease_lost(self) -> None:
        self.calls.append(("lease lost", None))

    def on_drain(self) -> None:
        self.calls.append(("drain", None))

    def held(self) -> Iterable[pb.RunKey]:
        return self.keys

    def demand(self) -> Demand:
        return self.wanted


def key(letter: str, epoch: int = 1) -> pb.RunKey:
    return pb.RunKey(run_id=letter.encode() * 16, epoch=epoch)


WELCOME = pb.AgentWelcome(protocol=1, lease_ms=30_000, heartbeat_ms=5_000, max_inline_bytes=7)


def open_session(handler: Recorder) -> LinkSession:
    session = LinkSession(Identity("host/a", b"s" * 16, "a", ("default",), 2), handler)
    session.hello(0.0)
    session.welcomed(pb.ServerFrame(welcome=WELCOME))
    return session


def drained(session: LinkSession) -> list[pb.AgentFrame]:
    frames = []
    while (frame := session.next_frame()) is not None:
        frames.append(frame)
    return frames


def test_a_hello_says_who_it_is_and_what_it_holds() -> None:
    handler = Recorder()
    handler.keys = [key("a", 7)]
    session = LinkSession(Identity("host/a", b"s" * 16, "a", ("q", "r"), 2, {"gpu": "1"}), handler)
    hello = session.hello(0.0).hello
    assert (hello.agent_id, hello.name, list(hello.queues), hello.slots) == ("host/a", "a", ["q", "r"], 2)
    assert hello.labels["gpu"] == "1"
    assert list(hello.held) == [key("a", 7)]
    assert hello.protocol_min <= hello.protocol_max


def test_everything_pending_goes_into_one_frame_and_only_once() -> None:
    session = open_session(Recorder())
    session.report(3, b"a" * 16, b"columns")
    session.cancelled(key("b"))
    session.lost(key("c"), StateReason.TIMED_OUT, "too slow")
    session.give_back([key("d")])
    session.started(key("e"), 0.25)
    session.log(session_service_pb2.LogBatch(messages=["one"]))
    session.log(session_service_pb2.LogBatch(messages=["two"]))
    session.beat(1.0)
    (frame,) = drained(session)
    assert frame.report_number == 1
    assert [chunk.columns for chunk in frame.reports] == [b"columns"]
    assert (list(frame.cancelled), list(frame.given_back), [started.key for started in frame.started]) == (
        [key("b")],
        [key("d")],
        [key("e")],
    )
    assert frame.lost[0].reason == StateReason.TIMED_OUT
    assert list(frame.logs.messages) == ["one", "two"]
    assert (frame.heartbeat, frame.credit.granted_total) == (1, 2)
    assert session.next_frame() is None


def test_why_a_run_was_lost_can_always_be_sent() -> None:
    session = open_session(Recorder())
    session.lost(key("c"), StateReason.CODE_UNAVAILABLE, "no file /data/\udcff" + "x" * 1_000_000)
    (frame,) = drained(session)
    assert frame.lost[0].message.startswith("no file /data/\\udcffx")
    assert frame.ByteSize() < 10_000


def test_large_reports_are_spread_over_frames() -> None:
    session = open_session(Recorder())
    for epoch in range(3):
        session.report(epoch, b"a" * 16, b"x" * (MAX_REPORT_BYTES - 10))
    frames = drained(session)
    assert [frame.report_number for frame in frames] == [1, 2, 3]


def test_after_a_reconnect_unacknowledged_reports_are_held_and_sent_again() -> None:
    handler = Recorder()
    session = open_session(handler)
    session.report(1, b"a" * 16, b"first")
    drained(session)
    session.report(2, b"b" * 16, b"second")
    drained(session)
    session.received(pb.ServerFrame(reported_up_to=1), 0.0)
    session.report(3, b"c" * 16, b"never sent")
    hello = session.hello(1.0).hello
    assert {run.run_id[:1] for run in hello.held} == {b"b", b"c"}
    session.welcomed(pb.ServerFrame(welcome=WELCOME))
    frames = drained(session)
    assert [frame.report_number for frame in frames] == [2, 3, 0]
    assert [chunk.columns for frame in frames for chunk in frame.reports] == [b"second", b"never sent"]
    assert not session.settled
    session.received(pb.ServerFrame(reported_up_to=3), 1.0)
    assert session.settled


def test_credit_counts_anew_on_each_stream() -> None:
    handler = Recorder()
    session = open_session(handler)
    assert drained(session)[0].credit.granted_total == 2
    handler.wanted = Demand(1, 2, 1)
    session.hello(1.0)
    session.welcomed(pb.ServerFrame(welcome=WELCOME))
    assert drained(session)[0].credit.granted_total == 1


def test_wanting_nested_runs_only_is_said_when_it_changes() -> None:
    handler = Recorder()
    session = open_session(handler)
    drained(session)
    for wanted in (True, True, False):
        handler.wanted = Demand(0, 2, 1, wanted)
        said = [(frame.credit.granted_total, frame.credit.nested_only) for frame in drained(session)]
        assert said == ([] if wanted is handler.told else [(2, wanted)])
        handler.told = wanted
    handler.wanted = Demand(0, 2, 1, True)
    session.hello(1.0)
    session.welcomed(pb.ServerFrame(welcome=WELCOME))
    assert drained(session)[0].credit.nested_only, "a new stream starts without"


def test_whose_nested_runs_are_wanted_only_is_said_when_it_changes() -> None:
    handler = Recorder()
    session = open_session(handler)
    drained(session)
    for shares, heard in (((), [[]]), ((7,), [[7]]), ((7,), []), ((7, 8), [[7, 8]])):
        handler.wanted = Demand(0, 2, 1, True, shares)
        assert [list(frame.credit.nested_only_shares) for frame in drained(session)] == heard
    session.hello(1.0)
    session.welcomed(pb.ServerFrame(welcome=WELCOME))
    assert list(drained(session)[0].credit.nested_only_shares) == [7, 8]


def test_of_whom_no_more_coroutines_are_wanted_is_said_when_it_changes() -> None:
    handler = Recorder()
    session = LinkSession(Identity("host/a", b"s" * 16, "a", ("default",), 2, coroutines=10), handler)
    session.hello(0.0)
    session.welcomed(pb.ServerFrame(welcome=pb.AgentWelcome(lease_ms=30_000, capabilities=["coroutines"])))
    for shares, heard in (((), [[]]), ((7,), [[7]]), ((7,), []), ((), [[]])):
        handler.wanted = Demand(0, 2, 1, coroutines=Demand(0, 10, 10, bool(shares), shares))
        credits = [frame.credit for frame in drained(session)]
        assert [list(credit.coroutines_nested_only_shares) for credit in credits] == heard
        assert all(credit.coroutines_nested_only is bool(shares) for credit in credits)


def test_frames_become_calls_in_order() -> None:
    handler = Recorder()
    session = open_session(handler)
    handler.calls.clear()
    definition = template_pb2.TemplateDefinition(index=4, template=template_pb2.RunTemplate(name="t"))
    chunk = pb.AssignChunk(first_epoch=5, template=4, run_ids=b"a" * 16)
    session.received(
        pb.ServerFrame(templates=[definition], chunks=[chunk], cancel=[key("a", 5)], drain=True), 1.0
    )
    assert handler.calls == [("assign", (5, "t")), ("cancel", [5]), ("drain", None)]


def test_a_welcome_drops_what_belongs_to_others() -> None:
    handler = Recorder()
    session = open_session(handler)
    handler.calls.clear()
    session.hello(1.0)
    welcome = pb.AgentWelcome(lease_ms=1, drop=[key("a", 3)], max_inline_bytes=9)
    session.welcomed(pb.ServerFrame(welcome=welcome))
    assert handler.calls == [("welcome", 9), ("drop", [3]), ("doubt", False)], (
        "what is dropped must not start"
    )


def test_a_chunk_of_an_unknown_template_ends_the_stream_and_not_the_agent() -> None:
    session = open_session(Recorder())
    with pytest.raises(TaskyardError, match="template 9") as raised:
        session.received(pb.ServerFrame(chunks=[pb.AssignChunk(template=9)]), 1.0)
    assert Reconnecting().failed(raised.value) is not None


def test_templates_do_not_outlive_their_stream() -> None:
    session = open_session(Recorder())
    session.received(pb.ServerFrame(templates=[template_pb2.TemplateDefinition(index=4)]), 1.0)
    session.hello(2.0)
    session.welcomed(pb.ServerFrame(welcome=WELCOME))
    with pytest.raises(TaskyardError):
        session.received(pb.ServerFrame(chunks=[pb.AssignChunk(template=4)]), 1.0)


def test_a_first_frame_without_a_welcome_is_refused() -> None:
    session = LinkSession(Identity("a", b"", "a", (), 1), Recorder())
    session.hello(0.0)
    with pytest.raises(InvalidRequest, match="welcome"):
        session.welcomed(pb.ServerFrame())


def test_draining_is_said_once_per_stream_and_ends_credit() -> None:
    session = open_session(Recorder())
    session.drain()
    (frame,) = drained(session)
    assert frame.draining
    assert not frame.HasField("credit")
    session.beat(1.0)
    assert not drained(session)[0].draining
    session.hello(2.0)
    session.welcomed(pb.ServerFrame(welcome=WELCOME))
    assert drained(session)[0].draining


def test_a_lease_in_doubt_stops_starts_and_a_lapsed_one_ends_runs_once() -> None:
    handler = Recorder()
    session = open_session(handler)
    handler.calls.clear()
    assert not session.check_lease(23.9)
    assert not handler.calls
    session.check_lease(24.1)
    assert handler.calls == [("doubt", True)]
    assert session.check_lease(30.0)
    assert not session.check_lease(31.0)
    assert handler.calls[1:] == [("doubt", True), ("lease lost", None)]


def test_an_answered_heartbeat_ends_the_doubt() -> None:
    handler = Recorder()
    session = open_session(handler)
    session.beat(20.0)
    number = drained(session)[0].heartbeat
    session.check_lease(25.0)
    session.received(pb.ServerFrame(heartbeat=number), 25.5)
    assert handler.calls[-2:] == [("doubt", True), ("doubt", False)]
    assert not session.check_lease(49.0)


def test_a_stopping_server_says_when_to_come_back() -> None:
    session = open_session(Recorder())
    session.received(pb.ServerFrame(reconnect_after_ms=1500), 1.0)
    assert session.reconnect_after == 1.5
    session.hello(2.0)
    assert session.reconnect_after is None


def test_a_condition_is_told_when_it_changes_and_on_each_new_stream() -> None:
    session = open_session(Recorder())
    drained(session)

    def told() -> list[str]:
        return [frame.condition for frame in drained(session) if frame.HasField("condition")]

    session.condition = "no room"
    assert (told(), told()) == (["no room"], [])
    session.hello(1.0)
    session.welcomed(pb.ServerFrame(welcome=WELCOME))
    assert told() == ["no room"]
    session.condition = ""
    assert told() == [""]


def test_what_is_kept_apart_is_told_when_it_changes_and_on_each_new_stream() -> None:
    session = open_session(Recorder())

    def told() -> list[int]:
        return [each.keeps_blob_bytes for each in drained(session) if each.HasField("keeps_blob_bytes")]

    assert told() == []
    session.keeps_blob_bytes = 5
    assert (told(), told()) == ([5], [])
    session.hello(1.0)
    session.welcomed(pb.ServerFrame(welcome=WELCOME))
    assert told() == [5]
    session.keeps_blob_bytes = 0
    assert told() == [0]


def test_memory_is_told_beside_a_heartbeat_once_and_again_on_each_stream() -> None:
    session = open_session(Recorder())
    session.has_memory(3, 8)
    assert not [frame for frame in drained(session) if frame.HasField("memory")]
    session.beat(1.0)
    [frame] = drained(session)
    assert (frame.heartbeat, frame.memory) == (1, pb.AgentMemory(used_bytes=3, total_bytes=8))
    session.beat(2.0)
    assert not [frame for frame in drained(session) if frame.HasField("memory")]
    session.hello(3.0)
    session.welcomed(pb.ServerFrame(welcome=WELCOME))
    session.beat(3.0)
    assert [frame.memory.used_bytes for frame in drained(session) if frame.HasField("memory")] == [3]


def test_of_a_run_that_tells_of_its_progress_the_newest_word_is_sent_once() -> None:
    session = open_session(Recorder())
    drained(session)
    for at in (1, 2):
        session.progress(pb.RunProgress(key=key("a"), at_us=at))
    session.progress(pb.RunProgress(key=key("b"), at_us=3))
    session.report(1, b"a" * 16, b"columns")
    first, *rest = drained(session)
    assert [word.at_us for word in first.progress] == [2, 3], "not later than the end of its run"
    assert len(first.reports) == 1
    assert not any(frame.progress for frame in rest)


def test_many_words_of_progress_are_sent_in_several_frames() -> None:
    session = open_session(Recorder())
    drained(session)
    details = common_pb2.Payload(data=bytes(MAX_PROGRESS_BYTES // 2))
    for letter in "abcde":
        session.progress(pb.RunProgress(key=key(letter), details=details))
    words = [[word.key.run_id[:1] for word in frame.progress] for frame in drained(session)]
    assert words == [[b"a", b"b"], [b"c", b"d"], [b"e"]]


def test_a_hello_says_which_tasks_are_served() -> None:
    identity = Identity("host/a", b"s" * 16, "a", ("q",), 1, tasks=[pb.TaskOffer(name="image.resize")])
    assert [offer.name for offer in LinkSession(identity, Recorder()).hello(0.0).hello.tasks] == [
        "image.resize"
    ]


APART = pb.AgentWelcome(protocol=1, lease_ms=30_000, heartbeat_ms=5_000, capabilities=["coroutines"])


def open_apart(handler: Recorder, welcome: pb.AgentWelcome = APART, coroutines: int = 200) -> LinkSession:
    session = LinkSession(Identity("host/a", b"s" * 16, "a", ("default",), 2, coroutines=coroutines), handler)
    assert session.hello(0.0).hello.coroutines == coroutines
    session.welcomed(pb.ServerFrame(welcome=welcome))
    return session


def assigned(index: int, runs: int, coroutine: bool) -> pb.ServerFrame:
    definition = template_pb2.TemplateDefinition(index=index)
    definition.template.coroutine = coroutine
    chunk = pb.AssignChunk(first_epoch=1, template=index, run_ids=b"r" * 16 * runs)
    return pb.ServerFrame(templates=[definition], chunks=[chunk])


def test_credit_for_coroutines_is_a_count_of_its_own() -> None:
    handler = Recorder()
    handler.wanted = Demand(0, 2, 1, coroutines=Demand(0, 200, 100))
    session = open_apart(handler)
    frame = session.next_frame()
    assert frame is not None
    credit = frame.credit
    assert (credit.granted_total, credit.chunk_size, credit.nested_only) == (2, 1, False)
    assert (credit.coroutines_granted_total, credit.coroutines_chunk_size) == (200, 100)
    session.received(assigned(1, 100, True), 1.0)
    session.received(assigned(2, 2, False), 1.0)
    handler.wanted = Demand(2, 2, 1, coroutines=Demand(40, 200, 100, nested_only=True))
    frame = session.next_frame()
    assert frame is not None
    assert (frame.credit.granted_total, frame.credit.coroutines_granted_total) == (2, 260)
    assert (frame.credit.nested_only, frame.credit.coroutines_nested_only) == (False, True)
    assert session.next_frame() is None


@pytest.mark.parametrize("coroutines", [0, 200])
def test_without_both_sides_coroutines_are_counted_as_all_runs(coroutines: int) -> None:
    handler = Recorder()
    handler.wanted = Demand(0, 2, 1, coroutines=Demand(0, 200, 100) if coroutines else None)
    session = open_apart(handler, WELCOME if coroutines else APART, coroutines)
    frame = session.next_frame()
    assert frame is not None
    assert (frame.credit.granted_total, frame.credit.coroutines_granted_total) == (2, 0)
    session.received(assigned(1, 2, True), 1.0)
    handler.wanted = handler.wanted._replace(in_hand=0)
    frame = session.next_frame()
    assert frame is not None
    assert frame.credit.granted_total == 4
