"""The page as a person meets it, in a browser."""

from __future__ import annotations

import json
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

CHAT = "Ann: we had cake\nBo: the window was late\nAnn: hooray it was sunny\nBo: paper"
BAIT = "${document.title='caught'} `${1}` {{title}} {{#each this}} \\u0041 " + (
    "<img src=x onerror=\"document.title='caught'\">"
)


def asked(server: Any, path: str, method: str = "GET") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(server.address + path, method=method)) as answer:
        content: bytes = answer.read()
        return content


def test_what_is_pasted_is_shown_as_the_model_reads_it(visit: Any, server: Any) -> None:
    from sacl.recognizer import EmotionRecognizer

    one = visit()
    one.paste(CHAT)
    assert one.turns(4) == [line.split(": ")[1] for line in CHAT.splitlines()]
    recognizer = EmotionRecognizer.from_pretrained(server.folder / "model.safetensors")
    expected = recognizer.predict([tuple(line.split(": ")) for line in CHAT.splitlines()])
    for i, turn in enumerate(expected):
        shown = one.turn(i)
        assert turn.likeliest in shown.locator(".chip").inner_text()
        assert shown.locator(".percent").inner_text() == f"{100 * turn.probability:.0f} %"
        assert shown.locator(".who b").inner_text() == turn.speaker
    assert one.page.locator(".plot [role=img]").count() == 3


def test_an_example_is_read_with_one_click(visit: Any) -> None:
    one = visit()
    one.page.get_by_role("button", name="The empty flat").click()
    assert len(one.turns(9)) == 9
    assert one.page.get_by_placeholder("Ann: You came!").input_value().startswith("Iris: ")


def test_a_file_is_read_as_its_kind(visit: Any) -> None:
    turns = [tuple(line.split(": ")) for line in CHAT.split("\n")]
    messages = [{"type": "message", "user": who, "text": said, "ts": f"{i}.0"} for i, (who, said) in enumerate(turns)]
    kinds = {
        "chat.txt": CHAT,
        "chat.csv": "conversation,speaker,text\n" + "".join(f"c,{who},{said}\n" for who, said in turns),
        "call.vtt": "WEBVTT\n\n" + "".join(f"00:0{i}.0 --> 00:0{i}.9\n{w}: {s}\n\n" for i, (w, s) in enumerate(turns)),
        "call.srt": "".join(f"{i}\n00:00:0{i},0 --> 00:00:0{i},9\n{w}: {s}\n\n" for i, (w, s) in enumerate(turns)),
        "phone.txt": "".join(f"31/01/2024, 10:0{i} - {who}: {said}\n" for i, (who, said) in enumerate(turns)),
        "slack.json": json.dumps(messages),
    }
    one = visit()
    for i, (name, content) in enumerate(kinds.items()):
        one.open(name, f"{content}".replace("paper", f"paper {i}").encode())
        one.page.get_by_text(f"paper {i}", exact=True).wait_for()
        assert one.turns(4) == [said.replace("paper", f"paper {i}") for _, said in turns]


def test_a_file_of_several_conversations_shows_one_at_a_time(visit: Any) -> None:
    one = visit()
    one.page.get_by_placeholder("Ann: You came!").fill("a draft")
    one.open("two.jsonl", b"".join(
        json.dumps({"id": id, "utterances": [{"speaker": "A", "text": f"{id} {i}"} for i in range(3)]}).encode() + b"\n"
        for id in ("first", "second")
    ))  # fmt: skip
    assert one.turns(3)[0] == "first 0"
    assert one.page.get_by_role("heading", name="What was recognised in two.jsonl").is_visible()
    assert one.page.get_by_placeholder("Ann: You came!").input_value() == ""
    one.page.locator(".talks select").select_option("2: second, 3 turns")
    one.page.get_by_text("second 0", exact=True).wait_for()
    assert one.turns(3)[0] == "second 0"


FAULTS = {
    "broken.csv": (b'speaker,text\nAnn,"half', "broken.csv, line 2: it is not CSV"),
    "lines.txt": (b"nobody says this\n", "lines.txt, line 1: the conversation starts without a speaker"),
    "picture.txt": (b"\x89PNG\xff\xfe", "picture.txt: it is not text in UTF-8"),
    "empty.txt": (b"", "empty.txt: it is empty"),
    "large.txt": (b"Ann: " + b"x" * 2**20, "large.txt: it is larger than 1 MB"),
    "many.txt": (b"Ann: we had\n" * 2501, "more than 2500 turns"),
    "chat.zip": (b"PK", "Unpack it"),
    "page.html": (b"<p>", "page.html: its format cannot be told"),
    "wordy.txt": (b"Ann: " + b"x" * 10_001, "10001 characters"),
}


def test_a_file_at_fault_is_one_sentence_and_the_page_goes_on(visit: Any) -> None:
    one = visit()
    for name, (content, told) in FAULTS.items():
        one.open(name, content)
        alert = one.page.get_by_role("alert")
        one.expect(alert).to_contain_text(told)
        assert not {"Traceback", "--", "\n"} & {
            sign for sign in ("Traceback", "--", "\n") if sign in alert.inner_text()
        }
        assert len(alert.inner_text()) < 250
        one.expect(alert).to_be_in_viewport()
    one.open("chat.txt", CHAT.encode())
    one.turns(4)
    one.expect(one.page.get_by_role("alert")).to_have_count(0)


def test_a_turn_that_is_pressed_shows_what_moved_it(visit: Any, server: Any) -> None:
    from sacl.recognizer import EmotionRecognizer

    one = visit()
    one.paste(CHAT)
    one.turns(4)
    one.turn(2).click()
    one.page.locator(".detail").wait_for()
    assert one.turn(2).get_attribute("aria-expanded") == "true"
    recognizer = EmotionRecognizer.from_pretrained(server.folder / "model.safetensors")
    influences = recognizer.influence([tuple(line.split(": ")) for line in CHAT.splitlines()], 2)
    strongest = max(influences, key=lambda i: abs(i.moved))
    first = one.page.locator(".movers button").first
    assert first.get_attribute("data-at") == str(strongest.position)
    assert f"{abs(100 * strongest.moved):.1f}" in first.inner_text()
    assert ("▲" if strongest.moved > 0 else "▼") in first.inner_text()
    assert one.turn(strongest.position).locator(".moved").count() == 1
    one.turn(2).click()
    one.expect(one.page.locator(".detail")).to_have_count(0)


def test_a_live_chat_is_read_turn_by_turn(visit: Any) -> None:
    one = visit()
    one.page.get_by_role("tab", name="Live chat").click()
    for n, (speaker, text) in enumerate([("Ann", "hooray cake"), ("Bo", "never late"), ("Ann", "the table")], 1):
        one.say(speaker, text)
        assert one.turns(n)[0] == text  # the newest stands first
    assert one.page.get_by_label("What was said").input_value() == ""
    felt = one.turn(0).locator(".percent").inner_text()
    one.turn(1).click()
    one.page.locator(".detail").wait_for()
    assert {b.get_attribute("data-at") for b in one.page.locator(".movers button").all()} == {"0"}  # no later turn
    assert one.turn(0).locator(".percent").inner_text() == felt
    one.say("", "who am I")
    assert "speaker" in one.alert()
    one.page.get_by_role("button", name="Begin anew").click()
    one.turns(0)


def test_a_download_is_what_the_command_writes(
    visit: Any, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sacl.cli import main

    one = visit()
    one.paste(CHAT)
    one.turns(4)
    (tmp_path / "chat.txt").write_text(CHAT)
    handler = signal.getsignal(signal.SIGTERM)
    for format, option in (("csv", ["--format", "csv"]), ("json", ["--json"])):
        with one.page.expect_download() as download:
            one.page.get_by_role("button", name=f"Download {format.upper()}").click()
        assert download.value.suggested_filename == f"emotions.{format}"
        command = ["sacl", "predict", server.folder / "model.safetensors", tmp_path / "chat.txt", "--threshold", "0.5"]
        monkeypatch.setattr(sys, "argv", [*map(str, command), *option])
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main()
        signal.signal(signal.SIGTERM, handler)
        assert Path(download.value.path()).read_bytes().decode() == capsys.readouterr().out


def test_the_threshold_says_which_turns_are_uncertain(visit: Any) -> None:
    one = visit()
    one.paste(CHAT)
    one.turns(4)
    threshold = one.page.get_by_role("slider").filter(visible=True)
    threshold.focus()
    threshold.press("End")
    one.expect(one.page.locator(".turn .unsure:visible")).to_have_count(4)
    assert "uncertain" in one.turn(0).locator(".chip").text_content()
    threshold.press("Home")
    one.expect(one.page.locator(".turn .unsure:visible")).to_have_count(0)


_CONTRASTS = """(some) => some.map((one) => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3)
    .map((x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  let under = one;
  while (under.parentElement && numbers(getComputedStyle(under).backgroundColor)[3] === 0) under = under.parentElement;
  const pair = [getComputedStyle(one).color, getComputedStyle(under).backgroundColor].map(light);
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_ends_of_the_threshold_can_be_read(visit: Any, scheme: str) -> None:
    one = visit(color_scheme=scheme)
    one.paste(CHAT)
    one.turns(4)
    ends = one.page.locator(".tools :is(.min_value, .max_value):visible")
    one.expect(ends).to_have_text(["0", "1"])
    assert min(ends.evaluate_all(_CONTRASTS)) >= 4.5


def test_a_conversation_of_2000_turns_is_paged(visit: Any) -> None:
    one = visit()
    one.open("long.txt", "".join(f"{'Ann' if i % 3 else 'Bo'}: it was paper {i}\n" for i in range(2000)).encode())
    assert one.turns(50)[-1] == "it was paper 49"
    one.page.get_by_role("button", name="Next").last.click()
    one.page.get_by_text("Turns 51 to 100 of 2000").first.wait_for()
    assert one.turns(50)[0] == "it was paper 50"
    one.page.get_by_role("button", name="Last").first.click()
    one.page.get_by_text("Turns 1951 to 2000 of 2000").first.wait_for()
    assert one.turns(50)[-1] == "it was paper 1999"
    one.turn(1990).click()
    one.page.locator(".detail").wait_for()
    assert one.page.locator(".plot path").first.get_attribute("d").count("M") <= 160


def test_reading_can_be_cancelled(visit: Any, server: Any) -> None:
    one = visit()
    try:
        asked(server, "/test/let/250", "POST")
        one.paste("Ann: molasses\n" * 1000)
        one.page.get_by_text("250 of 1000 turns read").wait_for()
        one.page.get_by_role("button", name="Cancel").click()
        one.page.get_by_text("Cancelled.").wait_for()
        one.expect(one.page.get_by_role("button", name="Cancel")).to_have_count(0)
    finally:
        asked(server, "/test/let/1000000", "POST")
    one.paste(CHAT)
    one.turns(4)
    assert int(asked(server, "/test/begun")) <= 500  # the second portion may have begun


def test_what_people_type_is_never_run(visit: Any) -> None:
    one = visit()
    # Without signs that end a speaker's name in a line.
    bait = [{"speaker": BAIT, "text": BAIT}, {"speaker": "<b>$`{{", "text": "</button></script>`${alert(1)}"}]
    one.open("bait.jsonl", json.dumps({"id": BAIT, "utterances": bait}).encode())
    assert one.turns(2) == [turn["text"] for turn in bait]
    assert one.turn(0).locator(".who b").inner_text() == BAIT
    one.turn(0).click()
    one.page.locator(".detail").wait_for()
    assert one.page.locator(".sacl img, .sacl script, .sacl .who b b").count() == 0
    one.page.get_by_role("tab", name="Live chat").click()
    one.say(BAIT, BAIT)
    assert one.turns(1) == [BAIT]
    one.page.get_by_role("tab", name="A whole conversation").click()
    one.open(f"{BAIT.replace('/', '')}.txt", b"\n")
    one.alert()


MARKUP = (
    "<script>window.caught=1</script>",
    "<img src=x onerror=window.caught=1>",
    "<svg/onload=window.caught=1>",
    "<iframe srcdoc='<script>parent.caught=1</script>'></iframe>",
    '"><b onmouseover="window.caught=1" autofocus onfocus=window.caught=1 tabindex=1>',
    "<a href='javascript:window.caught=1'>press</a>",
    "[press](javascript:window.caught=1) ![x](x) **bold** <details open ontoggle=window.caught=1>",
    "javascript:window.caught=1",
    "</textarea></button><style>*{display:none}</style><math><mtext><mglyph><style><img src=x onerror=window.caught=1>",
    "${window.caught=1} {{constructor.constructor('window.caught=1')()}} <%= 1 %> {% raw %}",
    "&lt;script&gt;window.caught=1&lt;/script&gt; &#60;b&#62;",
)
_GROWN = """(some) => some.flatMap((one) => [one, ...one.querySelectorAll("*")]).filter((one) =>
  one.matches("script, img, iframe, a, style, math, details, strong") ||
  [...one.attributes].some((a) => /^(on|autofocus)/.test(a.name) || /^\\s*javascript:/i.test(a.value))
).map((one) => one.outerHTML)"""


def test_no_markup_that_is_pasted_opened_or_typed_becomes_an_element_or_runs(visit: Any) -> None:
    one = visit()

    def check() -> None:
        shown = one.page.locator(".turn:visible, .detail:visible, .plot:visible")
        assert shown.count() >= 1
        assert shown.evaluate_all(_GROWN) == []
        assert one.page.evaluate("window.caught") is None

    one.paste("\n".join(f"Ann: {text}" for text in MARKUP))
    assert one.turns(len(MARKUP)) == list(MARKUP)
    one.turn(1).click()
    one.page.locator(".detail").wait_for()
    check()
    turns = [{"speaker": text, "text": f"said by {i}"} for i, text in enumerate(MARKUP)]
    one.open("markup.jsonl", json.dumps({"id": MARKUP[1], "utterances": turns}).encode())
    one.page.get_by_text("said by 0", exact=True).wait_for()
    assert [one.turn(i).locator(".who b").inner_text() for i in range(len(MARKUP))] == list(MARKUP)
    check()
    one.page.get_by_role("tab", name="Live chat").click()
    for i, text in enumerate(MARKUP, 1):
        one.say(text, text)
        assert one.turns(i)[0] == text
    check()


def test_a_request_that_is_refused_is_told(visit: Any) -> None:
    one = visit()
    one.paste("Ann: " + "hello " * 200_000)
    assert one.alert() == "This is too much for one request. Take a part of the conversation."
    assert [fault for fault in one.faults if "413" not in fault] == []
    one.faults.clear()  # the browser notes it
    one.paste(CHAT)
    one.turns(4)
    assert one.page.get_by_role("alert").filter(visible=True).count() == 0


def test_all_of_it_works_with_the_keyboard_alone(visit: Any) -> None:
    one = visit()
    keyboard = one.page.keyboard

    def tab_to(name: str) -> None:
        for _ in range(40):
            keyboard.press("Tab")
            if one.page.evaluate(
                "document.activeElement.innerText || document.activeElement.ariaLabel || ''"
            ).startswith(name):
                return
        raise AssertionError(f"Tab does not reach {name!r}")

    one.page.get_by_placeholder("Ann: You came!").focus()
    keyboard.insert_text(CHAT)
    tab_to("Read the emotions")
    keyboard.press("Enter")
    one.turns(4)
    one.expect(one.page.get_by_role("heading", name="What was recognised")).to_be_focused(timeout=30_000)
    tab_to("2 Bo")
    keyboard.press("Enter")
    one.page.locator(".detail").wait_for()
    one.expect(one.turn(1)).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Enter")  # to the turn that moved it most
    one.page.wait_for_function("document.activeElement.dataset.key?.startsWith('turn-')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(visit: Any, scheme: str) -> None:
    one = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True)
    word = "extraordinarily" * 20
    one.paste(f"{CHAT}\n{'N' * 40}: {word} and a rather long end of it")
    one.turns(5)
    one.turn(4).tap()
    one.page.locator(".detail").wait_for()
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
    one.page.get_by_role("tab", name="Live chat").click()
    one.say("N" * 40, word)
    one.turns(1)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_nothing_that_was_typed_is_on_disk_or_in_the_log(visit: Any, server: Any) -> None:
    one = visit()
    one.open("secret.txt", b"Ann: the xylophone was late\n")
    one.turns(1)
    with one.page.expect_download() as download:
        one.page.get_by_role("button", name="Download JSON").click()
    assert "xylophone" in Path(download.value.path()).read_text()
    assert "xylophone" not in (server.folder / "log").read_text()
    left = [path for path in server.scratch.rglob("*") if path.is_file() and b"xylophone" in path.read_bytes()]
    assert left == []


CLOSED = (
    "/docs",
    "/gradio_api/upload",
    "/gradio_api/deep_link",
    "/gradio_api/file=/etc/passwd",
    "/gradio_api/proxy=http://a.example",
    "/gradio_api/openapi.json",
    "/gradio_api/vibe-code",
    "/monitoring",
)


@pytest.mark.parametrize("path", CLOSED)
def test_what_gradio_adds_beside_the_page_is_closed(server: Any, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        asked(server, path)
    refused.value.close()
    assert refused.value.code == 404


def test_no_event_can_be_called_as_an_api(server: Any) -> None:
    info = json.loads(asked(server, "/gradio_api/info"))
    assert info == {"named_endpoints": {}, "unnamed_endpoints": {}}
