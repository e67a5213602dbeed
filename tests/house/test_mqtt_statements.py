"""Every normative statement of MQTT has a test or a reason, and the page says which."""

from __future__ import annotations

import pytest

from tests.house.mqtt_statements import (
    PAGE,
    Mark,
    Standard,
    find_marks,
    find_problems,
    find_vector_marks,
    load_standards,
    make_page,
    read_all,
)


@pytest.fixture(scope="module")
def collected() -> tuple[list[Standard], list[Mark]]:
    return read_all()


def test_every_statement_has_a_test_or_a_reason(
    collected: tuple[list[Standard], list[Mark]],
) -> None:
    assert find_problems(*collected) == []


def test_the_page_is_what_the_marks_say(collected: tuple[list[Standard], list[Mark]]) -> None:
    hint = "write it anew: python -m tests.house.mqtt_statements"
    assert PAGE.read_text(encoding="utf-8") == make_page(*collected), hint


class TestTheRulesThemselves:
    """On samples with the fault in them, so that a blind rule can't pass."""

    STANDARD = Standard(
        "mqtt9",
        "9",
        2,
        "Note.",
        {"1.0": "One"},
        {"1.0.0-1": "this", "1.0.0-2": "that"},
        {"1.0.0-2": "why"},
    )
    MARK = Mark("mqtt9", "1.0.0-1", "test_x.py::test_y")
    SOURCE = """
import pytest
pytestmark = pytest.mark.mqtt9("1.0.0-1")
@pytest.mark.other("1.0.0-7")
@pytest.mark.mqtt9("1.0.0-2", "1.0.0-3")
async def test_one(): ...
class TestAll:
    @pytest.mark.parametrize("x", [pytest.param(1, marks=pytest.mark.mqtt9("1.0.0-4"))])
    def test_two(self, x): ...
@pytest.mark.mqtt9("1.0.0-5")
class TestMore: ...
"""

    def test_marks_are_found_where_they_stand(self) -> None:
        assert list(find_marks(self.SOURCE, "a/test_x.py", ["mqtt9"])) == [
            Mark("mqtt9", "1.0.0-1", "a/test_x.py"),
            Mark("mqtt9", "1.0.0-2", "a/test_x.py::test_one"),
            Mark("mqtt9", "1.0.0-3", "a/test_x.py::test_one"),
            Mark("mqtt9", "1.0.0-4", "a/test_x.py::TestAll::test_two"),
            Mark("mqtt9", "1.0.0-5", "a/test_x.py::TestMore"),
        ]

    @pytest.mark.parametrize(
        ("source", "complaint"),
        [
            ("@pytest.mark.mqtt9('1.0.0-1')\ndef make(): ...", "test_x.py:1: what is marked"),
            ("@pytest.mark.mqtt9(1.0)\ndef test_x(): ...", "test_x.py:1: a number"),
            ("@pytest.mark.mqtt9(*ALL)\ndef test_x(): ...", "test_x.py:1: a number"),
        ],
    )
    def test_marks_that_show_nothing_are_an_error(self, source: str, complaint: str) -> None:
        with pytest.raises(ValueError, match=complaint):
            list(find_marks(source, "test_x.py", ["mqtt9"]))

    def test_vectors_have_theirs_with_them(self) -> None:
        text = '{"about": "x", "refused": [{"name": "a", "mqtt9": ["1.0.0-1"]}, {"name": "b"}]}'
        assert list(find_vector_marks(text, "v.json", ["mqtt9"])) == [
            Mark("mqtt9", "1.0.0-1", "v.json: a")
        ]

    def test_nothing_is_wrong_with_a_whole_table(self) -> None:
        assert find_problems([self.STANDARD], [self.MARK]) == []

    def test_each_problem_is_named(self) -> None:
        wrong = Standard(
            "mqtt9", "9", 3, "", {}, self.STANDARD.about, {"1.0.0-2": "why", "4.0.0-1": ""}
        )
        marks = [Mark("mqtt9", "1.0.0-2", "t"), Mark("mqtt9", "1.0.0-3", "t")]
        assert find_problems([wrong], marks) == [
            "MQTT 9: 1.0.0-1 has neither test nor reason",
            "MQTT 9: 1.0.0-2 has a reason for no test, and a test",
            "MQTT 9: 2 statements, not 3",
            "MQTT 9: there is no 1.0.0-3, but a test names it",
            "MQTT 9: there is no 4.0.0-1, but a reason for no test",
        ]

    def test_rows_name_tests_or_reasons(self) -> None:
        more = [Mark("mqtt9", "1.0.0-1", f"test_{letter}.py") for letter in "dcba"]
        page = make_page([self.STANDARD], [*more, *more])
        assert page.endswith(
            "\n## MQTT 9\n\n1 of 2 statements are shown by tests. Note.\n"
            "\n### 1 One\n\n| number | about | shown by |\n|---|---|---|\n"
            "| 1.0.0-1 | this | `test_a.py`, `test_b.py`, `test_c.py`, and 1 more |\n"
            "| 1.0.0-2 | that | why |\n"
        )

    def test_the_data_is_read(self) -> None:
        text = (
            '[mqtt9]\nversion = "9"\ncount = 2\nnote = "Note."\ntitle."1.0" = "One"\n'
            '[mqtt9.about]\n"1.0.0-1" = "this"\n"1.0.0-2" = "that"\n'
            '[mqtt9.reason]\n"1.0.0-2" = "why"\n'
        )
        assert load_standards(text) == [self.STANDARD]
