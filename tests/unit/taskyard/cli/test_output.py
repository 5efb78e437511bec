import pytest

from taskyard.cli.views import output
from taskyard.cli.views.output import duration, print_pairs, print_table


def test_cells_line_up(capsys):
    print_table(("A", "LONG", "LAST"), [("xxx", "1", "end"), ("y", "22222", "")])
    assert capsys.readouterr().out == "A    LONG   LAST\nxxx  1      end\ny    22222\n"


def test_brackets_are_text_and_not_markup_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True, raising=False)
    print_table(("NAME",), [("[red]x[/red]",)], ["green"])
    assert "[red]x[/red]" in capsys.readouterr().out


def test_empty_properties_are_left_out(capsys):
    print_pairs([("id", "1"), ("longer", ""), ("tags", "a")])
    assert capsys.readouterr().out == "id      1\ntags    a\n"


@pytest.mark.parametrize(
    ("microseconds", "shown"),
    [
        (12_000, "12 ms"),
        (1_500_000, "1.5 s"),
        (61_000_000, "0:01:01"),
        (3_725_000_000, "1:02:05"),
        (-5, "0 ms"),
    ],
)
def test_durations(microseconds, shown):
    assert duration(1_000_000, 1_000_000 + microseconds) == shown


def test_a_missing_moment_has_no_duration():
    assert duration(0, 5) == duration(5, 0) == ""
