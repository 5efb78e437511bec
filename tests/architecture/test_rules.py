"""Every rule that holds for programs has tests named after it, and the page about them is up to date."""

import re
from pathlib import Path

import pytest
from support.rules.named_tests import NamedTest, named_tests
from support.rules.page import held_by_rule, page
from support.rules.texts import texts

ROOT = Path(__file__).parents[2]
TEXTS = texts()
HELD = held_by_rule()
TWICE = [
    rule
    for rule in TEXTS.rules
    if re.fullmatch(r"row_([1-9]|[1-6]\d|7[0-2])|b(3|6|8|9|10|11|12|13|16|17|18)_\d+", rule)
    and rule not in TEXTS.awaited
    and rule not in TEXTS.one_place
]


def test_every_rule_has_a_test_named_after_it() -> None:
    without = {rule for rule in TEXTS.rules if not HELD.get(rule)}
    assert without - TEXTS.awaited == set(), "write test_RULE_..., see docs/rules.md"
    assert TEXTS.awaited - without == set(), "take them out of 'awaited' in tests/support/rules/texts.toml"


def test_rules_are_held_with_agents_and_with_threads() -> None:
    assert len(TWICE) > 100
    once = [rule for rule in TWICE if all(test.where != "agents and threads" for test in HELD.get(rule, []))]
    assert once == [], "no test of these is run in agents and in threads; or say why in 'one_place'"


def test_names_of_tests_are_of_rules_that_exist() -> None:
    known = TEXTS.rules.keys()
    assert HELD.keys() - known == set(), "tests are named after rules that are not in texts.toml"
    assert (TEXTS.also.keys() | TEXTS.awaited | TEXTS.one_place.keys()) - known == set()


def test_patterns_name_tests() -> None:
    names = "\n".join(test.name for test in named_tests())
    patterns = [pattern for found in TEXTS.also.values() for pattern in found]
    stale = [each for each in patterns if not re.search(f"^{each.replace('*', '.*')}$", names, re.MULTILINE)]
    assert stale == [], "there are no such tests any more"


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "rules.md").read_text() == page(), "run 'make docs'"


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("test_row_22_a_name", {"row_22"}),
        ("test_row_8_and_68_names", {"row_8", "row_68"}),
        ("test_rows_51_and_53_waiting", {"row_51", "row_53"}),
        ("test_row_27_b6_2_and_b6_3_hooks", {"row_27", "b6_2", "b6_3"}),
        ("test_b13_a_name_and_4_words", {"b13"}),
        ("test_rows_are_logged", set()),
        ("test_browsing", set()),
    ],
)
def test_rules_are_read_from_names(name: str, rules: set[str]) -> None:
    assert NamedTest("file", name, "").rules == rules


def test_where_a_test_is_run_is_read_from_its_fixtures() -> None:
    where = {test.name: test.where for test in named_tests()}
    assert where["test_row_24_keys_are_made_of_parameters_and_of_the_run"] == "agents and threads", (
        "a fixture"
    )
    assert where["test_row_1_functions_of_every_kind_are_tasks"] == "agents and threads", "one for all"
    assert where["test_row_49_runs_are_executed_by_the_program_that_serves"] == "agents"
    assert where["test_row_11_exponential_backoff_stops_at_fifty"] == "", "without an installation"
