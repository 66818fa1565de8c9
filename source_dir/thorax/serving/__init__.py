"""Serving: a bundle, the classifier that is loaded from it, and the app that answers requests with it (see pipeline)."""
