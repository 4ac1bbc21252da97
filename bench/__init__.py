"""Our worker beside others on one machine, in one run: ``python -m bench run``, ``make bench``."""
