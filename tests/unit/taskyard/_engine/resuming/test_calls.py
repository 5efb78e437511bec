"""Which runs of earlier attempts stand for the calls of the next one."""

from taskyard._engine.resuming.calls import EarlierCalls, keys_of
from taskyard.tasks import Task
from taskyard_api.v1 import run_service_pb2, template_pb2
from taskyard_contract.states import RunState

KEYS = ("k",)


def template(fingerprint: bytes = b"now", **options: object) -> template_pb2.RunTemplate:
    return template_pb2.RunTemplate(task_key="k", code_fingerprint=fingerprint, **options)  # type: ignore[arg-type]


def calls(
    *runs: tuple[bytes, int, bytes], templates: list[template_pb2.RunTemplate] | None = None
) -> EarlierCalls:
    """Return calls of runs: id, state, digest; the ordinals count up from 0."""
    used = templates or [template()]
    page = run_service_pb2.ListCallsResponse(
        templates=used,
        run_ids=[run_id for run_id, _, _ in runs],
        template_indices=[min(place, len(used) - 1) for place in range(len(runs))],
        states=[state for _, state, _ in runs],  # type: ignore[misc]  # numerically equal
        digests=[digest for _, _, digest in runs],
        ordinals=range(len(runs)),
    )
    return EarlierCalls([page])


def taken(found: EarlierCalls, digest: bytes = b"d", *, unchanged: bool = False) -> bytes | None:
    call = found.completed_like(KEYS, digest, b"now", unchanged=unchanged)
    return None if call is None else call.run_id


def test_calls_that_are_alike_are_given_out_once_each_in_their_order() -> None:
    found = calls((b"1", RunState.COMPLETED, b"d"), (b"2", RunState.COMPLETED, b"d"))
    assert [taken(found), taken(found), taken(found)] == [b"1", b"2", None]


def test_only_what_has_completed_is_given_out_and_the_others_say_why_not() -> None:
    found = calls((b"1", RunState.FAILED, b"d"), (b"2", RunState.COMPLETED, b"other"))
    assert taken(found) is None
    like = found.other_like(KEYS, b"d")
    assert like is not None
    assert like.state == RunState.FAILED
    unlike = found.unlike(KEYS)
    assert unlike is not None
    assert unlike.run_id == b"2"
    assert found.unlike(KEYS) is None


def test_a_run_of_the_code_of_now_goes_before_one_of_other_code() -> None:
    runs = (b"1", RunState.COMPLETED, b"d"), (b"2", RunState.COMPLETED, b"d")
    both = [template(b"before"), template()]
    found = calls(*runs, templates=both)
    assert [taken(found), taken(found)] == [b"2", b"1"]
    found = calls(*runs, templates=both)
    assert [taken(found, unchanged=True), taken(found, unchanged=True)] == [b"2", None]


def test_what_threads_have_executed_is_not_compared() -> None:
    local = template(code=template_pb2.Code(task_name="k"))
    found = calls((b"1", RunState.COMPLETED, b"d"), templates=[local])
    assert taken(found) is None
    unlike = found.unlike(KEYS)
    assert unlike is not None
    assert unlike.in_threads


def test_numbers_go_on_after_those_there_are_and_show_what_is_gone() -> None:
    found = calls((b"1", RunState.COMPLETED, b"d"), (b"2", RunState.FAILED, b"e"))
    assert found.next_ordinals == {"k": 2}
    assert not found.has_lost_some(KEYS)
    page = run_service_pb2.ListCallsResponse(
        templates=[template()],
        run_ids=[b"9"],
        template_indices=[0],
        states=[100],  # type: ignore[list-item]
        digests=[b"d"],
        ordinals=[7],
    )
    assert EarlierCalls([page]).has_lost_some(KEYS)


def test_a_task_of_a_file_is_known_under_the_key_that_it_had_in_the_program() -> None:
    def step() -> None: ...

    step.__qualname__ = "step"
    step.__module__ = "__main__"
    of_the_program = Task(step)
    assert keys_of(of_the_program) == (of_the_program.task_key,)
    step.__module__ = __name__
    of_the_file = Task(step)
    assert keys_of(of_the_file) == (of_the_file.task_key, of_the_program.task_key)
