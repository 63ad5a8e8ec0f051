"""test_service.py: weir as a service: handed-over sockets, the ports of others, manual and completions."""
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

from harness import WEIR, Weir, make_home, run, skip, test, weir

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@test
def sockets_are_handed_over():
    home = make_home()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(16)
    port = listening.getsockname()[1]
    env = {"PATH": os.environ["PATH"], "HOME": home, "WEIR_HOME": str(home)}
    # As systemd does it: the socket is descriptor 3, and the variables name the process itself.
    child = subprocess.Popen(["sh", "-c", f"exec 3<&{listening.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; "
                              f"exec {WEIR} serve --offline"],
                             env=env, pass_fds=[listening.fileno()], stdout=subprocess.PIPE, text=True)
    try:
        line = child.stdout.readline()
        assert f":{port}/" in line, line
        with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
            s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b" 200 " in s.recv(4096)
    finally:
        child.terminate()
        assert child.wait(40) == 0
        listening.close()


@test
def the_unit_is_one_that_systemd_reads():
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        skip("systemd-analyze verify", "systemd is not here")
        return
    with tempfile.TemporaryDirectory() as d:
        for name in ("weir.service", "weir.socket"):
            text = (ROOT / "packaging/systemd" / name).read_text().replace("/usr/local/bin/weir", str(WEIR))
            pathlib.Path(d, name).write_text(text)
        p = subprocess.run([analyze, "verify", f"{d}/weir.service", f"{d}/weir.socket"], capture_output=True, text=True,
                           timeout=60)
        mine = [x for x in p.stderr.splitlines() if "weir." in x and "man weir" not in x and "man:weir" not in x]
        assert not mine, mine


@test
def the_usual_ports_are_listened_on_where_they_are_free():
    taken = []
    for port in (11434, 1234, 8080):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                taken.append(port)
    w = Weir(args=["--offline", "--stand-in"])
    try:
        for port in (11434, 1234, 8080):
            if port in taken:
                continue
            with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
                s.sendall(b"GET / HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n" % port)
                answer = b""
                while chunk := s.recv(4096):
                    answer += chunk
            assert b"Ollama is running" in answer, answer
    finally:
        w.stop()


@test
def the_manual_page_is_whole():
    p = weir(["man"], make_home())
    assert p.returncode == 0 and p.out.startswith(".TH WEIR 1"), p
    for word in (".SH COMMANDS", ".SH OPTIONS", "weir serve", "stand"):
        assert word in p.out, word
    if shutil.which("groff"):
        q = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=p.out, capture_output=True, text=True)
        assert q.returncode == 0 and not q.stderr, q.stderr


@test
def completions_know_commands_options_and_models():
    home = make_home()
    script = weir(["completion", "bash"], home).out
    ask = """
source /dev/stdin <<<"$SCRIPT"
COMP_WORDS=(weir ser); COMP_CWORD=1; _weir; echo "${COMPREPLY[@]}"
COMP_WORDS=(weir serve --cache-type ''); COMP_CWORD=3; _weir; echo "${COMPREPLY[@]}"
COMP_WORDS=(weir serve --sta); COMP_CWORD=2; _weir; echo "${COMPREPLY[@]}"
COMP_WORDS=(weir show smol); COMP_CWORD=2; _weir; echo "${COMPREPLY[@]}"
"""
    env = {"PATH": f"{pathlib.Path(WEIR).parent}:{os.environ['PATH']}", "HOME": str(home), "WEIR_HOME": str(home),
           "SCRIPT": script}
    out = subprocess.run(["bash", "-c", ask], env=env, capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert out == ["serve", "f16 f32 q8_0 q4_0", "--stand-in", "smollm2:135m"], out
    for shell in ("zsh", "fish"):
        text = weir(["completion", shell], home).out
        assert "smollm" not in text and "serve" in text
        if shutil.which(shell):
            q = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True)
            assert q.returncode == 0, q.stderr
    p = weir(["completion", "tcsh"], home)
    assert p.returncode == 2, p


run()
