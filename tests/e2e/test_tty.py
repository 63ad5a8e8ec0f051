"""test_tty.py: weir run at a real terminal: streaming, Ctrl-C stops an answer, Ctrl-D leaves, history is private."""
import os
import pathlib
import pty
import re
import select
import signal
import stat
import subprocess
import time

from harness import MODEL, WEIR, environment, make_home, run, test


class Terminal:
    def __init__(self, args, home, env=None):
        self.master, slave = pty.openpty()
        self.child = subprocess.Popen([WEIR, *args], stdin=slave, stdout=slave, stderr=slave, close_fds=True,
                                      preexec_fn=lambda: (os.setsid(), __import__("fcntl").ioctl(0, 0x540E, 0)),
                                      env={**environment(home, env), "TERM": "xterm"})
        os.close(slave)
        self.text = ""

    def until(self, pattern, timeout=60, after=0):
        end = time.time() + timeout
        while time.time() < end:
            if re.search(pattern, self.text[after:]):
                return self.text[after:]
            r, _, _ = select.select([self.master], [], [], 0.2)
            if r:
                try:
                    self.text += os.read(self.master, 65536).decode(errors="replace")
                except OSError:
                    break
        raise AssertionError(f"no {pattern!r} in {self.text[after:]!r}")

    def type(self, text):
        at = len(self.text)
        os.write(self.master, text.encode())
        return at

    def wait(self, timeout=20):
        return self.child.wait(timeout)

    def leave(self):
        self.type("\x04")
        return self.wait()


@test
def a_conversation_with_history():
    home = make_home()
    t = Terminal(["run", MODEL, "-t", "0", "-n", "24"], home)
    t.until(r">>> ")
    at = t.type("What is the capital of Japan?\n")
    t.until(r"Tokyo", after=at)
    t.until(r"first token .*\n.*>>> ", after=at)
    at = t.type("/why\n")
    t.until(r"may go as far as", after=at)
    t.until(r">>> ", after=at + 10)
    assert t.leave() == 0
    h = pathlib.Path(home, "history")
    assert "capital" in h.read_text() and stat.S_IMODE(h.stat().st_mode) == 0o600


@test
def control_c_stops_an_answer_and_not_the_program():
    home = make_home()
    t = Terminal(["run", MODEL, "-t", "0", "-n", "4000"], home)
    t.until(r">>> ")
    at = t.type("Write a very long story about the sea, with many chapters.\n")
    t.until(r"\n.*\w+ \w+ \w+", after=at + 70)
    time.sleep(0.5)
    at = t.type("\x03")
    t.until(r"stopped", after=at)
    t.until(r">>> ", after=at)
    at = t.type("half a line\x03")
    time.sleep(0.3)
    assert t.leave() == 0


@test
def control_c_at_ask_is_130():
    home = make_home()
    t = Terminal(["ask", "-m", MODEL, "-n", "4000", "Write a very long story about the sea."], home)
    t.until(r"\w+ \w+ \w+")
    t.type("\x03")
    assert t.wait() == 130, t.text


@test
def sigterm_at_the_prompt_leaves():
    t = Terminal(["run", MODEL], make_home())
    t.until(r">>> ")
    t.child.send_signal(signal.SIGTERM)
    assert t.wait() == 0


@test
def hello_with_a_terminal_is_a_chat():
    home = make_home()
    t = Terminal(["hello", "--port", "0"], home)
    t.until(r"weir is ready: http://127\.0\.0\.1:\d+/")
    t.until(r"demo model; this machine runs up to")
    t.until(r">>> ")
    assert t.leave() == 0


@test
def a_pipe_is_a_turn_a_line():
    home = make_home()
    p = subprocess.run([WEIR, "run", MODEL, "-t", "0", "-n", "12", "-q"], input=b"What is the capital of Japan?\nWhat is the capital of China?\n",
                       capture_output=True, env=environment(home), timeout=120)
    out = p.stdout.decode()
    assert p.returncode == 0 and "Tokyo" in out and "Beijing" in out, out
    assert "\x1b" not in out


@test
def a_turn_of_a_pipe_that_fails_is_not_success():
    home = make_home()
    for args in (["run", "-m", "nosuch:1b"], ["run", "nosuch:1b"]):
        p = subprocess.run([WEIR, *args], input=b"Hi\nHo\n", capture_output=True, env=environment(home), timeout=120)
        assert p.returncode == 3 and p.stdout == b"", (p.returncode, p.stdout)
        assert p.stderr.count(b"nosuch:1b") >= 2, p.stderr
    p = subprocess.run([WEIR, "run", MODEL, "-q"], input=b"/bye\n", capture_output=True, env=environment(home), timeout=120)
    assert p.returncode == 0, p.stderr


run()
