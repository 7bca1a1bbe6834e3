"""The method: datasets and splits, encoders, prompt learners, SEPT's margins and loss, the fused trainer.

Usable alone in a notebook; knows nothing of Ray, MLflow or S3.
"""

__version__ = "0.1.0"
