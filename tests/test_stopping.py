"""How the program ends when it is asked to: 130 or 143, one line, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from coeffdream import stopping
from coeffdream.stopping import SIGNALS, Stopped, heard, stop_requested

SIGHUP = getattr(signal, "SIGHUP", None)
WORDS = list(zip(SIGNALS, ("interrupted", "terminated", "hung up"), strict=False))

# What goes on when the signals come; each is run as a program of its own would be.
PROGRAM = """
import os, signal, sys, time
from coeffdream import stopping
from coeffdream.__main__ import main
import coeffdream.cli.app as app

def working():
    print("working", flush=True)

def work():
    WORK

app.main = work
main()
"""


def ends(work: str, *signals: int) -> tuple[int, list[str]]:
    """The status and standard error of a program that gets the signals, one after another, while it works."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("WORK", work)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        first = program.stdout.readline()
        for number in signals:
            program.send_signal(number)
            time.sleep(0.3)
        _, printed = program.communicate(timeout=60)
    assert first == "working\n", printed
    return program.returncode, printed.splitlines()


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_raises_wherever_the_program_is(number):
    """And says which it was; whoever handled the signals before does so again afterwards."""
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(Stopped) as caught, heard():
        signal.raise_signal(number)
    assert stopping.status_of(caught.value) == stopping.status_of() == 128 + number
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize(("number", "word"), WORDS)
def test_one_line_and_the_status(number, word):
    """The status a shell gives for the signal, with one line on standard error."""
    assert ends("working(); time.sleep(20)", number) == (
        128 + number,
        [f"error: {word}; what was finished is kept"],
    )


@pytest.mark.parametrize(("number", "word"), WORDS)
def test_the_second_stops_at_once(number, word):
    """Whatever the first one is being answered with, be it for ever."""
    stuck = "try: working(); time.sleep(20)\n    finally: time.sleep(20)"
    assert ends(stuck, number, number) == (128 + number, [f"error: {word} at once"])


@pytest.mark.skipif(SIGHUP is None, reason="this system has no terminals that hang up")
class TestHangup:
    def test_nothing_is_printed_to_a_terminal_that_is_gone(self, tmp_path):
        """Its window was closed: the work comes to its good end, and not to an error of printing."""
        import pty

        end, terminal = pty.openpty()
        work = (
            "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
            "    with stopping.stop_requested() as asked:\n"
            "        working()\n"
            "        while not asked(): time.sleep(0.01)\n"
            "        print('saving', flush=True)\n"
            f"        open({str(tmp_path / 'state')!r}, 'w').write('saved')\n"
            "    sys.exit(stopping.status_of())"
        )
        given = {"stdin": terminal, "stdout": terminal, "stderr": terminal, "start_new_session": True}
        with subprocess.Popen([sys.executable, "-c", PROGRAM.replace("WORK", work)], **given) as program:
            os.close(terminal)
            assert os.read(end, 7) == b"working"
            os.close(end)
            assert program.wait(60) == 129
        assert (tmp_path / "state").read_text() == "saved"

    def test_nohup_is_respected(self):
        """Who starts it to outlive the terminal gets that."""
        before = signal.signal(SIGHUP, signal.SIG_IGN)
        try:
            with heard(), stop_requested() as asked:
                signal.raise_signal(SIGHUP)
                assert not asked()
        finally:
            signal.signal(SIGHUP, before)


def test_one_that_a_library_swallows_comes_again():
    """A callback of the garbage collector cannot raise; the stop that it was asked for happens all the same."""
    lost = (
        "working()\n"
        "    class Callback:\n"
        "        def __del__(self): os.kill(os.getpid(), signal.SIGINT); time.sleep(0.01)\n"
        "    Callback()\n"
        "    time.sleep(20)"
    )
    assert ends(lost) == (130, ["error: interrupted; what was finished is kept"])


def test_none_is_heard_once_the_work_is_done():
    """While the libraries shut down the status of the work stands."""
    late = "import atexit\n    atexit.register(lambda: (working(), time.sleep(1)))"
    assert ends(late, signal.SIGINT, signal.SIGTERM) == (0, [])


def test_work_that_looks_by_itself():
    """The first is only noted, the second raises: a training step comes to its end unless a person insists."""
    with heard(), stop_requested() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGTERM)
        assert asked()
        assert stopping.status_of() == 143
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", SIGNALS)
def test_while_everything_is_still_being_imported(number, tmp_path):
    """From the first moment on: of the real program, stopped at times spread over its start."""
    start = "import sys; from coeffdream.__main__ import main; print('go', flush=True); main()"
    train = ["train", "--concept", "cat", "--base", "toybox", "--steps", "100000", "--runs", str(tmp_path)]
    for delay in (0.05, 0.2, 0.9):
        with subprocess.Popen(
            [sys.executable, "-c", start, *train], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program:
            assert program.stdout is not None
            assert program.stdout.readline() == "go\n"
            time.sleep(delay)
            program.send_signal(number)
            _, printed = program.communicate(timeout=120)
        assert "Traceback" not in printed
        [line] = [line for line in printed.splitlines() if line.startswith("error: ")]
        assert line.endswith("; what was finished is kept")
        assert program.returncode == 128 + number


def test_work_in_another_thread_is_not_refused():
    """Signals arrive in the main thread only; a program that trains in another one is never asked to stop."""
    found = []

    def work():
        with heard(), stop_requested() as asked:
            found.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
