"""What the Python programs of a day share: two workers take the actions of all people in turn, each person's in their order."""

import json
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from steps import PLACE, URI, failing, sqlstate_of  # noqa: E402, F401

NAMING = os.environ.get("DAY_NAMING", "none")
PLAN = json.loads(os.environ.get("DAY_PLAN", "[]"))
WORKERS = 2


def day(acts, at_end=lambda: None):
    """`acts`: a function for each action, which is given the person and what the plan says."""
    waiting = [[(f"{at + 1}.{i + 1} {act['action']}", one["person"], act) for i, act in enumerate(one["actions"])] for at, one in enumerate(PLAN)]
    busy, turn, changed = set(), [0], threading.Condition()

    def take():
        """The next action of somebody for whom nothing runs, or None at the end."""
        with changed:
            while any(waiting):
                for i in range(len(waiting)):
                    at = (turn[0] + i) % len(waiting)
                    if waiting[at] and at not in busy:
                        turn[0] = at + 1
                        busy.add(at)
                        return at, waiting[at].pop(0)
                changed.wait()
        return None

    def work():
        while (taken := take()) is not None:
            at, (name, person, act) = taken
            try:
                what = {key: value for key, value in act.items() if key != "action"}
                line = {"step": name, "value": acts[act["action"]](person, **what)}
            except Exception as error:  # whatever it is, it is the outcome
                line = {"step": name, "error": f"{sqlstate_of(error) or ''} {error}".strip()[:300]}
            with changed:
                print(json.dumps(line, default=str), flush=True)
                busy.discard(at)
                changed.notify_all()
        at_end()

    workers = [threading.Thread(target=work) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
