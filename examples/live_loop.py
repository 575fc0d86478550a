"""A conversation named turn by turn, while it goes on: type `Speaker: text`, or pipe a chat into it.

python live_loop.py < chat.txt
"""

import sys

from sacl import EmotionRecognizer

SURE = 0.5
WATCHED = {"anger", "fear", "sadness"}

live = EmotionRecognizer.from_pretrained(causal=True).stream(threshold=SURE)
print("Speaker: text, a turn a line; Ctrl-D ends it", flush=True)
in_a_row = 0
for line in sys.stdin:
    speaker, colon, text = line.strip().partition(":")
    if not colon:
        continue  # a blank line, or one that names no speaker
    turn = live.add(speaker, text.strip())
    print(f"    {turn.emotion:9} {turn.probability:.2f}  {turn.speaker}: {turn.text}", flush=True)
    in_a_row = in_a_row + 1 if turn.likeliest in WATCHED else 0
    if in_a_row == 2:
        print("    --- two such turns in a row: somebody should read this", flush=True)
print(f"{live.turns} turns of {live.speakers} speakers")
