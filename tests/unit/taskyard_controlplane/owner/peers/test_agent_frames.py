"""What an agent's stream is sent: every frame of a size that travels, and nothing left behind."""

from collections.abc import Callable

import pytest

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import AgentState
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.peers.agent_session import MAX_FRAME_BYTES, AgentSession

TEMPLATE = Template(1, b"digest", b"")


def close(error: TaskyardError) -> None:
    """End the stream."""


def a_run() -> Run:
    run = Run(1, new_id(), TEMPLATE, 3, None, None, None, 0, 0)
    run.epoch = 7
    return run


class Stream:
    """A session with a stream that takes a frame whenever it is woken."""

    def __init__(self) -> None:
        self.woken = 0
        self.agent = AgentSession(pb.AgentHello(agent_id="a", session_id=new_id()), 0.0, 0)
        self.agent.attach(self.wake, close)

    def wake(self) -> None:
        self.woken += 1

    def frames(self) -> list[pb.ServerFrame]:
        """Take a frame for this time, and for each time the session asks for another."""
        frames, self.woken = [], 1
        while self.woken:
            self.woken -= 1
            frame = self.agent.next_frame()
            if frame is not None:
                frames.append(frame)
        return frames


def test_all_chunks_arrive_however_large_they_are() -> None:
    stream = Stream()
    sizes = [MAX_FRAME_BYTES + 1, 1, MAX_FRAME_BYTES - 1, 1, 1]
    for size in sizes:
        stream.agent.assign(pb.AssignChunk(body=bytes(size)))
    sent = [[len(chunk.body) for chunk in frame.chunks] for frame in stream.frames()]
    assert sent == [[MAX_FRAME_BYTES + 1], [1, MAX_FRAME_BYTES - 1], [1, 1]]


def test_a_template_is_defined_once_on_every_stream_with_its_code() -> None:
    stream = Stream()
    for _ in range(2):
        assert [stream.agent.template_index(TEMPLATE, b"code", {}) for _ in range(2)] == [1, 1]
        stream.agent.assign(pb.AssignChunk(template=1))
        [frame] = stream.frames()
        assert [(one.index, one.code) for one in frame.templates] == [(1, b"code")]
        stream.agent.attach(stream.wake, close)


def test_variables_go_with_their_template_as_soon_as_they_are_known() -> None:
    stream = Stream()
    needing = Template(2, b"other", b"", world=(b"w" * 16, 1))
    sent = []
    for variables in ({}, {"REGION": "north"}, {"REGION": "north"}):
        stream.agent.template_index(needing, b"", variables)
        stream.agent.assign(pb.AssignChunk(template=1))
        [frame] = stream.frames()
        sent.append([dict(one.variables) for one in frame.templates])
    assert sent == [[{}], [{"REGION": "north"}], []]


def test_the_end_of_a_program_is_said_once_to_whoever_is_there() -> None:
    stream = Stream()
    stream.agent.worlds_ended([b"w" * 16])
    assert [list(frame.ended_worlds) for frame in stream.frames()] == [[b"w" * 16]]
    assert not stream.frames()
    stream.agent.detach()
    stream.agent.worlds_ended([b"v" * 16])
    stream.agent.attach(stream.wake, close)
    assert not stream.frames()


@pytest.mark.parametrize(
    ("act", "field"),
    [
        (lambda agent: agent.cancel(a_run()), "cancel"),
        (lambda agent: agent.drain(), "drain"),
        (lambda agent: agent.reconnect(500), "reconnect_after_ms"),
    ],
)
def test_a_request_is_sent_at_once_and_once(act: Callable[[AgentSession], None], field: str) -> None:
    stream = Stream()
    act(stream.agent)
    assert stream.woken
    [frame] = stream.frames()
    assert getattr(frame, field)
    assert stream.frames() == []
    stream.agent.acknowledge(1)
    [frame] = stream.frames()
    assert not getattr(frame, field), "not with what comes next either"


def test_a_request_to_end_a_run_names_the_assignment() -> None:
    stream, run = Stream(), a_run()
    stream.agent.cancel(run)
    [frame] = stream.frames()
    assert [(key.run_id, key.epoch) for key in frame.cancel] == [(run.run_id, 7)]


def test_a_request_to_end_a_run_does_not_overtake_its_assignment() -> None:
    stream, early, late = Stream(), a_run(), a_run()
    stream.agent.cancel(early)
    stream.agent.template_index(TEMPLATE, bytes(MAX_FRAME_BYTES), {})
    stream.agent.template_index(Template(2, b"other", b""), bytes(MAX_FRAME_BYTES), {})
    stream.agent.assign(pb.AssignChunk(template=1, body=bytes(MAX_FRAME_BYTES)))
    stream.agent.assign(pb.AssignChunk(template=2, body=bytes(MAX_FRAME_BYTES)))
    stream.agent.cancel(late)
    sent = [(len(frame.chunks), [key.run_id for key in frame.cancel]) for frame in stream.frames()]
    assert sent == [(0, [early.run_id]), (1, []), (1, [late.run_id])]


def test_an_acknowledgement_is_never_taken_back() -> None:
    stream = Stream()
    stream.agent.acknowledge(5)
    stream.agent.acknowledge(3)
    assert [frame.reported_up_to for frame in stream.frames()] == [5]
    assert stream.frames() == [], "and is said once"
    stream.agent.attach(stream.wake, close)
    assert [frame.reported_up_to for frame in stream.frames()] == [5], "on every stream"


def test_a_heartbeat_is_answered_once() -> None:
    stream = Stream()
    stream.agent.answer_heartbeat(7)
    assert [frame.heartbeat for frame in stream.frames()] == [7]
    assert stream.frames() == []


def test_nothing_that_belonged_to_a_stream_is_left_for_the_next() -> None:
    stream = Stream()
    stream.agent.granted, stream.agent.assigned, stream.agent.nested_only = 5, 3, True
    stream.agent.template_index(TEMPLATE, b"", {})
    stream.agent.assign(pb.AssignChunk(template=1))
    stream.agent.cancel(a_run())
    stream.agent.answer_heartbeat(7)
    stream.agent.attach(stream.wake, close)
    assert stream.frames() == []
    assert stream.agent.credit == 0
    assert not stream.agent.nested_only


def test_only_an_agent_that_is_there_and_stays_gets_runs() -> None:
    stream = Stream()
    stream.agent.granted = 5
    assert (stream.agent.credit, stream.agent.state) == (5, AgentState.ONLINE)
    stream.agent.drain()
    assert (stream.agent.credit, stream.agent.state) == (0, AgentState.DRAINING)
    stream.agent.draining = False
    stream.agent.detach()
    assert (stream.agent.credit, stream.agent.state) == (0, AgentState.DISCONNECTED)
    woken = stream.woken
    stream.agent.cancel(a_run())
    assert stream.woken == woken, "a stream that is gone is left alone"


def test_an_agent_has_settled_when_it_holds_nothing_and_all_it_said_is_durable() -> None:
    agent, run = Stream().agent, a_run()
    settled = [agent.settled]
    agent.last_report = 1
    settled.append(agent.settled)
    agent.acknowledge(1)
    settled.append(agent.settled)
    agent.held[run.run_id] = run
    settled.append(agent.settled)
    assert settled == [True, False, True, False]
