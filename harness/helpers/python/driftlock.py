"""Races Python functions against each other, in every order of what they ask of PostgreSQL, from a pytest test.

    import os, psycopg, driftlock

    @driftlock.race(
        setup="CREATE TABLE counter (value int); INSERT INTO counter VALUES (0)",
        invariants={"counted-twice": "SELECT value FROM counter WHERE value <> 2"},
    )
    def test_two_increments_are_two():
        with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
            value = connection.execute("SELECT value FROM counter").fetchone()[0]
            connection.execute("UPDATE counter SET value = %s", [value + 1])

Each actor is a process of its own: it imports the module that the function is in, and calls it once for each order, with
a DATABASE_URL of its own. It speaks with driftlock as a `worker` of an application's file does: a line of JSON each way.
What was written for driftlock, and what it printed, is in `.driftlock/TEST`, until the test runs again.

Needs the program `driftlock` in PATH, or its place in the environment variable DRIFTLOCK.
"""

import asyncio
import functools
import importlib
import importlib.util
import inspect
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import traceback
import zlib

__all__ = ["DriftlockError", "Inconclusive", "Raced", "Violation", "explore", "race"]


class Violation(AssertionError):
    """There is an order in which something that must hold does not. The message shows it."""


class Inconclusive(AssertionError):
    """Driftlock has no answer: something was not put to the test. The message says what. That is never a pass."""


class DriftlockError(RuntimeError):
    """There is no race: driftlock is missing, or PostgreSQL; or the set-up fails, or an actor while it is alone."""


class Raced:
    """What a race came to, where it came to what was expected."""

    def __init__(self, row, printed):
        #: "pass", or "violation" where one was expected.
        self.verdict = row["verdict"]
        #: The names of the checks that are violated.
        self.violated = [check["name"] for check in row["checks"] if check["verdict"] == "violation"]
        #: "exhausted" where every order that matters was visited.
        self.coverage = row["coverage"]
        #: How many orders were run.
        self.executions = row["executions"]
        #: What driftlock printed.
        self.printed = printed


def race(*, count=2, actor="actor", **options):
    """Makes a test of a function: `count` actors of this name call it. The options are those of `explore`.

    The function takes nothing, or the actor's name. What it raises is a violation, unless it does so while it is alone;
    what your code expects (sold out, taken) is a value to return.
    """

    def decorate(function):
        @functools.wraps(function)
        def test():
            __tracebackhide__ = True
            explore({actor: (function, count)}, name=function.__name__, **options)

        # pytest would take the function's arguments for fixtures.
        test.__signature__ = inspect.Signature()
        test.__driftlock_actor__ = function
        return test

    return decorate


def explore(
    actors, *, setup, invariants=None, serial=None, violates=None, faults=None, budget=60, arguments=(), name="race"
):
    """Visits every order of what the actors ask of the database that matters.

    actors: a dict of names to functions, or to pairs of a function and how many do the same.
    setup: SQL (psql runs it), or a function, that makes the state in which everything begins.
    invariants: a dict of names to queries that must return no row at the end.
    serial: whether the outcome must be that of some serial order [where there are no invariants].
    violates: the check that is expected to be violated, so that a test shows a known fault.
    faults: what is let fail at every place, as `--faults` takes it: "all", "40001,lost-after".
    budget: after how many seconds the search is stopped, and has no answer.
    arguments: further arguments of `driftlock explore`.
    """
    __tracebackhide__ = True
    place = _fresh(name)
    (place / "race.toml").write_text(_application(place, actors, setup, invariants, serial, violates), "utf-8")
    command = [_program(), "explore", str(place / "race.toml"), "--output", str(place / "run"), "--color", "never"]
    command += ["--budget", f"{int(budget)}s"] + (["--faults", faults] if faults else []) + list(arguments)
    with open(place / "printed.txt", "w+", encoding="utf-8", errors="replace") as output:
        code = _run(command, output, int(budget) + 300)
        output.seek(0)
        printed = output.read().strip()
    if code == 0:
        return Raced(json.loads((place / "run" / "report.json").read_text("utf-8"))["results"][0], printed)
    error = {1: Violation, 3: Inconclusive}.get(code, DriftlockError)
    raise error(f"driftlock explore ended with {code}\n\n{printed}\n\nThe race: {place / 'race.toml'}")


def _program():
    program = os.environ.get("DRIFTLOCK") or "driftlock"
    found = shutil.which(program)
    if found is None:
        raise DriftlockError(f"there is no program {program!r}: put driftlock in PATH, or its place in DRIFTLOCK")
    return found


def _run(command, output, seconds):
    """Runs it to its end: the exit code."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        return process.wait(seconds)
    except BaseException as error:
        # After Ctrl-C it has the signal already. It takes its server down.
        if not isinstance(error, KeyboardInterrupt):
            process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        if isinstance(error, subprocess.TimeoutExpired):
            raise DriftlockError(f"driftlock did not end within {seconds} s") from None
        raise


def _fresh(name):
    """An empty directory for a test, the same each time."""
    above = pathlib.Path(".driftlock").absolute()
    above.mkdir(exist_ok=True)
    (above / ".gitignore").write_text("*\n")
    place = above / _word(name)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return place


def _word(name):
    """A name as driftlock has them: lower-case words with hyphens, not too long."""
    word = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "race"
    return word if len(word) <= 60 else f"{word[:51].strip('-')}-{zlib.crc32(name.encode()):08x}"


def _application(place, actors, setup, invariants, serial, violates):
    """The application's file."""
    lines = [f"name = {_text(place.name)}", f"summary = {_text('A test of ' + place.name)}"]
    if callable(setup):
        lines.append(f"setup = {_text(_worker(setup) + ' --once')}")
    else:
        (place / "setup.sql").write_text(setup, "utf-8")
        lines.append('setup = "psql -X -q -v ON_ERROR_STOP=1 -f setup.sql"')
    if serial is not None:
        lines.append(f"serial = {str(serial).lower()}")
    if violates is not None:
        lines.append(f"violates = {_text(violates)}")
    for name, actor in actors.items():
        function, count = actor if isinstance(actor, tuple) else (actor, 1)
        lines += ["[[actor]]", f"name = {_text(_word(name))}", f"count = {count}"]
        lines.append(f"worker = {_text(_worker(function))}")
    for name, query in (invariants or {}).items():
        lines += ["[[invariant]]", f"name = {_text(name)}", f"sql = {_text(query)}"]
    return "\n".join(lines) + "\n"


def _text(text):
    """A string of JSON is one of TOML, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _worker(function):
    """The command that calls a function."""
    function = getattr(function, "__driftlock_actor__", function)
    if not inspect.isfunction(function) or "<" in function.__qualname__:
        raise DriftlockError(
            f"{getattr(function, '__qualname__', function)!r} cannot be raced: another process has to find it, so it "
            "must be a function at the top level of a module"
        )
    file = os.path.abspath(inspect.getfile(function))
    # As this process has it: pytest puts directories there.
    path = "PYTHONPATH=" + os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    words = ["env", path, sys.executable, os.path.abspath(__file__), file, function.__module__, function.__qualname__]
    return f"cd {shlex.quote(os.getcwd())} && exec {shlex.join(words)}"


def _load(file, module, name):
    """The function of a module, which is imported by its name, or from its file."""
    try:
        found = importlib.import_module(module)
        if os.path.abspath(found.__file__ or "") != file:
            raise ImportError(module)
    except ImportError as error:
        if module != "__main__" and error.name not in (module, module.partition(".")[0], None):
            raise
        found_at = importlib.util.spec_from_file_location(module if module != "__main__" else "driftlock_main", file)
        found = importlib.util.module_from_spec(found_at)
        sys.modules[found_at.name] = found
        found_at.loader.exec_module(found)
    for part in name.split("."):
        found = getattr(found, part)
    return getattr(found, "__driftlock_actor__", found)


def _call(function, actor):
    """Does the job once: what is answered."""
    try:
        answer = function(*[actor][: len(inspect.signature(function).parameters)])
        if inspect.isawaitable(answer):
            answer = asyncio.run(_awaited(answer))
        line = {"ok": True} if answer is None else {"ok": True, "answer": answer}
        return json.dumps(line, default=str)
    except Exception as error:
        traceback.print_exc()
        return json.dumps({"ok": False, "error": f"{type(error).__name__}: {error}"})


async def _awaited(answer):
    return await answer


def _work(file, module, name, *more):
    """What an actor's process does."""
    # What the function prints is not an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    function = _load(file, module, name)
    if more == ("--once",):
        sys.exit(not json.loads(_call(function, "setup"))["ok"])
    for line in sys.stdin:
        print(_call(function, json.loads(line)["actor"]), file=answers, flush=True)


try:
    # An actor has no use for it, and would wait for it.
    pytest = None if __name__ == "__main__" else importlib.import_module("pytest")
except ImportError:
    pytest = None
if pytest is not None:

    @pytest.fixture
    def driftlock_race(request):
        """`explore`, with the name of the test: `driftlock_race({"buyer": buy, "seller": sell}, setup=…)`."""
        return functools.partial(explore, name=request.node.name)


if __name__ == "__main__":
    # Not this module once more under another name.
    sys.modules["driftlock"] = sys.modules["__main__"]
    sys.path = [entry for entry in sys.path[1:] if entry]
    _work(*sys.argv[1:])
