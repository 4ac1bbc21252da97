"""The settings of the kernel itself, under Celery's names where Celery has one, with Celery's units.

Those that Celery has and this worker cannot honour yet, or will not, stand in `unhonoured`.
"""

from __future__ import annotations

from .app_settings import BROKER_AND_RESULTS, TASKS
from .settings import Setting
from .unhonoured import UNHONOURED
from .worker_settings import POOL, WORKER

CORE_SETTINGS: tuple[Setting, ...] = (*BROKER_AND_RESULTS, *TASKS, *POOL, *WORKER, *UNHONOURED)
"""All settings that the kernel declares, by subject."""
