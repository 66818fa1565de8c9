"""Synthetic images for the demo, the tests and trial runs."""
