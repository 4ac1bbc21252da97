"""What the reconnect matrices of all brokers share."""

SOON = 10.0
"""Seconds within which a task that was sent after healing has to be done, on a machine that is not overloaded."""
LOAD = 3.0
"""What is allowed for one that is."""
TASKS = """
    @app.task
    def add(x, y): return x + y
    @app.task
    def sleep(seconds):
        mark("begun")
        time.sleep(seconds)
        mark("done")
        return seconds
    @app.task
    def open_things():
        return [len(os.listdir("/proc/self/fd")), threading.active_count()]
"""
