"""How good is a judge? Measure it against labels that it did not see.

python -m judges.calibrate judge=verifiable calibration.casino=path/to/casino
"""

from pkgutil import resolve_name

if __name__ == "__main__":
    # By name, because what reads options and plays episodes lies in a layer above the judges.
    resolve_name("training.cli:run")(
        "training.calibration:calibrate_judge",
        resolve_name("training.labelled:check_before_calibration"),
        "training.launch.forecast:calibration_plans_of",
    )
