"""Small parts of the page: text that is safe in it, and how an emotion looks.

An emotion is a face and its name; its hue only helps, and never stands alone.
"""

from __future__ import annotations

import html

_SIGNS = {ord(sign): f"&#{ord(sign)};" for sign in "$`{}\\"}

_EYES = '<circle cx="7" cy="8.2" r=".7"/><circle cx="13" cy="8.2" r=".7"/>'
_FACES = {
    "joy": _EYES + '<path d="M6 11.5q4 5 8 0"/>',
    "thrill": '<path d="M6 8.5l1-1.4 1 1.4M12 8.5l1-1.4 1 1.4M6 11h8q-1 4.4-4 4.4T6 11z"/>',
    "calm": '<path d="M5.8 8.2q1.2 1.2 2.4 0M11.8 8.2q1.2 1.2 2.4 0M7 12.6q3 1.6 6 0"/>',
    "plain": _EYES + '<path d="M6.8 13h6.4"/>',
    "sad": _EYES + '<path d="M6.5 14.4q3.5-3.4 7 0M14.6 10.2v1.6"/>',
    "anger": '<path d="M5.6 6.6l2.8 1.5M14.4 6.6l-2.8 1.5M7 9.6v.2M13 9.6v.2M7 14h6"/>',
    "strain": '<path d="M6 7l2 1.1-2 1.1M14 7l-2 1.1 2 1.1M6.4 13.8l1.8-1.4 1.8 1.4 1.8-1.4 1.8 1.4"/>',
    "fear": '<circle cx="7" cy="8" r="1.6"/><circle cx="13" cy="8" r="1.6"/>'
    '<path d="M6.4 13.6q1.2-1.8 2.4 0t2.4 0 2.4 0"/>',
    "surprise": '<circle cx="7" cy="7.6" r=".7"/><circle cx="13" cy="7.6" r=".7"/><circle cx="10" cy="13" r="2.1"/>',
    "disgust": '<path d="M5.8 8.4h2.4M11.8 8.4h2.4M6.4 12.6h7.2M9 12.6v1.6q1.6 1.8 3.2 0v-1.6"/>',
    "power": '<path d="M6 8.4h2.2M11.8 8.4h2.2M7.6 12.4q3.4 2.2 5.4-.6M5.4 6.2l2.8.6M14.6 6.2l-2.8.6"/>',
    "love": '<path d="M7 9.4L5.7 8q-.2-1.4 1.3-.9 1.5-.5 1.3.9zM13 9.4L11.7 8q-.2-1.4 1.3-.9 1.5-.5 1.3.9z'
    'M6.4 12q3.6 3.8 7.2 0"/>',
}
"""Features of each face, on a disc of 20 by 20; lines alone, so that they are seen in any colour, or none."""

_LOOKS = {
    ("joy", "amber"): "joy joyful happy happiness glad cheerful amusement amused",
    ("thrill", "amber"): "excited excitement",
    ("calm", "teal"): "peaceful calm relaxed content relief relieved trust",
    ("plain", "grey"): "neutral none other no_emotion",
    ("sad", "blue"): "sad sadness grief disappointed disappointment",
    ("anger", "red"): "anger angry mad cross annoyed annoyance",
    ("strain", "rust"): "frustrated frustration stressed",
    ("fear", "violet"): "fear scared afraid fearful anxious nervous nervousness worried",
    ("surprise", "teal"): "surprise surprised astonished",
    ("disgust", "green"): "disgust disgusted contempt",
    ("power", "rust"): "powerful proud pride confident",
    ("love", "pink"): "love caring affection gratitude grateful thankful",
}
_LOOK = {name: look for look, names in _LOOKS.items() for name in names.split()}


def safe(text: str) -> str:
    """Text that people typed, for element content and for attributes in double quotes.

    Gradio reads what a gr.HTML shows as a template of JavaScript and of Handlebars, so that their signs become
    entities too.

    >>> safe('<b>${1}')
    '&lt;b&gt;&#36;&#123;1&#125;'
    """
    return html.escape(text).translate(_SIGNS)


def hue(emotion: str) -> str:
    """The class of the style sheet that colours an emotion; grey for one that is not known here."""
    return _LOOK.get(emotion.lower(), ("", "grey"))[1]


def symbol(emotion: str) -> str:
    """Its face as inline SVG, a box with its first letter for one that is not known here; the name stands beside it."""
    face = _LOOK.get(emotion.lower(), ("", ""))[0]
    if face:
        inner = f'<circle cx="10" cy="10" r="8.6"/>{_FACES[face]}'
    else:
        letter = safe(emotion.strip()[:1].upper() or "?")
        inner = f'<rect x="2" y="2" width="16" height="16" rx="3"/><text x="10" y="14.2">{letter}</text>'
    return f'<svg class="face" viewBox="0 0 20 20" aria-hidden="true">{inner}</svg>'


UNSURE = (
    '<svg class="face" viewBox="0 0 20 20" aria-hidden="true">'
    '<circle cx="10" cy="10" r="8.6" stroke-dasharray="3 2.4"/><text x="10" y="14.2">?</text></svg>'
)
"""The symbol of a turn whose emotion is left open."""
