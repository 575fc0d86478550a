"""A nightly job: every file of conversations in a folder gets a file of emotions, and what is done is not done again.

    python batch_job.py INBOX OUTBOX

A file that cannot be read is reported and the others go on. A file of emotions is complete or not there at all.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sacl import EmotionRecognizer, SaclError, read_conversations

KINDS = {".jsonl", ".csv", ".txt", ".vtt", ".srt"}


def read(source, target, recognizer):
    """Names the emotions of one file, some conversations at a time: it may be larger than memory."""
    aside, turns = target.with_suffix(".part"), 0
    with aside.open("w", encoding="utf-8") as out:
        for conversation in recognizer.predict_many(read_conversations(source)):
            found = [
                {"speaker": t.speaker, "emotion": t.emotion, "sure": round(t.probability, 2)} for t in conversation
            ]
            out.write(json.dumps(found, ensure_ascii=False) + "\n")
            turns += len(found)
    aside.replace(target)
    return turns


def run(inbox, outbox, recognizer):
    """Returns how many files failed."""
    outbox.mkdir(parents=True, exist_ok=True)
    failed = 0
    for source in sorted(path for path in inbox.iterdir() if path.suffix in KINDS):
        target = outbox / f"{source.name}.emotions.jsonl"
        if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
            print(f"{source.name}: done before")
            continue
        try:
            print(f"{source.name}: {read(source, target, recognizer)} turns")
        except SaclError as error:
            print(error)
            failed += 1
    return failed


if __name__ == "__main__":
    recognizer = EmotionRecognizer.from_pretrained()
    if len(sys.argv) == 3:
        sys.exit(run(Path(sys.argv[1]), Path(sys.argv[2]), recognizer) > 0)
    with TemporaryDirectory() as home:  # without arguments: on two chats of its own
        inbox = Path(home) / "inbox"
        inbox.mkdir()
        (inbox / "a.txt").write_text("Ann: You came!\nBo: I did say I would.\n")
        (inbox / "b.csv").write_text("speaker,text\nAnn\n")
        run(inbox, Path(home) / "outbox", recognizer)
        run(inbox, Path(home) / "outbox", recognizer)
