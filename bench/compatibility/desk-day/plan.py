import json
import os
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlparse

URI = os.environ["DESK_URI"]
PLACE = urlparse(URI)


def day(read):
    """Two threads have a connection each, as two workers of a server do."""
    plan = json.loads(os.environ["DESK_PLAN"])
    with ThreadPoolExecutor(2) as workers:
        for (person, _, _), ids in zip(plan, workers.map(lambda page: read(*page), plan)):
            print(json.dumps([person, [int(each) for each in ids]]), flush=True)
