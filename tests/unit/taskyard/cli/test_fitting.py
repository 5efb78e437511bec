import pytest
from rich.cells import cell_len

from taskyard.cli.views.fitting import Place, cut, layout
from taskyard.cli.views.output import Column

NAME, STATE, TIME = Column("NAME", least=8, tail=6), Column("STATE"), Column("TIME", rank=1)
ROWS = [("a-name-of-some-length-10", "Completed", "22:23:55"), ("x", "Failed", "")]


@pytest.mark.parametrize(
    ("width", "places"),
    [
        (200, [Place(0, 24), Place(1, 9), Place(2, 8)]),
        (45, [Place(0, 24), Place(1, 9), Place(2, 8)]),
        (44, [Place(0, 23), Place(1, 9), Place(2, 8)]),
        (29, [Place(0, 8), Place(1, 9), Place(2, 8)]),
        (28, [Place(0, 17), Place(1, 9)]),
        (19, [Place(0, 8), Place(1, 9)]),
        (5, [Place(0, 8), Place(1, 9)]),
    ],
)
def test_names_are_cut_before_a_column_goes(width, places):
    assert layout([NAME, STATE, TIME], ROWS, width) == places


def test_a_column_in_which_nothing_stands_is_not_shown():
    rows = [(name, state, "") for name, state, _ in ROWS]
    assert [place.number for place in layout([NAME, STATE, TIME], rows, 200)] == [0, 1]


def test_the_less_important_go_first():
    columns = [Column("A"), Column("B", rank=1), Column("C", rank=3), Column("D", rank=2)]
    rows = [("aaaa", "bbbb", "cccc", "dddd")]
    assert [[place.number for place in layout(columns, rows, width)] for width in (22, 21, 15, 9)] == [
        [0, 1, 2, 3],
        [0, 1, 3],
        [0, 1],
        [0],
    ]


def test_a_table_without_rows_has_its_headings():
    assert layout([NAME, STATE], [], 80) == [Place(0, 4), Place(1, 5)]


@pytest.mark.parametrize("width", range(1, 30))
@pytest.mark.parametrize("tail", [0, 6])
@pytest.mark.parametrize("text", ["extract-customers-1234", "日本語のとても長い名前-12", "e\u0301" * 30, ""])
def test_what_is_cut_is_exactly_as_wide_as_asked(text, width, tail):
    assert cell_len(cut(text, width, tail)) == width


def test_what_would_move_the_cursor_is_blank():
    assert cut("a\x1b[2Jb\nc", 9) == "a [2Jb c "


def test_a_cut_name_keeps_its_number():
    assert cut("extract-customers-1234", 14, 6) == "extract…s-1234"
    assert cut("extract-customers-1234", 14) == "extract-custo…"
    assert cut("short", 7) == "short  "
