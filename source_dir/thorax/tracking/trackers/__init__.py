"""Trackers: Weights & Biases, TensorBoard and MLflow behind one small interface, in a process of their own.

A tracker that lacks its key, its network or its package, that crashes or hangs, costs the run one line of warning.
"""
