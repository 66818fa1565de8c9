"""The health of a training run: losses, gradients and weights of saved steps, judged by rules while it trains.

Our own recorder saves norms, a file per process; SageMaker Debugger's library (smdebug) also saves tensors where the
job has its configuration.
"""
