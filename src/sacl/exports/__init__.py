"""Chats as other programs export them: WhatsApp, Slack, captions. Each reader gives conversations.

An export is read as a whole: it is one conversation, which the model reads as one.
"""

from sacl.exports.silences import divided

__all__ = ["divided"]
