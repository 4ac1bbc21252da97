"""``-A`` finds the application, or says in a line or two why not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from worker_kernel import implements, kernel_load_app
from worker_kernel.application import Application
from worker_kernel.apploader import import_modules, is_application, load_app
from worker_kernel.errors import AppNotLoaded
from worker_kernel.plugins.hooks import Hooks
from worker_kernel.plugins.loading import Plugins

WriteModules = Callable[..., Path]
APP = "from worker_kernel import App\n{name} = App('proj', broker_url='memory://')\n"


def refused(name: str, plugins: Plugins) -> str:
    with pytest.raises(AppNotLoaded) as caught:
        load_app(name, plugins)
    assert caught.value.exit_code == 4
    text = str(caught.value)
    assert len(text.splitlines()) <= 5
    return text


@pytest.mark.parametrize("attribute", ["app", "celery", "other"])
def test_the_usual_names_or_the_only_application_are_found(
    attribute: str, write_modules: WriteModules, plugins: Plugins
) -> None:
    write_modules(wk_found=APP.format(name=attribute))
    app = load_app("wk_found", plugins)
    assert is_application(app)
    assert app.origin == f"wk_found:{attribute}"


def test_a_named_attribute_is_taken_also_one_within_an_object(write_modules: WriteModules, plugins: Plugins) -> None:
    write_modules(wk_named=APP.format(name="app") + "class box: inner = App('inner')\n")
    assert load_app("wk_named:app", plugins).name == "proj"
    assert load_app("wk_named:box.inner", plugins).name == "inner"


def test_one_application_under_two_names_is_one(write_modules: WriteModules, plugins: Plugins) -> None:
    write_modules(wk_alias=APP.format(name="one") + "two = one\n")
    assert load_app("wk_alias", plugins).origin == "wk_alias:one"


def test_a_package_may_keep_it_in_its_module_celery(write_modules: WriteModules, plugins: Plugins) -> None:
    write_modules(__init____in__wk_package="", celery__in__wk_package=APP.format(name="app"))
    assert load_app("wk_package", plugins).origin == "wk_package.celery:app"


def test_a_missing_module_is_answered_with_the_nearest_file(write_modules: WriteModules, plugins: Plugins) -> None:
    write_modules(wk_tasks="")
    assert refused("wk_task", plugins) == "-A wk_task: there is no module 'wk_task'\ndid you mean 'wk_tasks'?"
    assert "there are: wk_tasks" in refused("proj.celery", plugins)


def test_in_an_empty_directory_that_is_said(write_modules: WriteModules, plugins: Plugins) -> None:
    here = write_modules()
    assert f"there are no Python files in {here}" in refused("wk_tasks", plugins)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("1 / 0\n", "ZeroDivisionError: division by zero (wk_raises.py:1)"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3 (wk_raises.py:2)"),
        ("raise BaseException('odd')\n", "BaseException: odd (wk_raises.py:1)"),
        ("import wk_never_there\n", "ModuleNotFoundError: No module named 'wk_never_there' (wk_raises.py:1)"),
        ("def f(:\n", "SyntaxError: invalid syntax (wk_raises.py:1)"),
        (
            "from worker_kernel import App\n@App('x').task(time_limit=-3)\ndef f(): pass\n",
            "ValueError: time_limit must be a number of seconds above 0, not -3 (wk_raises.py:2)",
        ),
        (
            "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd\n",
            "Odd: its text cannot be had (wk_raises.py:3)",
        ),
    ],
)
def test_what_raises_at_import_is_told_in_a_line_with_its_place_and_chained(
    source: str, told: str, write_modules: WriteModules, plugins: Plugins
) -> None:
    write_modules(wk_raises=source)
    with pytest.raises(AppNotLoaded) as caught:
        load_app("wk_raises", plugins)
    assert str(caught.value).splitlines()[0] == f"-A wk_raises: importing 'wk_raises' raised {told}"
    assert caught.value.__cause__ is not None


def test_a_keyboard_interrupt_is_not_taken_for_a_fault_of_the_module(
    write_modules: WriteModules, plugins: Plugins
) -> None:
    write_modules(wk_interrupt="raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_app("wk_interrupt", plugins)


def test_no_application_several_and_another_thing_are_told_apart(write_modules: WriteModules, plugins: Plugins) -> None:
    write_modules(
        wk_none="x = 1\n",
        wk_several=APP.format(name="one") + "two = App('two')\n",
        wk_other="app = {}\n",
    )
    assert refused("wk_none", plugins).startswith("-A wk_none: no application in wk_none\n")
    assert refused("wk_several", plugins).endswith("say which: -A wk_several:one or -A wk_several:two")
    assert "this is a builtins.dict, not an application" in refused("wk_other", plugins)
    assert "wk_several has no 'three'\nit has one, two" in refused("wk_several:three", plugins)
    assert "it has no application at all" in refused("wk_none:app", plugins)


def test_an_application_of_celery_is_answered_with_how_to_make_it_one_of_ours(
    write_modules: WriteModules, plugins: Plugins
) -> None:
    write_modules(wk_celery="from celery import Celery\napp = Celery('proj')\n")
    assert "from worker_kernel import App instead of from celery import Celery" in refused("wk_celery", plugins)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("wk_tasks.py", "wk_tasks"), ("./proj/wk_tasks.py", "proj.wk_tasks"), ("a b", "module")],
)
def test_a_path_or_nonsense_is_answered_with_the_way_to_write_it(
    name: str, remedy: str, plugins: Plugins, write_modules: WriteModules
) -> None:
    write_modules()
    assert f"write it as {remedy}" in refused(name, plugins)


class Loads:
    """A plugin that brings applications of another kind."""

    @staticmethod
    @implements(kernel_load_app)
    def load(name: str) -> Application | None:
        if name == "wk:bad":
            raise ValueError("not like this")
        return SimpleNamespace(name=name) if name.startswith("wk:") else None


def test_plugins_are_asked_first_and_their_errors_are_the_applications(write_modules: WriteModules) -> None:
    write_modules(wk_mine=APP.format(name="app"))
    hooks = Hooks()
    hooks.manager.register(Loads())
    plugins = Plugins(hooks=hooks)
    assert load_app("wk:other", plugins).name == "wk:other"
    assert load_app("wk_mine", plugins).name == "proj"
    assert "a plugin that loads applications raised ValueError: not like this" in refused("wk:bad", plugins)


def test_further_modules_are_imported_and_a_missing_one_says_who_asked(write_modules: WriteModules) -> None:
    write_modules(wk_more="")
    import_modules(("wk_more",), "worker_include (-I)")
    assert "wk_more" in sys.modules
    with pytest.raises(AppNotLoaded, match=r"worker_include \(-I\): there is no module 'wk_moer'"):
        import_modules(("wk_moer",), "worker_include (-I)")
