"""Recipes, runs and studies."""
