"""What trained models are worth: significance, robustness, error analysis, clustering. Pure functions."""
