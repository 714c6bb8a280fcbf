"""Executors: from what a hand does to what a robot does."""
