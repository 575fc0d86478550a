"""A model for labels of your own, from rows of a table: fitted, scored on what was kept apart, saved and loaded."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from sklearn.metrics import f1_score

from sacl import EmotionRecognizer, load_corpus

OWN = {"joy": "pleased", "surprise": "pleased", "neutral": "even", "anger": "upset", "disgust": "upset"}  # else "low"


def rows(split):
    """One dict a turn, as a database or `csv.DictReader` gives them. Yours come from elsewhere."""
    for conversation in load_corpus("sample")[split]:
        for turn in conversation.utterances:
            label = OWN.get(turn.emotion, "low")
            yield {"call": conversation.id, "who": turn.speaker, "said": turn.text, "mood": label}


columns = {"conversation": "call", "speaker": "who", "text": "said"}
labelled = columns | {"emotion": "mood"}
recognizer = EmotionRecognizer.fit(list(rows("train")), columns=labelled, epochs=12, class_weights="train")
print(f"{len(recognizer.held_out)} conversations chose the epoch; labels: {', '.join(recognizer.labels)}")

kept_apart = list(rows("test"))
given = [{key: row[key] for key in ("call", "who", "said")} for row in kept_apart]
predicted = [turn.emotion for conversation in recognizer.predict(given, columns=columns) for turn in conversation]
truth = [row["mood"] for row in kept_apart]
always = Counter(truth).most_common(1)[0][0]
for name, answers in (("this model", predicted), (f"always {always}", [always] * len(truth))):
    print(f"{name}: W-F1 {100 * f1_score(truth, answers, average='weighted', zero_division=0):.1f}")

with TemporaryDirectory() as home:
    recognizer.save_pretrained(Path(home) / "moods")
    again = EmotionRecognizer.from_pretrained(Path(home) / "moods")
    [turn] = again.predict([("Dana", "It has been three weeks, and nobody calls me back.")])
    print(f"after loading: {turn.emotion} ({turn.probability:.2f})")
