"""What the fuzzer sends can be sent again, and covers the whole contract."""

from random import Random

from fuzz.callers import Findings, Fuzzer
from fuzz.messages import Maker, methods
from grpc import StatusCode


def test_every_message_of_every_method_can_be_made_and_is_the_same_for_a_seed() -> None:
    kinds = [method.input_type for method in methods()]
    assert {"Connect", "Poll", "UploadBlob", "ListRuns", "DrainAgent"} <= {
        method.name for method in methods()
    }
    made = [[Maker(Random(seed)).encoded(kind) for kind in kinds for seed in range(20)] for _ in range(2)]
    assert made[0] == made[1]
    streams = [list(Maker(Random(seed)).frames(kind)) for kind in kinds for seed in range(20)]
    assert any(len(stream) > 10 for stream in streams)


def test_what_a_peer_does_follows_from_seed_and_number() -> None:
    def calls(seed: int, number: int) -> list[tuple[str, str, list[bytes], str, float]]:
        fuzzer = Fuzzer("nowhere", seed, number, Findings())
        prepared = [fuzzer._prepare() for _ in range(30)]
        return [
            (method.full_name, who[:6], frames, ending, pause)
            for who, method, frames, ending, pause in prepared
        ]

    assert calls(7, 1) == calls(7, 1)
    assert calls(7, 1) != calls(7, 2)
    assert calls(7, 1) != calls(8, 1)


def test_a_server_that_fails_or_keeps_silent_is_at_fault() -> None:
    findings = Findings()
    findings.ended("peer", "GetRun", StatusCode.INTERNAL, "the server failed", False)
    findings.ended("peer", "GetRun", StatusCode.UNKNOWN, "", True)
    findings.ended("peer", "GetRun", StatusCode.DEADLINE_EXCEEDED, "", False)
    assert len(findings.faults) == 3
    findings.ended("peer", "WaitRun", StatusCode.DEADLINE_EXCEEDED, "", True)
    findings.ended("peer", "GetRun", StatusCode.NOT_FOUND, "", False)
    assert len(findings.faults) == 3
