"""The control socket: private, one line in and one line out, and nothing that is sent to it hurts the worker."""

from __future__ import annotations

import errno
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from worker_kernel import ControlError
from worker_kernel.control import place, protocol
from worker_kernel.control.client import ask
from worker_kernel.control.server import ControlServer

Make = Callable[..., ControlServer]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[ControlServer] = []

    def make(answer: Callable[[str, Mapping[str, Any]], object], name: str = "w.sock") -> ControlServer:
        server = ControlServer(tmp_path / name, "kernel@test", answer)
        server.start()
        made.append(server)
        return server

    yield make
    for server in made:
        server.stop()


def raw(server: ControlServer, *lines: bytes) -> list[dict[str, Any]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(str(server.path))
        client.sendall(b"".join(lines))
        client.shutdown(socket.SHUT_WR)
        return [json.loads(line) for line in client.makefile("rb")]


def test_a_request_is_answered_with_what_the_command_returns(make: Make) -> None:
    server = make(lambda name, arguments: {"name": name, **arguments})
    reply = ask(str(server.path), "grow", {"n": 2})
    assert reply == {"schema": 1, "node": "kernel@test", "ok": {"name": "grow", "n": 2}}
    assert server.path.stat().st_mode & 0o777 == 0o600


def test_several_requests_of_one_client_are_answered_in_turn(make: Make) -> None:
    server = make(lambda name, arguments: name)
    replies = raw(server, protocol.encode(command="a"), protocol.encode(command="b"))
    assert [reply["ok"] for reply in replies] == ["a", "b"]


def test_a_slow_command_keeps_no_other_client_waiting(make: Make) -> None:
    asked, go = threading.Event(), threading.Event()

    def answer(name: str, arguments: Mapping[str, Any]) -> str:
        if name == "slow":
            asked.set()
            assert go.wait(30)
        return name

    server = make(answer)
    slow = threading.Thread(target=ask, args=(str(server.path), "slow", {}))
    slow.start()
    try:
        assert asked.wait(30)
        assert ask(str(server.path), "ping", {})["ok"] == "ping"
    finally:
        go.set()
        slow.join()


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"nonsense\n", b"[]\n", b'{"schema": 2}\n', b'{"schema": 1}\n', b'{"schema": 1, "command": 3}\n',
        b'{"schema": 1, "command": "x", "arguments": []}\n', b"\xff\xfe\n", b"[" * 50_000 + b"\n",
        b'{"schema": 1, "command": "' + b"x" * protocol.LONGEST_REQUEST, b"x" * 4 * protocol.LONGEST_REQUEST,
    ],
)  # fmt: skip
def test_what_is_no_request_is_answered_with_an_error(make: Make, line: bytes) -> None:
    server = make(lambda name, arguments: name)
    reply = raw(server, line)[0]
    assert reply["error"]["kind"] == "bad request"
    assert "Traceback" not in reply["error"]["message"]
    assert ask(str(server.path), "still there", {})["ok"] == "still there"


def test_errors_reach_the_client_as_errors(make: Make) -> None:
    def answer(name: str, arguments: Mapping[str, Any]) -> object:
        raise ControlError("refused", "no") if name == "no" else RuntimeError("a fault")

    server = make(answer)
    for name, kind, text in (("no", "refused", "no"), ("x", "failed", "RuntimeError: a fault")):
        with pytest.raises(ControlError, match=text) as caught:
            ask(str(server.path), name, {})
        assert caught.value.kind == kind


def test_a_place_that_a_dead_worker_has_left_is_taken_and_a_living_ones_is_not(make: Make, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(tmp_path / "w.sock"))
    server = make(lambda name, arguments: "first")
    with pytest.raises(OSError, match="in use") as caught:
        make(lambda name, arguments: "second")
    assert caught.value.errno == errno.EADDRINUSE
    assert ask(str(server.path), "who", {})["ok"] == "first"


def test_stopping_removes_the_socket_and_leaves_idle_clients(make: Make) -> None:
    server = make(lambda name, arguments: name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(str(server.path))
        client.sendall(protocol.encode(command="ping"))
        assert client.recv(1000).endswith(b"\n")
        server.stop()
        assert client.recv(1) == b""
    assert not server.path.exists()
    with pytest.raises(ControlError, match="no worker answers") as caught:
        ask(str(server.path), "ping", {})
    assert caught.value.kind == "unreachable"


def test_what_answers_nonsense_is_no_worker(tmp_path: Path) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1000)
                client.sendall(b"220 mail.example.org\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ControlError, match="is no worker"):
            ask(str(path), "ping", {})
        thread.join()


def test_the_folder_is_made_for_its_owner_only_and_no_other_is_used(tmp_path: Path) -> None:
    place.make_private(tmp_path / "own")
    place.make_private(tmp_path / "own")
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    for bad in ("open", "link"):
        with pytest.raises(PermissionError):
            place.make_private(tmp_path / bad)


def test_the_folder_is_in_the_users_runtime_directory_where_there_is_one(tmp_path: Path, short_path: Path) -> None:
    too_long = tmp_path / ("x" * 60)
    too_long.mkdir()
    assert place.folder({"XDG_RUNTIME_DIR": str(short_path)}) == short_path / "worker-kernel"
    assert place.folder({"XDG_RUNTIME_DIR": str(too_long)}) == place.folder({})
    assert place.folder({"XDG_RUNTIME_DIR": str(tmp_path / "absent")}) == place.folder({})


def test_each_worker_has_a_path_that_fits() -> None:
    where = Path("/run/user/1000/worker-kernel")
    assert place.path_for("kernel@host", 7, where) == where / "kernel@host-7.sock"
    assert "/" not in place.path_for("a/../b@host", 7, where).name
    long = {place.path_for("n" * 200 + str(n), 7, where) for n in range(2)}
    assert len(long) == 2
    assert all(len(str(path)) <= place.LONGEST for path in long)
