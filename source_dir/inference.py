"""SageMaker's four functions for the TorchServe image; see thorax.serving.sagemaker_functions."""

from thorax.serving.sagemaker_functions import input_fn, model_fn, output_fn, predict_fn

__all__ = ["input_fn", "model_fn", "output_fn", "predict_fn"]
