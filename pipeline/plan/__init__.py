"""What a sweep will run, before anything does: what is done, what is missing, and how long the rest takes.

from pipeline.plan.planning import plan_sweep

plan = plan_sweep(load_sweep("quickstart"), "sept-runs")
print(plan.totals.wall_hours, [study.estimate for study in plan.studies])

Planning takes torch; what a plan said, and how good it was, is read here without it.
"""

from pipeline.plan.first_estimate import estimate_accuracy
from pipeline.plan.models import Accuracy, Estimate, Missing, PlannedStudy, StudyAccuracy, SweepPlan, Totals

__all__ = [
    "Accuracy",
    "Estimate",
    "Missing",
    "PlannedStudy",
    "StudyAccuracy",
    "SweepPlan",
    "Totals",
    "estimate_accuracy",
]
