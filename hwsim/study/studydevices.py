"""The page of a study that compares devices."""

from __future__ import annotations

from typing import Any

from hwsim.study.plotting import Drawn
from hwsim.study.studyresults import Results


def devices_page(results: Results) -> tuple[dict[str, Any], list[Drawn]]:
    del results
    return {"answers": [], "certainty": "", "tables": []}, []
