"""The method: datasets and splits, encoders, prompt learners, SEPT's margins and loss, the fused trainer.

It can be used alone in a notebook and does not depend on Ray, MLflow or S3.
"""

__version__ = "0.1.0"
