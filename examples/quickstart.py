"""A small app, to be served by a worker on any broker and called by Celery's clients or ours. In the checkout:

    kernel worker -A examples.quickstart -P threads -c 4 -b redis://127.0.0.1:6379/0
    kernel worker -A examples.quickstart -P threads -c 4 -b amqp://guest:guest@127.0.0.1:5672// --result-backend rpc://

An unmodified Celery client, with the same broker and result backend:

    client = celery.Celery(broker="redis://127.0.0.1:6379/0", backend="redis://127.0.0.1:6379/0")
    client.send_task("examples.quickstart.add", (2, 3)).get(timeout=10)
"""

import time
from typing import Any

from worker_kernel import App

app = App("quickstart")


@app.task
def add(x: float, y: float) -> float:
    """Return the sum."""
    return x + y


@app.task
def nap(seconds: float) -> float:
    """Sleep, and say for how long."""
    time.sleep(seconds)
    return seconds


@app.task(bind=True, max_retries=3)
def unreliable(self: Any) -> str:
    """Fail twice, and succeed then."""
    if self.request.retries < 2:
        raise self.retry(countdown=0.1, exc=ConnectionError("not yet"))
    return f"worked after {self.request.retries} retries"


@app.task
def divide(x: float, y: float) -> float:
    """Return the quotient; what is divided by 0 fails."""
    return x / y
