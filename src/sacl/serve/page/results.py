"""The HTML that shows what was recognised: speakers, emotions over time, turns, and what moved one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sacl.recognizer import Recognition
from sacl.serve.page.parts import UNSURE, hue, safe, symbol
from sacl.serve.page.plot import over_time
from sacl.serve.page.view import PAGE, View

MOST_MOVING = 6
"""Turns that are named as those that moved another most."""

LEAST_MOVED, LEAST_MARKED = 0.0005, 0.005
"""Changes of a probability that are named (they would be shown as 0.1 points), and that are marked in every turn."""


def note(text: str) -> str:
    """A line that says what goes on; screen readers read it out."""
    return f'<div class="sacl"><p class="note" role="status">{safe(text)}</p></div>'


def working(text: str, done: int, total: int) -> str:
    """The same with a bar; while it stands the style sheet shows what cancels the work."""
    bar = f'<progress max="{total}" value="{done}" aria-hidden="true"></progress>'
    return f'<div class="sacl busy"><p class="note" role="status">{safe(text)}</p>{bar}</div>'


def fault(text: str) -> str:
    """One sentence about what is wrong."""
    return f'<div class="sacl"><p class="fault" role="alert">{safe(text)}</p></div>'


def results(view: View, threshold: float, *, focus: str = "") -> str:
    """All that is shown of a conversation.

    Args:
        threshold: a turn whose emotion is less probable is marked.
        focus: the key of what is to be focused.
    """
    parts = [
        _heading(view, threshold),
        _speakers(view.talk.turns),
        _turns(view, threshold) + over_time(view) if view.is_live else over_time(view) + _turns(view, threshold),
    ]
    return f'<div class="sacl" data-focus="{focus}">{"".join(parts)}</div>'


def _heading(view: View, threshold: float) -> str:
    turns = view.talk.turns
    often = Counter(turn.likeliest for turn in turns).most_common(2)
    unsure = sum(turn.probability < threshold for turn in turns)
    said = [_count(len(turns), "turn"), "mostly " + " and ".join(f"{name} ({n})" for name, n in often)]
    if unsure:
        said.append(f"{unsure} uncertain")
    summary = f'<p class="note" role="status">{safe("; ".join(said))}</p>'
    source = f" in <bdi>{safe(view.file)}</bdi>" if view.file else ""
    title = f'<h2 tabindex="-1" data-key="top">What was recognised{source}</h2>'
    if len(view.talks) == 1:
        return title + summary
    options = "".join(
        f'<option value="{i}"{" selected" if i == view.at else ""}>{i + 1}: {safe(talk.conversation.id[:60])}, '
        f"{_count(len(talk.turns), 'turn')}</option>"
        for i, talk in enumerate(view.talks)
    )
    return f'{title}<label class="talks">Conversation <select data-act="talk">{options}</select></label>{summary}'


def _speakers(turns: Sequence[Recognition], most: int = 12) -> str:
    feelings: dict[str, Counter[str]] = {}
    for turn in turns:
        feelings.setdefault(turn.speaker, Counter())[turn.likeliest] += 1
    ranked = sorted(feelings.items(), key=lambda item: -item[1].total())
    items = "".join(
        f"<li><b><bdi>{safe(speaker)}</bdi></b> <span>{_count(felt.total(), 'turn')}, mostly</span> "
        f"{chip(felt.most_common(1)[0][0])}</li>"
        for speaker, felt in ranked[:most]
    )
    more = f"<li>and {len(ranked) - most} more</li>" if len(ranked) > most else ""
    return f'<h3>Speakers</h3><ul class="speakers">{items}{more}</ul>'


def _turns(view: View, threshold: float) -> str:
    positions = view.positions()
    items = "".join(_turn(view, i, threshold) for i in positions)
    order = "Newest first. " if view.is_live and len(view.talk.turns) > 1 else ""
    pager = _pager(view, "above"), _pager(view, "below")
    return (
        f'<h3 tabindex="-1" data-key="turns">Turns</h3><p class="hint">{order}Press one to see its probabilities, and '
        f'which other turns moved it.</p>{pager[0]}<ol class="turns">{items}</ol>{pager[1]}'
    )


def _turn(view: View, position: int, threshold: float) -> str:
    turn, is_open = view.talk.turns[position], position == view.chosen
    moved = view.moved.get(position)
    mark = "" if moved is None or abs(moved.moved) < LEAST_MARKED else _moved(moved.moved)
    text = f"<bdi>{safe(turn.text)}</bdi>" if turn.text else "<i>no text</i>"
    detail = _detail(view, turn) if is_open else ""
    return (
        f'<li class="turn{" open" * is_open}"><button type="button" data-act="turn" data-at="{position}" '
        f'data-key="turn-{position}" aria-expanded="{str(is_open).lower()}">'
        f'<span class="who"><small>{position + 1}</small> <b><bdi>{safe(turn.speaker)}</bdi></b></span>'
        f'<span class="said">{text}</span><span class="felt">{chip(turn.likeliest, turn.probability < threshold)}'
        f"{bar(turn.likeliest, turn.probability)}{mark}</span></button>{detail}</li>"
    )


def _detail(view: View, turn: Recognition) -> str:
    ranked = sorted(turn.probabilities.items(), key=lambda item: -item[1])
    rows = "".join(f"<li>{chip(name)}{bar(name, p)}</li>" for name, p in ranked)
    strongest = sorted(view.moved.values(), key=lambda i: -abs(i.moved))[:MOST_MOVING]
    told = [i for i in strongest if abs(i.moved) >= LEAST_MOVED]
    movers = "".join(
        f'<li><button type="button" data-act="go" data-at="{i.position}" data-key="go-{i.position}">'
        f"{_moved(i.moved)}<span><small>{i.position + 1}</small> <b><bdi>{safe(i.speaker)}</bdi></b> "
        f'<bdi class="brief">{safe((i.text or "")[:80])}</bdi></span></button></li>'
        for i in told
    )
    name = safe(turn.likeliest)
    if movers:
        why = (
            f'<p class="hint">Percentage points by which a turn raised ▲ or lowered ▼ the probability of {name} here. '
            f'Press one to go there.</p><ul class="movers">{movers}</ul>'
        )
    else:
        why = f'<p class="hint">No other turn moved the probability of {name} here.</p>'
    return (
        f'<div class="detail"><section><h4>Probabilities</h4><ul class="bars">{rows}</ul></section>'
        f"<section><h4>Moved by other turns</h4>{why}</section></div>"
    )


def chip(emotion: str, unsure: bool = False) -> str:
    """An emotion's symbol and name; a broken line and a question mark where it is unsure."""
    mark = f'{UNSURE}<span class="unseen">uncertain, perhaps </span>' if unsure else ""
    return (
        f'<span class="chip {hue(emotion)}{" unsure" if unsure else ""}">{mark}{"" if unsure else symbol(emotion)}'
        f"<span>{safe(emotion)}</span></span>"
    )


def bar(emotion: str, probability: float) -> str:
    """A probability as a bar and a number."""
    percent = f"{100 * probability:.0f}"
    return (
        f'<span class="bar {hue(emotion)}" aria-hidden="true"><span style="width:{percent}%"></span></span>'
        f'<span class="percent">{percent} %</span>'
    )


def _moved(change: float) -> str:
    raised = change > 0
    return (
        f'<span class="moved {"up" if raised else "down"}"><span aria-hidden="true">{"▲" if raised else "▼"}</span>'
        f'<span class="unseen">{"raised it by" if raised else "lowered it by"} </span>{abs(100 * change):.1f}</span>'
    )


def _pager(view: View, where: str) -> str:
    if view.pages == 1:
        return ""
    shown = view.positions()
    low, high = min(shown[0], shown[-1]) + 1, max(shown[0], shown[-1]) + 1
    steps = [("First", 0), ("Previous", view.page - 1), ("Next", view.page + 1), ("Last", view.pages - 1)]
    buttons = [
        f'<button type="button" data-act="page" data-at="{page}" data-key="{where}-{name}"'
        f"{' disabled' if not 0 <= page < view.pages or page == view.page else ''}>{name}</button>"
        for name, page in steps
    ]
    told = f"<span>Turns {low} to {high} of {len(view.talk.turns)}</span>"
    return (
        f'<nav class="pager" aria-label="Pages of {PAGE} turns, {where} the turns">{"".join(buttons[:2])}{told}'
        f"{''.join(buttons[2:])}</nav>"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
