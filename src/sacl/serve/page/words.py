"""What stands on the page beside the results: its head and foot, and conversations to try, written for it."""

from __future__ import annotations

from collections.abc import Sequence

from sacl.serve.page.parts import safe

EXAMPLES = {
    "A late parcel": """\
Maya: Hello, my parcel should have been here on Monday, and today is Thursday.
Ben: I am sorry to hear that. May I have your order number?
Maya: It is 4471. I already gave it to two of your colleagues!
Ben: Thank you. I see that it was sent back by mistake.
Maya: Sent back? Are you serious? It was a birthday present!
Ben: I understand that you are upset. I can send a new one today, by express.
Maya: Oh. Really, today?
Ben: Yes, it will be with you tomorrow before noon, and you pay nothing for it.
Maya: That is wonderful, thank you so much!
Ben: You are welcome. I hope it is a lovely birthday.""",
    "The empty flat": """\
Iris: Did you hear that noise downstairs?
Tom: It is an old house. It makes noises.
Iris: No, listen. There it is again. Somebody is in the kitchen!
Tom: Wait here. Don't move.
Iris: Please don't go alone, I'm scared.
Tom: Ha! It is the neighbour's cat, eating our cake.
Iris: The cat? Oh, thank goodness.
Tom: It licked the whole plate. That is disgusting.
Iris: And that was the last piece. Poor us.""",
    "After the release": """\
Priya: Good morning everyone. The release went out last night.
Jonas: And nothing broke! I honestly can't believe it.
Priya: Well done, all of you. I am really proud of this team.
Ada: There is one thing. The report for March is still wrong.
Jonas: Again? I fixed that twice already, this is so annoying.
Ada: I know. I am sorry, I should have told you before.
Priya: Let us look at it together after this meeting.
Jonas: Fine. Thanks, that would help.""",
}

FORMATS = (".txt", ".csv", ".jsonl", ".json", ".vtt", ".srt")

HEAD = """\
<header class="sacl head"><h1>How did they feel?</h1>
<p>Paste a conversation, and see the emotion of every turn: how sure the model is, how it went on, and what moved it.
</p><p class="fault" role="alert" hidden></p></header>"""


def foot(labels: Sequence[str]) -> str:
    """What a visitor should know of the model, and of what happens to the texts."""
    return f"""\
<footer class="sacl foot"><p>Nothing leaves the machine that this page runs on, and nothing is stored: texts are held in
memory while you look at them. The model knows {len(labels)} emotions ({safe(", ".join(labels))}), and is often wrong:
it is no ground for judging a person, at work or in medicine.</p></footer>"""


def sources(most_bytes: int) -> str:
    """A file to open, and examples to press; the file's input covers its label, so that files can be dropped there."""
    examples = "".join(
        f'<button type="button" data-example="{i}">{safe(name)}</button>' for i, name in enumerate(EXAMPLES)
    )
    return (
        f'<div class="sacl sources"><label class="file"><span>Open a file</span><input type="file" '
        f'accept="{",".join(FORMATS)}" data-most="{most_bytes}"></label><span class="try" role="group" '
        f'aria-label="Examples"><span aria-hidden="true">or try</span>{examples}</span></div>'
    )
