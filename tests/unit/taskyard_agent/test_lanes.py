"""Which lane gets what, how much is asked for, and when a lane is ended; everything around is made up."""

import time

from support.agent_process import eventually
from support.fake_workers import FarEnd
from support.pool_stage import Stage, ids, play

from taskyard_agent.holding.templates import LocalTemplate
from taskyard_agent.processes.lane_handle import LaneHandle
from taskyard_agent.processes.terminating import Why
from taskyard_agent.processes.worker_phase import WorkerPhase
from taskyard_agent.runner import frames
from taskyard_agent.runner.lane_board import LaneBoard
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.agent_link.handler import Demand
from taskyard_contract.capabilities import COROUTINES
from taskyard_contract.states import StateReason

PER_SLOT = 100


class LaneStage:
    """A pool of one slot whose server counts coroutines apart."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.pool = stage.pool
        self.pool.on_welcome(pb.AgentWelcome(capabilities=[COROUTINES]))

    def assign(self, count: int, **fields: object) -> list[pb.RunKey]:
        return self.stage.assign(count, coroutine=True, **fields)  # type: ignore[arg-type]

    @property
    def lanes(self) -> list[LaneHandle]:
        return list(self.pool.lanes)

    def demand(self) -> Demand:
        found = self.pool.demand().coroutines
        assert found is not None
        return found

    def template(self) -> LocalTemplate:
        found = self.pool.templates._last
        assert found is not None
        return found

    def far(self, lane: LaneHandle) -> FarEnd:
        return self.stage.zygote.far[lane.number]

    async def ready(self, lane: LaneHandle) -> FarEnd:
        far = self.far(lane)
        far.ready()
        await eventually(lambda: lane.spans != {} or not self.pool.lanes.queued)
        return far

    async def one(self, count: int = 1, **fields: object) -> tuple[LaneHandle, FarEnd, LaneBoard]:
        """A lane that has begun some runs."""
        self.assign(count, **fields)
        lane = self.lanes[-1]
        far = await self.ready(lane)
        board = LaneBoard(far._board_descriptor)
        for number, span in lane.spans.items():
            for position in range(span.start, span.stop):
                now = time.monotonic_ns()
                board.heard(board.take(number, position, now), now)
        board.beat(time.monotonic_ns())
        return lane, far, board


def kinds(far: FarEnd) -> list[int]:
    return [kind for kind, _ in far.received()]


def test_a_lane_is_forked_with_the_first_coroutine_and_told_what_it_is() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        assert lanes.lanes == []
        lanes.assign(3)
        [lane] = lanes.lanes
        far = await lanes.ready(lane)
        assert kinds(far) == [frames.SETTINGS, frames.LANE, frames.TEMPLATE, frames.CHUNK]
        assert stage.workforce.at_work() == 1, "a lane takes no slot"
        assert (lanes.demand().in_hand, stage.pool.demand().in_hand) == (3, 0)

    play(scenario)


def test_ordinary_runs_never_go_to_a_lane_nor_coroutines_to_a_worker() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        await stage.ready()
        lane, far, _ = await lanes.one()
        stage.assign(1, template=2)
        await eventually(lambda: bool(stage.worker().spans))
        assert (lane.runs(), len(lanes.lanes)) == (1, 1)
        assert kinds(far).count(frames.CHUNK) == 1

    play(scenario)


def test_where_the_server_does_not_count_apart_coroutines_take_slots() -> None:
    async def scenario(stage: Stage) -> None:
        stage.pool.on_welcome(pb.AgentWelcome())
        await stage.ready()
        stage.assign(2, coroutine=True)
        await eventually(lambda: bool(stage.worker().spans))
        assert list(stage.pool.lanes) == []
        assert stage.pool.demand().coroutines is None
        assert stage.pool.demand().in_hand == 2

    play(scenario)


def test_a_lane_gets_no_more_than_go_on_together() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        lanes.assign(PER_SLOT + 20)
        lane = lanes.lanes[0]
        await lanes.ready(lane)
        assert (lane.active, stage.pool.lanes.queued, len(lanes.lanes)) == (PER_SLOT, 20, 1)
        lane.awaiting = 5
        stage.workforce.dispatch()
        assert (lane.runs(), lane.active) == (PER_SLOT + 5, PER_SLOT)
        assert lanes.demand() == Demand(PER_SLOT + 15, PER_SLOT, PER_SLOT, False)

    play(scenario)


def test_runs_of_a_run_get_a_lane_of_their_own_below_those_that_wait() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        [caller] = lanes.assign(1)
        await lanes.ready(lanes.lanes[0])
        for depth in (1, 2):
            nested = stage.nest(caller, coroutine=True)
            assert len(lanes.lanes) == depth + 1
            await lanes.ready(lanes.lanes[depth])
            [span] = lanes.lanes[depth].spans.values()
            assert span.chunk.depth == depth
            caller = nested

    play(scenario)


def test_a_lane_that_is_kept_gets_nothing_and_another_one_comes() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        lane, far, board = await lanes.one()
        board.beat(time.monotonic_ns() - 2_000_000_000)
        lane.busy_since_ns = 1
        stage.pool._lane_watch.look()
        assert lane.late
        assert far.asked() == [frames.REVOKE.pack(0), frames.LANE_LOOK]
        lanes.assign(1)
        other = lanes.lanes[1]
        await lanes.ready(other)
        assert (lane.runs(), other.runs()) == (1, 1)
        stage.pool._lane_watch.look()
        assert frames.LANE_LOOK not in far.asked(), "named once"
        board.beat(time.monotonic_ns())
        stage.pool._lane_watch.look()
        assert not lane.late

    play(scenario)


def test_a_lane_that_was_kept_takes_runs_again_when_its_own_have_ended() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        lane, far, board = await lanes.one()
        board.beat(time.monotonic_ns() - 2_000_000_000)
        lane.busy_since_ns = 1
        stage.pool._lane_watch.look()
        far.report(next(iter(lane.spans)), 0, 1)
        await eventually(lambda: not lane.spans)
        assert not lane.late, "nobody looks at a lane without runs"
        lanes.assign(1)
        assert (lane.runs(), lanes.lanes) == (1, [lane])

    play(scenario)


def test_what_has_not_begun_in_a_lane_that_is_kept_is_asked_back() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        lane, far, board = await lanes.one()
        keys = lanes.assign(1)
        await eventually(lambda: len(lane.spans) == 2)
        board.beat(time.monotonic_ns() - 2_000_000_000)
        lane.busy_since_ns = 1
        stage.pool._lane_watch.look()
        number = max(lane.spans)
        assert frames.REVOKE.pack(number) in far.asked()
        far.revoked(number, 0)
        await eventually(lambda: len(lanes.lanes) == 2)
        await lanes.ready(lanes.lanes[1])
        assert ids(list(lanes.lanes[1].spans.popitem()[1].run_keys())) == ids(keys)

    play(scenario)


def test_a_run_whose_code_keeps_the_loop_to_wait_is_executed_by_a_worker_the_next_time() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        await stage.ready()
        lane, far, _ = await lanes.one()
        number = next(iter(lane.spans))
        far.data.sendall(frames.pack(frames.BLOCKED, frames.STOPPED_BODY.pack(number, 0)))
        await eventually(lambda: lane.kept)
        lanes.assign(1)
        await eventually(lambda: bool(stage.worker().spans))
        assert lanes.template().alone
        share = next(iter(stage.worker().spans.values())).chunk.share
        assert lanes.demand() == Demand(1, PER_SLOT, PER_SLOT, True, (share,)), "it takes the slot"

    play(scenario)


def test_of_a_session_with_coroutines_in_all_slots_no_more_are_wanted_and_others_keep_their_room() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        await stage.ready()
        lane, _, _ = await lanes.one()
        lanes.template().alone = True
        lanes.assign(20)
        demand = lanes.demand()
        assert (demand.in_hand, demand.nested_only, demand.nested_only_shares) == (lane.count, True, (0,))
        queued = [key for span in stage.pool.intake.queue for key in span.run_keys()]
        stage.pool.on_cancel(queued)
        assert stage.pool.holdings.alone == {0: 20 - len(queued)}
        assert queued

    play(scenario)


def test_a_coroutine_that_does_not_end_a_second_after_its_time_is_ended_with_its_lane() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        lane, _, _ = await lanes.one(2, timeout_ms=1000)
        stage.pool._lane_watch._clock_ns = lambda: time.monotonic_ns() + 1_500_000_000
        stage.pool._lane_watch.look()
        assert lane.ending is None, "it may clean up"
        stage.pool._lane_watch._clock_ns = lambda: time.monotonic_ns() + 2_000_000_000
        stage.pool._lane_watch.look()
        assert lane.ending is not None
        assert (lane.ending.why, lanes.template().alone) == (Why.TIMED_OUT, True)
        stage.zygote.exited(lane.number, 9)
        assert sorted(stage.told.reasons) == sorted([StateReason.TIMED_OUT, StateReason.WORKER_DIED])
        assert stage.in_hand() == (0, 0)

    play(scenario)


def test_a_silent_coroutine_is_ended_likewise_but_not_while_it_waits() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        lane, _, board = await lanes.one(1, heartbeat_timeout_ms=1000)
        stage.pool._lane_watch._clock_ns = lambda: time.monotonic_ns() + 5_000_000_000
        board.heard(0, (1 << 63) - 1)
        stage.pool._lane_watch.look()
        assert lane.ending is None
        board.heard(0, time.monotonic_ns())
        stage.pool._lane_watch.look()
        assert lane.ending is not None
        assert lane.ending.why is Why.SILENT

    play(scenario)


def test_a_cancelled_coroutine_gets_a_grace_and_is_then_ended_with_its_lane() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        lane, far, _ = await lanes.one(2)
        [span] = lane.spans.values()
        number = next(iter(lane.spans))
        keys = [span.key(0), span.key(1)]
        stage.pool.on_cancel(keys[:1])
        assert far.asked() == [frames.LANE_CANCEL.pack(number, 0)]
        stage.pool._lane_watch.look()
        assert lane.ending is None
        by, confirm = lane.stopping[number, 0]
        lane.stopping[number, 0] = (by - Why.CANCELLED.grace, confirm)
        stage.pool._lane_watch.look()
        assert lane.ending is not None
        stage.zygote.exited(lane.number, 9)
        assert (stage.told.ended_runs, stage.told.lost_runs) == (ids(keys[:1]), ids(keys[1:]))

    play(scenario)


def test_a_cancelled_coroutine_that_ends_leaves_its_lane_alone() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        lane, far, _ = await lanes.one(2)
        [span] = lane.spans.values()
        number, key = next(iter(lane.spans)), span.key(0)
        stage.pool.on_cancel([key])
        far.data.sendall(frames.pack(frames.STOPPED, frames.STOPPED_BODY.pack(number, 0)))
        await eventually(lambda: bool(stage.told.ended_runs))
        assert (stage.told.ended_runs, lane.runs(), lane.ending) == ([key.run_id], 1, None)

    play(scenario)


def test_a_cancellation_that_a_full_socket_does_not_take_is_said_again() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        lane, far, _ = await lanes.one(1)
        while lane.poke():
            pass
        [span] = lane.spans.values()
        stage.pool.on_cancel([span.key(0)])
        far.asked()
        stage.pool._lane_watch.look()
        stage.pool._lane_watch.look()
        assert far.asked().count(frames.LANE_CANCEL.pack(next(iter(lane.spans)), 0)) == 1

    play(scenario)


def test_queued_coroutines_are_cancelled_where_they_wait() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        keys = lanes.assign(3)
        stage.pool.on_cancel(keys[1:2])
        assert stage.told.ended_runs == ids(keys[1:2])
        await lanes.ready(lanes.lanes[0])
        assert lanes.lanes[0].runs() == 2

    play(scenario)


def test_runs_whose_process_died_twice_with_several_are_executed_by_workers() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        await stage.ready()
        lane, _, _ = await lanes.one(2)
        keys = [key for span in lane.spans.values() for key in span.run_keys()]
        stage.zygote.exited(lane.number, 9)
        assert sorted(stage.told.lost_runs) == sorted(ids(keys))
        stage.again = ids(keys)
        lane, _, _ = await lanes.one(2)
        stage.zygote.exited(lane.number, 9)
        stage.assign_again(keys[0], coroutine=True)
        await eventually(lambda: bool(stage.worker().spans))
        assert lanes.lanes == []

    play(scenario)


def test_a_lane_that_dies_while_it_loads_code_has_its_first_run_blamed_at_last() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        keys = lanes.assign(2)
        for death in range(3):
            [lane] = lanes.lanes
            await lanes.ready(lane)
            assert stage.told.lost_runs == []
            stage.zygote.exited(lane.number, 9)
            assert len(stage.told.lost_runs) == (death == 2)
        assert stage.told.lost_runs == ids(keys[:1])

    play(scenario)


def test_while_the_lease_is_in_doubt_no_lane_gets_anything() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        stage.pool.on_doubt(True)
        lanes.assign(1)
        assert lanes.lanes == []
        stage.pool.on_doubt(False)
        assert len(lanes.lanes) == 1

    play(scenario)


def test_when_many_wait_only_their_runs_are_wanted_and_others_when_nothing_goes_on() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        lane, _, _ = await lanes.one(PER_SLOT)
        lane.awaiting = PER_SLOT
        for _ in range(2):
            lanes.assign(PER_SLOT)
            lane.awaiting += PER_SLOT
        assert lane.runs() == 3 * PER_SLOT
        assert lanes.demand() == Demand(0, PER_SLOT, PER_SLOT, True)
        stage.pool.lanes.reconsider(1.0)
        assert lanes.demand().nested_only
        stage.pool.lanes.reconsider(1.2)
        assert not lanes.demand().nested_only

    play(scenario)


def test_an_agent_that_leaves_wants_only_what_its_waiting_coroutines_wait_for() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        lane, _, _ = await lanes.one(1)
        [caller] = [key for span in lane.spans.values() for key in span.run_keys()]
        lane.awaiting = 1
        stage.pool.on_drain()
        refused = lanes.assign(1)
        assert stage.told.given_back == ids(refused)
        stage.nest(caller, coroutine=True)
        assert stage.pool.lanes.queued == 1

    play(scenario)


def test_lanes_without_runs_are_let_go_when_there_are_too_many() -> None:
    async def scenario(stage: Stage) -> None:
        lanes = LaneStage(stage)
        [caller] = lanes.assign(1)
        for depth in range(1, 7):
            await lanes.ready(lanes.lanes[-1])
            caller = stage.nest(caller, coroutine=True)
            assert len(lanes.lanes) == depth + 1
        await lanes.ready(lanes.lanes[-1])
        for lane in lanes.lanes[:-1]:
            for number, span in list(lane.spans.items()):
                report = lane.reported(number, span.start, span.stop)
                assert report is not None
                stage.pool.holdings.report(report, b"")
        stage.nest(caller, coroutine=True)
        left = [lane for lane in lanes.lanes if lane.phase is not WorkerPhase.RETIRING]
        assert len(left) == 4, "so many are kept for each slot"

    play(scenario)
