"""The whole package without what only POSIX systems have: as near to Windows as a Linux machine comes."""

from __future__ import annotations

import json
import multiprocessing

import pytest

# Run in a fork of the process that has the libraries: they have forms of their own on other systems, and stay. The
# package itself is imported anew, module by module.
WITHOUT_POSIX = """
import importlib, json, multiprocessing, os, pkgutil, signal, sys, warnings

warnings.simplefilter("ignore")
for name in [name for name in sys.modules if name.partition(".")[0] in ("coeffdream", "triton")]:
    del sys.modules[name]
for name in ("fork", "forkpty", "getuid", "geteuid", "getgid", "setpgrp", "setsid", "killpg", "mkfifo", "uname",
             "sched_getaffinity", "getloadavg", "statvfs", "nice", "O_NONBLOCK", "O_NOFOLLOW", "O_DIRECTORY"):
    delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGALRM", "SIGCHLD", "SIGPIPE", "pthread_kill", "alarm",
             "setitimer", "pause"):
    delattr(signal, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog", "triton"):
    sys.modules[name] = None
multiprocessing.get_all_start_methods = lambda: ["spawn"]
sys.platform = "win32"

import coeffdream
failed = []
for module in pkgutil.walk_packages(coeffdream.__path__, "coeffdream."):
    if "__main__" not in module.name:
        try:
            importlib.import_module(module.name)
        except ImportError:
            failed.append(module.name)
from coeffdream import stopping
with stopping.heard():
    pass
told = {"failed": failed, "signals": [each.name for each in stopping.SIGNALS]}
with open(FILE, "w", encoding="utf-8") as file:
    json.dump(told, file)
"""


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="this is no POSIX system"
)
def test_every_module_is_imported(context, tmp_path):
    """All but the Triton kernels, which nothing imports until `backend="triton"` is asked for."""
    file = tmp_path / "told.json"
    process = context.Process(target=exec, args=(WITHOUT_POSIX, {"FILE": str(file)}))
    process.start()
    process.join(300)
    assert process.exitcode == 0
    told = json.loads(file.read_text(encoding="utf-8"))
    assert told["failed"] == [
        f"coeffdream.attention.triton_{part}" for part in ("backward", "common", "forward")
    ]
    assert told["signals"] == ["SIGINT", "SIGTERM"]
