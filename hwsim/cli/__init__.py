"""The command line. Exit codes: 0 done, 1 work failed, 2 the user's mistake, 130 interrupted.

A file of this folder is a group of commands; importing it hangs them on the root.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from hwsim.cli import ablate, compare, device, export, robust, run, runs, shelves, sweep, train
from hwsim.cli.app import app
from hwsim.errors import InputError, WorkError

__all__ = ["ablate", "app", "compare", "device", "export", "main", "robust", "run", "runs", "shelves", "sweep", "train"]

INTERRUPTED = 130
"""What typer, like shells, exits with after Ctrl-C."""


def main() -> None:
    """Entry point: errors become a sentence and an exit code."""
    try:
        app()
    except InputError as error:
        _fail(str(error), 2)
    except WorkError as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}; what was finished is kept", 1)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            last = traceback.extract_tb(stop.__traceback__)[-1]
            if {"click", "typer"} & set(Path(last.filename).parts):
                raise
            _fail(f"{last.filename}:{last.lineno}: ended the program, which a cell, module or measurement may not", 1)
        _fail("interrupted; what was finished is kept, the same command goes on from there", INTERRUPTED)


def _fail(message: str, code: int) -> None:
    print(f"hwsim: {message}", file=sys.stderr)
    sys.exit(code)
