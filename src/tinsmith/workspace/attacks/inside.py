"""Running a piece of hostile Python in a sandbox, and reading from outside what became of it."""

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tinsmith.workspace.attacks.attack import Inside, Seen
from tinsmith.workspace.attacks.canaries import Canaries
from tinsmith.workspace.interpreter import inspect_python
from tinsmith.workspace.sandbox import Bind, Completed
from tinsmith.workspace.tree import remove


class CommandSandbox(Protocol):
    """Anything that runs a command as `Sandbox.run` does can be put through the table."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | str = "/tmp",
        timeout: float,
        extra_ro_binds: Sequence[Bind] = (),
        extra_rw_binds: Sequence[Bind] = (),
        symlinks: Sequence[tuple[str, Path]] = (),
        env: Mapping[str, str] | None = None,
    ) -> Completed: ...


# What the attacks may use.  `x86` and `arm` are numbers of system calls.
_PRELUDE = """
import ctypes, errno, fcntl, glob, os, platform, resource, signal, socket, stat, struct, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
class Refused(Exception): pass
def refuse(why): raise Refused(why)
def syscall(x86, arm, *arguments):
    number = x86 if platform.machine() == 'x86_64' else arm
    # A plain int would leave the upper half of an argument on the stack to chance.
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def each(attempt, *things):
    last = None
    for thing in things:
        try: attempt(thing)
        except OSError as error: last = error
        else: return
    raise last
def name_of(error):
    if isinstance(error, socket.gaierror):
        return next(n for n in dir(socket) if n.startswith('EAI_') and getattr(socket, n) == error.errno)
    return errno.errorcode.get(error.errno, str(error))
def tool(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, errors='replace', stdin=subprocess.DEVNULL)
    if done.returncode == 0: return done.stdout
    for number, name in errno.errorcode.items():
        if os.strerror(number).lower() in done.stderr.lower(): refuse(name)
    if done.returncode < 0: refuse(signal.Signals(-done.returncode).name)
    raise RuntimeError(done.stderr.strip()[-200:] or f'exit status {done.returncode}')
"""


# Each attack in a child of its own, which answers in one line; what it leaves in the copy is removed.
_TOGETHER = """
import shutil
for name, code in ATTACKS:
    child = os.fork()
    if child == 0:
        signal.alarm(15)
        try: exec(code, dict(globals()))
        except Refused as why: word = f'REFUSED {why}'
        except OSError as error: word = f'REFUSED {name_of(error)}'
        except BaseException as error: word = f'BROKE {type(error).__name__} {error}'
        else: word = 'SUCCEEDED'
        os.write(1, f'\\n@{name} {word}\\n'.encode())
        os._exit(0)
    os.waitpid(child, 0)
    for left in os.scandir('.'):
        shutil.rmtree(left.path) if left.is_dir(follow_symlinks=False) else os.unlink(left.path)
"""
_ALONE = """
try: exec(ATTACKS[0][1])
except Refused as why: print('\\nREFUSED', why)
except OSError as error: print('\\nREFUSED', name_of(error))
except BaseException as error: print('\\nBROKE', type(error).__name__, error)
else: print('\\nSUCCEEDED')
"""


class Probe:
    """An interpreter that starts inside, and the canaries it is set on."""

    def __init__(self, canaries: Canaries) -> None:
        self._python = inspect_python(Path(sys.executable), Path("/nonexistent"))
        self._canaries = canaries

    def run(self, sandbox: CommandSandbox, attack: Inside) -> tuple[bool, str]:
        """Whether it holds, and what was seen.  Raises as `Sandbox.run`."""
        seen = self._start(_tightened(sandbox, attack.limits), _ALONE, [attack], attack.timeout)
        holds, saw = _verdict(attack, seen)
        if reached := self._canaries.reached(seen.completed.output):
            return False, "; ".join(reached)
        return holds, saw

    def run_together(self, sandbox: CommandSandbox, attacks: Sequence[Inside]) -> dict[str, str]:
        """{id: the reason} of those that were refused for the right one; the others are to be run alone.

        Empty where any canary was reached, since nobody knows by which.  Raises as `Sandbox.run`.
        """
        done = self._start(sandbox, _TOGETHER, attacks, 60).completed
        if self._canaries.reached(done.output):
            return {}
        said = dict(
            line[1:].split(" ", 1) for line in done.output.decode(errors="replace").split("\n") if line[:1] == "@"
        )
        refused: dict[str, str] = {}
        for attack in attacks:
            word, _, reason = said.get(attack.id, "").partition(" ")
            if word == "REFUSED" and reason in attack.refused_by.split():
                refused[attack.id] = reason
        return refused

    def _start(self, sandbox: CommandSandbox, driver: str, attacks: Sequence[Inside], timeout: float) -> Seen:
        work = self._canaries.work
        remove(work)
        work.mkdir()
        names = {**self._canaries.names, "ATTACKS": [(attack.id, attack.code.strip()) for attack in attacks]}
        program = _PRELUDE + "".join(f"{name} = {value!r}\n" for name, value in names.items()) + driver
        try:
            done = sandbox.run(
                [str(self._python.path), "-I", "-c", program],
                cwd=work,
                timeout=timeout,
                extra_ro_binds=[(mount, mount) for mount in self._python.mounts],
                extra_rw_binds=[(work, work)],
                symlinks=self._python.symlinks,
            )
            left = [os.lstat(os.path.join(place, name)) for place, _, names in os.walk(work) for name in names]
            return Seen(done, sum(status.st_blocks * 512 for status in left), len(left))
        finally:
            remove(work)


def _verdict(attack: Inside, seen: Seen) -> tuple[bool, str]:
    done = seen.completed
    lines = done.output.decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"exit status {done.returncode}"
    if attack.judge is not None:
        wrong = attack.judge(seen)
        return wrong is None, wrong or f"ended with {done.returncode} after {done.seconds:.1f} s"
    word, _, reason = last.partition(" ")
    if not attack.refused_by:
        return word == "SUCCEEDED", "works" if word == "SUCCEEDED" else last
    if word != "REFUSED":
        return False, last
    return reason in attack.refused_by.split(), reason


def _tightened(sandbox: Any, limits: Mapping[str, int]) -> Any:
    """The same sandbox under tighter limits, where it has ours."""
    if not limits or not hasattr(sandbox, "limits"):
        return sandbox
    return dataclasses.replace(sandbox, limits=dataclasses.replace(sandbox.limits, **limits))
