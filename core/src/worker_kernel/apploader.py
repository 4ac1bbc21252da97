"""Finds the application that ``-A`` names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from .application import Application
from .errors import AppNotLoaded
from .hookspecs import kernel_load_app
from .suggestions import nearest

if TYPE_CHECKING:
    from .plugins.loading import Plugins

USUAL_NAMES = ("app", "celery")
"""Attributes that are looked at first."""
_NEEDED = ("declared_settings", "configure", "tasks", "broker", "connection", "queues", "parse", "job", "report")


def load_app(name: str, plugins: Plugins) -> Application:
    """Return the application that ``name``, ``module`` or ``module:attr``, means.

    Plugins are asked first (`kernel_load_app`). Then the module is imported, with the current directory first on
    ``sys.path``, and in it the attribute is taken, or the one called ``app`` or ``celery``, or the only application
    that there is; a package may have it in its module ``celery``. An application without an origin gets
    ``module:attr`` as its origin.

    Raises:
        AppNotLoaded: nothing of that name is found, or importing it raises; the cause is chained.
    """
    _look_here()
    try:
        adapted = plugins.hooks.first(kernel_load_app, name=name)
    except Exception as exc:
        raise AppNotLoaded(f"-A {name}: a plugin that loads applications raised {_told(exc)}") from exc
    if adapted is not None:
        return adapted
    module_name, _, attribute = name.partition(":")
    module = _import(module_name, f"-A {name}")
    if attribute:
        app = _attribute(module, attribute, name)
    else:
        module, attribute, app = _search(module, name)
    if app.origin is None and module.__name__ != "__main__":
        app.origin = f"{module.__name__}:{attribute}"
    return app


def import_modules(names: tuple[str, ...], given: str) -> None:
    """Import further modules for the tasks in them.

    Raises:
        AppNotLoaded: one of them cannot be imported; ``given`` says who asked for it.
    """
    _look_here()
    for name in names:
        _import(name, given)


def is_application(thing: object) -> bool:
    """Whether ``thing`` has what the `Application` protocol asks for. Classes and modules do not count."""
    if isinstance(thing, (type, ModuleType)):
        return False
    return all(callable(getattr(thing, method, None)) for method in _NEEDED)


def _look_here() -> None:
    """Let imports find the modules of the current directory first, as ``python -m`` does."""
    try:
        here = str(Path.cwd())
    except OSError as exc:
        raise AppNotLoaded(f"the working directory is gone: {exc}\nchange to the directory of the application") from exc
    if here not in sys.path:
        sys.path.insert(0, here)


def _import(module_name: str, asked: str) -> ModuleType:
    if module_name.endswith(".py") or "/" in module_name or "\\" in module_name:
        dotted = module_name.removesuffix(".py").strip("./\\").replace("/", ".").replace("\\", ".")
        raise AppNotLoaded(f"{asked}: {module_name!r} is a path, not a module\nwrite it as {dotted}")
    if not module_name or not all(part.isidentifier() for part in module_name.split(".")):
        raise AppNotLoaded(f"{asked}: {module_name!r} is no name of a module\nwrite it as module, or -A module:app")
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (module_name == exc.name or module_name.startswith(f"{exc.name}.")):
            raise AppNotLoaded(f"{asked}: there is no module {exc.name!r}\n{_hint(exc.name)}") from exc
        raise _raised(asked, module_name, exc) from exc
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        raise _raised(asked, module_name, exc) from exc


def _raised(asked: str, module_name: str, exc: BaseException) -> AppNotLoaded:
    return AppNotLoaded(
        f"{asked}: importing {module_name!r} raised {_told(exc)}{_place(exc)}\n"
        "mend it, or see the whole traceback with --traceback"
    )


def _told(exc: BaseException) -> str:
    try:
        text = " ".join(str(exc.msg if isinstance(exc, SyntaxError) else exc).split())
    except Exception:  # noqa: BLE001  (an exception of the application whose text raises as well)
        text = "its text cannot be had"
    return f"{type(exc).__name__}: {text[:200]}" if text else type(exc).__name__


def _place(exc: BaseException) -> str:
    """Return where ``exc`` was raised, of the frames outside the import system and the kernel: where to mend it."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return f" ({Path(exc.filename).name}:{exc.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(exc.__traceback__)
        if not frame.filename.startswith("<frozen") and Path(__file__).parent not in Path(frame.filename).parents
    ]
    frames = [frame for frame in frames if Path(frame.filename).parent.name != "importlib"]
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""


def _hint(module_name: str) -> str:
    """Return what could have been meant: modules and packages of the current directory."""
    here = Path.cwd()
    there = sorted(
        {path.stem for path in here.glob("*.py")} | {path.parent.name for path in here.glob("*/__init__.py")}
    )
    there = [name for name in there if name.isidentifier()]
    near = nearest(module_name, there)
    if near:
        return f"did you mean {near!r}?"
    if there:
        return f"in {here} there are: {', '.join(there[:6])}{', ...' if len(there) > 6 else ''}"
    return f"there are no Python files in {here}: go where the application is"


def _attribute(module: ModuleType, path: str, name: str) -> Application:
    thing: object = module
    for part in path.split("."):
        try:
            thing = getattr(thing, part)
        except AttributeError:
            known = [attribute for attribute, _ in _applications(module)]
            near = f"it has {', '.join(known)}" if known else "it has no application at all: app = App(...) makes one"
            raise AppNotLoaded(f"-A {name}: {module.__name__} has no {path!r}\n{near}") from None
    return _checked(thing, name)


def _search(module: ModuleType, name: str) -> tuple[ModuleType, str, Application]:
    for attribute in USUAL_NAMES:
        thing = getattr(module, attribute, None)
        if is_application(thing):
            return module, attribute, cast("Application", thing)
    found = list(_applications(module))
    if len({id(thing) for _, thing in found}) == 1:
        return module, found[0][0], found[0][1]
    if found:
        choices = " or ".join(f"-A {module.__name__}:{attribute}" for attribute, _ in found[:4])
        raise AppNotLoaded(f"-A {name}: {module.__name__} has {len(found)} applications\nsay which: {choices}")
    inner = f"{module.__name__}.celery"
    if hasattr(module, "__path__") and importlib.util.find_spec(inner) is not None:
        return _search(_import(inner, f"-A {name}"), name)
    for attribute in USUAL_NAMES:
        if hasattr(module, attribute) and not isinstance(getattr(module, attribute), ModuleType):
            _checked(getattr(module, attribute), name)  # says what it is instead
    raise AppNotLoaded(
        f"-A {name}: no application in {module.__name__}\n"
        "make one there: from worker_kernel import App; app = App('name'), or say where it is with -A module:attr"
    )


def _checked(thing: object, name: str) -> Application:
    if is_application(thing):
        return cast("Application", thing)
    kind = type(thing)
    foreign = kind.__module__.partition(".")[0] == "celery"
    remedy = (
        "make it one: from worker_kernel import App instead of from celery import Celery"
        if foreign
        else "an application is made with App(...) from worker_kernel"
    )
    raise AppNotLoaded(f"-A {name}: this is a {kind.__module__}.{kind.__qualname__}, not an application\n{remedy}")


def _applications(module: ModuleType) -> Iterator[tuple[str, Application]]:
    """Yield the applications in ``module`` in the order in which it names them."""
    for attribute, thing in vars(module).items():
        if not attribute.startswith("__") and is_application(thing):
            yield attribute, cast("Application", thing)
