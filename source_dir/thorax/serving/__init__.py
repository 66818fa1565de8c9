"""Serving: the bundle and the classifier that is loaded from it."""
