"""The Ray Serve application that a bundle names in config.yaml, `deployment:app`; see thorax.serving.ray_app."""

from thorax.serving.ray_app import application

app = application()
__all__ = ["app", "application"]
