"""The plan of a sweep before it runs: what is done, what is missing, and how long the rest takes.

from pipeline.plan.planning import plan_sweep

plan = plan_sweep(load_sweep("quickstart"), "sept-runs")
print(plan.totals.wall_hours, [study.estimate for study in plan.studies])

Planning imports torch; the types of a plan, which are what this module exports, do not.
"""

from pipeline.plan.models import Estimate, Missing, PlannedStudy, SweepPlan, Totals

__all__ = ["Estimate", "Missing", "PlannedStudy", "SweepPlan", "Totals"]
