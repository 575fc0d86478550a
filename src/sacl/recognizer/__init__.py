"""Emotions of conversations, from a trained model: what the command, the server and the page call."""

from sacl.recognizer.influence import Influence
from sacl.recognizer.recognition import UNCERTAIN, Recognition
from sacl.recognizer.recognizer import EmotionRecognizer
from sacl.recognizer.sources import find_model
from sacl.recognizer.stream import Stream

__all__ = ["UNCERTAIN", "EmotionRecognizer", "Influence", "Recognition", "Stream", "find_model"]
