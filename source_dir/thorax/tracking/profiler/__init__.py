"""The profiler.

Where a step's time goes, a trace of some steps, samples of the machine, and one page that sums it up.
"""
