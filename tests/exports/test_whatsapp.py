"""WhatsApp's exports: both styles, many ways to write a date, and nothing of what the app itself wrote."""

from __future__ import annotations

import contextlib
import io
from datetime import datetime
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sacl.conversation import Conversation
from sacl.errors import DataError
from sacl.exports.whatsapp import DateOrder
from sacl.formats import read_conversations


def read(text: str, gap: float | None = None, dates: DateOrder | None = None) -> list[Conversation]:
    return list(read_conversations(io.StringIO(text, newline=""), "whatsapp", gap=gap, dates=dates))


def turns(text: str) -> list[tuple[str, str | None]]:
    [chat] = read(text)
    return [(u.speaker, u.text) for u in chat.utterances]


def seconds(*when: int) -> float:
    return (datetime(*when) - datetime(1970, 1, 1)).total_seconds()  # type: ignore[arg-type,misc]


ANDROID = """\
12/31/23, 9:38\u202fPM - Messages and calls are end-to-end encrypted. Only people in this chat can read them.
12/31/23, 9:39\u202fPM - Ann created group "Party: tonight"
12/31/23, 9:40\u202fPM - Bo joined using this group's invite link
12/31/23, 9:41\u202fPM - Ann: Who brings the cake?
12/31/23, 9:42\u202fPM - Bo: I do.
Two of them:
one is without sugar
12/31/23, 9:43\u202fPM - Bo: <Media omitted>
12/31/23, 9:44\u202fPM - +44 20 7946 0123: IMG-20231231-WA0001.jpg (file attached)
The oven, as it is now
12/31/23, 9:44\u202fPM - Bo: VID-20231231-WA0002.mp4 (file attached)
12/31/23, 9:45\u202fPM - Ann: This message was deleted
12/31/23, 9:46\u202fPM - Ann: 12:30 is fine: really <This message was edited>
1/1/24, 12:00\u202fAM - Ann: \U0001f389
"""
IPHONE = """\
\u200e[31.12.23, 21:38:01] Flat 7: \u200eMessages and calls are end-to-end encrypted.
[31.12.23, 21:39:00] \u200eAnn added you
[31.12.23, 21:41:05] Ann: Who brings the cake?
[31.12.23, 21:42:00] ~\u202fBo: I do.\r
\r
Two of them.
\u200e[31.12.23, 21:43:00] Ann: \u200eimage omitted
\u200e[31.12.23, 21:43:30] Ann: plan.pdf \u200e<attached: 00000012-plan.pdf>
\u200e[31.12.23, 21:43:40] Ann: \u200eplan.pdf \u2022 \u200e2 pages \u200edocument omitted
[31.12.23, 21:44:00] Ann: thanks @\u2068Bo\u2069 \u200e<This message was edited>
"""


def test_android_messages_go_over_lines_and_what_the_app_wrote_is_left_out() -> None:
    assert turns(ANDROID) == [
        ("Ann", "Who brings the cake?"),
        ("Bo", "I do.\nTwo of them:\none is without sugar"),
        ("+44 20 7946 0123", "The oven, as it is now"),
        ("Ann", "12:30 is fine: really"),
        ("Ann", "\U0001f389"),
    ]
    [chat] = read(ANDROID)
    assert chat.utterances[0].time == seconds(2023, 12, 31, 21, 41)
    assert chat.utterances[-1].time == seconds(2024, 1, 1)


def test_iphone_marks_of_direction_tell_what_the_app_wrote() -> None:
    assert turns(IPHONE) == [
        ("Ann", "Who brings the cake?"),
        ("Bo", "I do.\n\nTwo of them."),
        ("Ann", "plan.pdf"),
        ("Ann", "thanks @Bo"),
    ]
    assert read(IPHONE)[0].utterances[0].time == seconds(2023, 12, 31, 21, 41, 5)


@pytest.mark.parametrize(
    ("line", "when"),
    [
        ("31/12/2023, 21:41 - ", (2023, 12, 31, 21, 41)),
        ("31/12/23 21:41 - ", (2023, 12, 31, 21, 41)),
        ("31.12.23, 21:41 - ", (2023, 12, 31, 21, 41)),
        ("31-12-23 21:41 - ", (2023, 12, 31, 21, 41)),
        ("2023-12-31, 21:41 - ", (2023, 12, 31, 21, 41)),
        ("2023/12/31 21.41 - ", (2023, 12, 31, 21, 41)),
        ("2023. 12. 31. 21:41 - ", (2023, 12, 31, 21, 41)),
        ("31/12/23, 9:41 p. m. - ", (2023, 12, 31, 21, 41)),
        ("31/12/23, 9:41\u00a0pm - ", (2023, 12, 31, 21, 41)),
        ("12/31/23, 12:05 AM - ", (2023, 12, 31, 0, 5)),
        ("12/31/23, 12:05 PM - ", (2023, 12, 31, 12, 5)),
        ("[12/31/23, 9:41:07\u202fPM] ", (2023, 12, 31, 21, 41, 7)),
        ("[2023-12-31, 21:41:07] ", (2023, 12, 31, 21, 41, 7)),
        ("[31/12/2023, 21:41:07] ", (2023, 12, 31, 21, 41, 7)),
        ("\u200f[31.12.2023, 21:41:07] ", (2023, 12, 31, 21, 41, 7)),
        ("[3/3/23, 21:41:07] ", (2023, 3, 3, 21, 41, 7)),
        ("31.12.2023 klo 21.15 - ", (2023, 12, 31, 21, 15)),
        ("31/12/2023 \u00e0 21:15 - ", (2023, 12, 31, 21, 15)),
        ("03.04.23, 24:05 - ", (2023, 4, 3, 0, 5)),
        ("\u0663\u0661/\u0661\u0662/\u0662\u0660\u0662\u0663, \u0662\u0661:\u0664\u0661 - ", (2023, 12, 31, 21, 41)),
    ],
)
def test_these_are_dates(line: str, when: tuple[int, ...]) -> None:
    [chat] = read(f"{line}Ann: Hello\n")
    assert chat.utterances[0].time == seconds(*when)


def test_the_order_of_day_and_month_is_told_from_the_whole_chat() -> None:
    lines = ["1/2/23, 10:00 - Ann: one", "2/2/23, 10:00 - Bo: two"]
    later = "{}/{}/23, 10:00 - Ann: later"
    for extra, first in ((later.format(14, 2), (2023, 2, 1, 10)), (later.format(2, 14), (2023, 1, 2, 10))):
        [chat] = read("\n".join([*lines, extra]))
        assert chat.utterances[0].time == seconds(*first)


def test_where_both_orders_are_dates_the_one_in_which_time_goes_on_is_meant() -> None:
    [chat] = read("12/2/23, 10:00 - Ann: one\n1/3/23, 10:00 - Bo: two\n")
    assert chat.utterances[1].time == seconds(2023, 3, 1, 10)


def test_where_the_order_cannot_be_told_there_are_no_times_and_a_gap_is_refused() -> None:
    text = "1/2/23, 10:00 - Ann: one\n2/2/23, 10:00 - Bo: two\n"
    assert [u.time for u in read(text)[0].utterances] == [None, None]
    with pytest.raises(DataError, match=r"times of its turns are not known\. .*--dates dmy or --dates mdy"):
        read(text, gap=3600)
    assert [c.id for c in read(text, gap=3600, dates="mdy")] == ["0", "1"]
    assert read(text, dates="mdy")[0].utterances[0].time == seconds(2023, 1, 2, 10)


def test_a_line_in_the_other_style_was_quoted_by_somebody() -> None:
    assert turns("31.12.23, 21:41 - Ann: she wrote:\n[30.12.23, 20:00:00] Bo: Hello\n") == [
        ("Ann", "she wrote:\n[30.12.23, 20:00:00] Bo: Hello")
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ann: Hello\n", "line 1: it does not begin with a date and a time"),
        ("\n\nChat with Ann\n31.12.23, 21:41 - Ann: Hi\n", "line 3: it does not begin with a date"),
        ("31.12.23, 21:41 - Ann: Hi\n12/31/23, 21:42 - Bo: Hi\n", "line 2: its date or time, '12/31/23, 21:42"),
        ("31.12.23, 21:41 - Ann: Hi\n\n45.12.23, 21:42 - Bo: Hi\n", "line 3: its date or time, '45.12.23"),
        ("31.12.23, 25:41 - Ann: Hi\n", "line 1: its date or time"),
        ("31.12.23, 21:71 - Ann: Hi\n", "line 1: its date or time"),
        ("12/31/23, 13:41 PM - Ann: Hi\n", "line 1: its date or time"),
        ("31.12.23, 21:41 - You were added\n", "it holds no conversation"),
        ("", "it holds no conversation"),
    ],
)
def test_an_export_at_fault_is_placed(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "chat.txt").write_text(text + "31.12.23, 21:42 - Ann added you\n" * (not text))
    with pytest.raises(DataError, match=rf"chat\.txt(, |: ){found}") as caught:
        list(read_conversations(tmp_path / "chat.txt", "whatsapp"))
    assert "\n" not in str(caught.value)


def test_an_order_that_was_asked_for_holds() -> None:
    with pytest.raises(DataError, match=r"line 1: its date or time, '31.12.23.*--dates dmy, mdy, ymd"):
        read("31.12.23, 21:41 - Ann: Hi\n", dates="mdy")


def test_a_name_with_a_quote_of_its_own_stays() -> None:
    assert turns('31.12.23, 21:41 - Ann "Boss" B: Hi\n') == [('Ann "Boss" B', "Hi")]


said = st.text(st.characters(categories=["L", "N", "P", "Zs"], exclude_characters="\u200e<>()")).map(str.strip)


@given(st.lists(st.tuples(st.sampled_from(["Ann", "Bo B.", "+49 30 5"]), said.filter(bool)), min_size=1))
def test_what_people_wrote_reads_back(chat: list[tuple[str, str]]) -> None:
    left_out = {"null"}
    written = [(who, text) for who, text in chat if text.lower() not in left_out]
    text = "".join(f"31.12.23, 21:41 - {who}: {text}\n" for who, text in [("Ann", "begin"), *written])
    assert turns(text) == [("Ann", "begin"), *written]


pieces = st.sampled_from(
    [
        "12/31/23",
        "31.12.23",
        "2023-12-31",
        ", ",
        "9:41",
        " PM",
        " - ",
        "[",
        "] ",
        "Ann",
        ": ",
        "\n",
        "\u200e",
        "hi",
        '"',
    ]
)


@given(st.lists(pieces | st.text(max_size=3)).map("".join), st.sampled_from([None, 60.0]))
def test_no_text_gives_anything_but_conversations_or_a_data_error(text: str, gap: float | None) -> None:
    with contextlib.suppress(DataError):
        assert all(c.utterances for c in read(text, gap))
