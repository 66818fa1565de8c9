"""The debugger: saves losses, gradients and weights while a run trains, and judges them by rules.

SageMaker Debugger's library (smdebug) saves the tensors where a job has its configuration; our own recorder always
saves their norms, a file per process.
"""
