import random

from taskyard._data.runs.names import ADJECTIVES, ANIMALS, new_flow_run_name


def test_flow_run_names_are_an_adjective_and_an_animal() -> None:
    adjective, animal = new_flow_run_name().split("-")
    assert adjective in ADJECTIVES
    assert animal in ANIMALS


def test_names_come_from_the_source_given() -> None:
    assert new_flow_run_name(random.Random(3)) == new_flow_run_name(random.Random(3))


def test_seeding_the_program_does_not_repeat_names() -> None:
    names = set()
    for _ in range(20):
        random.seed(1)
        names.add(new_flow_run_name())
    assert len(names) > 1


def test_words_are_plain_and_unique() -> None:
    for words in (ADJECTIVES, ANIMALS):
        assert len(set(words)) == len(words) > 140
        assert all(word.isascii() and word.islower() and word.isalpha() for word in words)
