"""What the Python programs share: where to connect, and lines of JSON for compatibility/steps.ts."""

import json
import os
from urllib.parse import urlsplit

URI = os.environ["COMPAT_URI"]
PLACE = urlsplit(URI)
EMAIL = "customer.7@example.com"


def step(name):
    """A decorator that runs its function at once, and prints what it returned, or the error."""

    def run(act):
        try:
            line = {"step": name, "value": act()}
        except Exception as error:  # whatever it is, it is the step's outcome
            line = {"step": name, "error": f"{sqlstate_of(error) or ''} {error}".strip()[:300]}
        print(json.dumps(line, default=str), flush=True)

    return run


def failing(act):
    """Runs what is expected to fail; returns the SQLSTATE."""
    try:
        act()
    except Exception as error:
        code = sqlstate_of(error)
        if code is None:
            raise
        return code
    raise AssertionError("no error came")


def sqlstate_of(error):
    while error is not None:
        code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if code is None and error.args and isinstance(error.args[0], dict):
            code = error.args[0].get("C")
        if code is not None:
            return code
        error = getattr(error, "orig", None) or error.__cause__
    return None
