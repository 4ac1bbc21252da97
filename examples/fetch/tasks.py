"""One task that waits for a server. It knows nothing of pools: what waits, waits as the pool has it."""

import os
from urllib.request import urlopen

from worker_kernel import App

app = App("fetch", broker_url=os.environ["FETCH_BROKER"])


@app.task
def fetch(number: int) -> str:
    """Return the page of a number."""
    with urlopen(f"{os.environ['FETCH_SERVER']}/{number}", timeout=60) as answer:
        return str(answer.read().decode())
