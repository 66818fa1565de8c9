"""Thorax: chest X-ray classifiers with PyTorch, on Amazon SageMaker and on a laptop."""

__version__ = "0.2.0"
