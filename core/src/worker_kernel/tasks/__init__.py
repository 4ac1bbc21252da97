"""Applications and their tasks: what users write, what goes over the wire, and what becomes of it.

Messages are Celery's protocol, version 2 (`message`, `envelope`, `body`); results have Celery's layout (`meta`,
`results`). The worker meets all this only through the `Application` protocol, which `app.App` satisfies.
"""
