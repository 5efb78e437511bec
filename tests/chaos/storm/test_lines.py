"""Files of lines that others are writing."""

from pathlib import Path

from chaos.storm import lines


def test_what_was_appended_is_read(tmp_path: Path):
    path = tmp_path / "lines"
    lines.append(path, number=1)
    lines.append(path, number=2, text="ä\n")
    assert list(lines.read(path)) == [{"number": 1}, {"number": 2, "text": "ä\n"}]
    assert list(lines.read(tmp_path / "none")) == []


def test_a_tail_has_whole_lines_that_came_since(tmp_path: Path):
    path = tmp_path / "lines"
    before = lines.Tail(path)
    assert before.more() == []
    lines.append(path, number=1)
    tail = lines.Tail(path)
    with path.open("ab") as file:
        file.write(b'{"number": 2}\n{"num')
    assert before.more() == [{"number": 1}, {"number": 2}]
    assert tail.more() == [{"number": 2}]
    with path.open("ab") as file:
        file.write(b'ber": 3}\n')
    assert tail.more() == [{"number": 3}]
    assert tail.more() == []
