"""Emotions over HTTP, and on a page, from an `EmotionRecognizer`; needs the extra `serve`."""
