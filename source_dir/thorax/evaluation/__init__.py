"""How good a classifier is and how certain its scores are: metrics, intervals, thresholds and the report.

Everything here takes numpy arrays: targets (N, L) in {0, 1, NaN = unknown} and probabilities (N, L) in [0, 1].
"""
