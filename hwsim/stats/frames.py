"""Results as data frames, for those who have pandas."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from hwsim.errors import InputError


def data_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A ``pandas.DataFrame`` of the rows. InputError where pandas is not installed."""
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise InputError("to_pandas: needs pandas; run `pip install hwsim[pandas]`") from error
    return pandas.DataFrame.from_records(list(rows))
