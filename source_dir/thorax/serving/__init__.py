"""Serving: a bundle, the classifier loaded from it, and the app that answers requests with it (see pipeline)."""
