"""Nothing, a peak, nothing: what a worker with --autoscale makes of it on each pool, as a plot.

python bench/autoscale.py                           # every installed pool that can resize, to autoscale.svg
python bench/autoscale.py --pool threads --maximum 16 --peak 60 --out threads.svg --json threads.json

Each pool is left alone for a moment, given `--peak` tasks a second for a while, and left alone again. A task waits for
a quarter of a second. Shown are slots, running tasks, and messages that wait.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import click

from worker_kernel import App
from worker_kernel.control.client import ask
from worker_kernel.plugins.loading import Plugins

TASK_SECONDS = 0.25
EVERY = 0.1  # seconds between two looks
LULL = 2.0  # seconds before the load
PATIENCE = 120.0  # seconds

TASKS = f"""
import time
from worker_kernel import App
app = App("tasks")

@app.task
def work():
    time.sleep({TASK_SECONDS})
"""


@attrs.frozen(kw_only=True)
class Sample:
    at: float
    slots: int
    running: int
    waiting: int


@attrs.frozen(kw_only=True)
class Trace:
    """One pool's."""

    pool: str
    samples: tuple[Sample, ...]
    sent: int
    done: int
    peak_at: float
    end_at: float
    maximum: int
    minimum: int

    @property
    def to_maximum(self) -> float | None:
        """Seconds from the peak's begin until there were as many slots as there may be."""
        times = [sample.at for sample in self.samples if sample.slots == self.maximum]
        return max(0.0, round(times[0] - self.peak_at, 2)) if times else None

    @property
    def to_minimum(self) -> float | None:
        """Seconds from the end of the load until there were as few as there may be."""
        times = [one.at for one in self.samples if one.at >= self.end_at and one.slots == self.minimum]
        return round(times[0] - self.end_at, 2) if times else None

    @property
    def turns(self) -> int:
        """How often the direction has changed."""
        sizes = [sample.slots for sample in self.samples]
        directions = [later > earlier for earlier, later in pairwise(sizes) if later != earlier]
        return sum(a != b for a, b in pairwise(directions))

    def figures(self) -> dict[str, Any]:
        return {
            "pool": self.pool,
            "to_maximum": self.to_maximum,
            "to_minimum": self.to_minimum,
            "turns": self.turns,
            "sent": self.sent,
            "done": self.done,
        }


class Scene:
    """A worker on a broker file of its own, and somebody who sends to it."""

    def __init__(self, folder: Path, pool: str, *, maximum: int, minimum: int, keepalive: float) -> None:
        self.folder, self.pool, self.maximum, self.minimum = folder, pool, maximum, minimum
        (folder / "tasks.py").write_text(TASKS)
        url = f"sqlite:///{folder}/broker.sqlite3"
        self.app = App("sender", broker_url=url)
        self.sent = 0
        self.log = (folder / "worker.log").open("w")
        command = [sys.executable, "-m", "worker_kernel", "worker", "-A", "tasks", "-b", url, "-P", pool]
        command += ["--autoscale", f"{maximum},{minimum}", "--state-file", "state.json", "-l", "INFO"]
        environment = {"KERNEL_WORKER_AUTOSCALE_KEEPALIVE": str(keepalive), "XDG_RUNTIME_DIR": str(folder)}
        self.process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=self.log, stderr=subprocess.STDOUT
        )

    def stats(self) -> dict[str, Any]:
        state = json.loads((self.folder / "state.json").read_text())
        return dict(ask(state["control_socket"], "stats", {}, timeout=30)["ok"]["steps"])

    def wait_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while " ready" not in (self.folder / "worker.log").read_text() or not self._has_socket():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(
                    f"the worker on {self.pool} did not come up:\n{(self.folder / 'worker.log').read_text()}"
                )
            time.sleep(0.05)

    def _has_socket(self) -> bool:
        path = self.folder / "state.json"
        return path.exists() and bool(json.loads(path.read_text()).get("control_socket"))

    def send(self, rate: float, seconds: float) -> None:
        """Send so many a second, at even intervals."""
        end, due = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end:
            self.app.send_task("tasks.work", ignore_result=True)
            self.sent += 1
            due += 1 / rate
            time.sleep(max(0.0, due - time.monotonic()))

    def look(self, began: float) -> tuple[Sample, int]:
        steps = self.stats()
        consumer = steps["consumer"]
        with self.app.connection() as connection, connection.channel() as channel:
            ready = int(channel.queue_declare("celery", passive=True).message_count)
        done = int(consumer["settled"].get("acknowledged", 0))
        size = int(steps["autoscaler"]["current"])
        waiting = ready + int(consumer["waiting"])
        return Sample(at=time.monotonic() - began, slots=size, running=int(consumer["running"]), waiting=waiting), done

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        self.log.close()
        self.app.close()


def trace(pool: str, *, maximum: int, minimum: int, keepalive: float, peak: float, seconds: float) -> Trace:
    """Put one pool through the load."""
    with tempfile.TemporaryDirectory(prefix="wk") as folder:
        scene = Scene(Path(folder), pool, maximum=maximum, minimum=minimum, keepalive=keepalive)
        try:
            scene.wait_ready()
            began, samples, done = time.monotonic(), [], 0
            times: dict[str, float] = {}

            def load() -> None:
                time.sleep(LULL)
                times["peak"] = time.monotonic() - began
                scene.send(peak, seconds)
                times["end"] = time.monotonic() - began

            sender = threading.Thread(target=load)
            sender.start()
            while time.monotonic() - began < PATIENCE:
                sample, done = scene.look(began)
                samples.append(sample)
                small = sample.slots == minimum and not sample.running and not sample.waiting
                if not sender.is_alive() and small and done >= scene.sent:
                    break
                time.sleep(EVERY)
            sender.join()
        finally:
            scene.close()
    return Trace(
        pool=pool,
        samples=tuple(samples),
        sent=scene.sent,
        done=done,
        peak_at=times["peak"],
        end_at=times["end"],
        maximum=maximum,
        minimum=minimum,
    )


WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 170, 60, 34, 46
COLOURS = {"slots": "#1f5fa8", "running": "#2e8b57", "waiting": "#c2571a"}


def plot(traces: list[Trace]) -> str:
    """Draw one panel for each pool: slots and running tasks on the left scale, what waits on a scale of its own."""
    total = TOP + len(traces) * (HEIGHT + GAP)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 70} {total}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="white"/>'
    )
    parts = [head]
    for place, (name, colour) in enumerate(COLOURS.items()):
        words = {"slots": "slots", "running": "running tasks", "waiting": "messages that wait (right scale)"}[name]
        parts.append(f'<text x="{LEFT + place * 150}" y="18" fill="{colour}">{words}</text>')
    for index, one in enumerate(traces):
        parts += panel(one, TOP + index * (HEIGHT + GAP))
    return "\n".join([*parts, "</svg>\n"])


def panel(one: Trace, top: float) -> list[str]:
    bottom = top + HEIGHT
    last = max(sample.at for sample in one.samples) or 1.0
    most = max(one.maximum, *(sample.running for sample in one.samples)) * 1.1
    deepest = max(1, *(sample.waiting for sample in one.samples)) * 1.1

    def x(at: float) -> float:
        return LEFT + WIDTH * at / last

    title = (
        f"{one.pool}: maximum {one.to_maximum} s after the peak began, minimum {one.to_minimum} s after its end, "
        f"{one.turns} turn(s), {one.done} of {one.sent} done"
    )
    parts = [
        f'<text x="{LEFT}" y="{top + 14}" font-weight="bold">{title}</text>',
        f'<path d="M{LEFT} {top + 20}V{bottom}H{LEFT + WIDTH}V{top + 20}" fill="none" stroke="#888"/>',
    ]
    for share in (0.5, 1.0):
        y = bottom - (HEIGHT - 20) * share
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{most * share:.0f}</text>')
        parts.append(f'<text x="{LEFT + WIDTH + 8}" y="{y + 4:.1f}" fill="#c2571a">{deepest * share:.0f}</text>')
    for at, words in ((0.0, "0 s"), (one.peak_at, "peak"), (one.end_at, "end"), (last, f"{last:.0f} s")):
        parts.append(f'<text x="{x(at):.1f}" y="{bottom + 15}" text-anchor="middle">{words}</text>')
        parts.append(f'<path d="M{x(at):.1f} {top + 20}V{bottom}" stroke="#ddd"/>')
    for name, scale in (("waiting", deepest), ("running", most), ("slots", most)):
        steps = [(x(sample.at), bottom - (HEIGHT - 20) * getattr(sample, name) / scale) for sample in one.samples]
        path = f"M{steps[0][0]:.1f} {steps[0][1]:.1f}" + "".join(f"H{to:.1f}V{at:.1f}" for to, at in steps[1:])
        parts.append(f'<path d="{path}" fill="none" stroke="{COLOURS[name]}" stroke-width="1.6"/>')
    return parts


@click.command()
@click.option("--pool", "pools", multiple=True, help="Which pool; several times for several. Default: all that can.")
@click.option("--maximum", default=8, show_default=True)
@click.option("--minimum", default=1, show_default=True)
@click.option("--keepalive", default=3.0, show_default=True, help="Seconds before it shrinks.")
@click.option("--peak", default=60.0, show_default=True, help="Tasks a second.")
@click.option("--seconds", default=6.0, show_default=True, help="How long the load lasts.")
@click.option("--out", default="autoscale.svg", show_default=True, help="The plot.")
@click.option("--json", "figures", help="The figures, and all samples.")
def main(
    pools: tuple[str, ...],
    maximum: int,
    minimum: int,
    keepalive: float,
    peak: float,
    seconds: float,
    out: str,
    figures: str | None,
) -> None:
    """Put pools through a load that comes and goes, and draw what their autoscaler did."""
    able = [name for name, spec in Plugins.load().pools.items() if spec.capabilities.resize != "refused"]
    traces = []
    for pool in pools or able:
        one = trace(pool, maximum=maximum, minimum=minimum, keepalive=keepalive, peak=peak, seconds=seconds)
        traces.append(one)
        click.echo(json.dumps(one.figures()))
    Path(out).write_text(plot(traces))
    click.echo(f"written: {out}")
    if figures:
        document = [{**one.figures(), "samples": [attrs.asdict(sample) for sample in one.samples]} for one in traces]
        Path(figures).write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
