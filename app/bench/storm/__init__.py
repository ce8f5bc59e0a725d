"""The kill storm: a whole gateway under blows, its books compared with the upstream's ledger."""

from app.bench.storm.check import Kind
from app.bench.storm.options import StormOptions
from app.bench.storm.report import StormReport
from app.bench.storm.run import run_storm

__all__ = ["Kind", "StormOptions", "StormReport", "run_storm"]
