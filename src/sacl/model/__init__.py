"""The batch that every model reads, and the models."""
