"""test_service.py: weir as a service: handed-over sockets, the ports of others, manual and completions."""
import http.client
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


def ask_from(port, origin, path="/api/tags", method="GET", host=None, **headers):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    c.putrequest(method, path, skip_host=True)
    for k, v in {"Host": host or f"localhost:{port}", "Origin": origin, **headers}.items():
        c.putheader(k.replace("_", "-"), v)
    c.endheaders()
    r = c.getresponse()
    r.read()
    c.close()
    return r


def pages_are_let_in_as_there(port, own):
    """What Ollama lets in without being told, by the ports weir stands in at and by no other."""
    for origin in ("http://localhost:3000", "http://127.0.0.1:8081", "http://localhost", "https://localhost:5173",
                   "http://0.0.0.0:3000", "app://obsidian.md", "file://", "tauri://localhost", "vscode-webview://1x2",
                   "vscode-file://vscode-app"):
        r = ask_from(port, origin)
        assert r.status == 200 and r.headers["Access-Control-Allow-Origin"] == origin, (port, origin, r.status)
        assert r.headers["Vary"] == "Origin"
        assert ask_from(own, origin).status == 403, origin
        wanted = "authorization,content-type,x-stainless-lang,x-stainless-retry-count,anthropic-version,anthropic-dangerous-direct-browser-access"
        r = ask_from(port, origin, "/v1/chat/completions", "OPTIONS", Access_Control_Request_Method="POST",
                     Access_Control_Request_Headers=wanted)
        assert r.status == 204 and r.headers["Access-Control-Allow-Origin"] == origin, (port, origin, r.status)
        assert r.headers["Access-Control-Allow-Headers"] == wanted
        for method in ("POST", "DELETE", "PUT", "PATCH", "GET"):
            assert method in r.headers["Access-Control-Allow-Methods"].split(", ")
    for origin in ("https://evil.example", "http://localhost.evil.example:80", "null", "chrome-extension://abc"):
        assert ask_from(port, origin).status == 403, origin
    # DNS rebinding: the page's own name, whatever its origin says.
    for origin in ("http://evil.example", f"http://evil.example:{port}", "http://localhost:3000"):
        assert ask_from(port, origin, host=f"evil.example:{port}").status == 403, origin
    # What only weir has is weir's own page's.
    for path in ("/weir/v1/status", "/weir/v1/requests"):
        assert ask_from(port, "http://localhost:3000", path).status == 403, path
        assert ask_from(port, f"http://localhost:{own}", path).status == 200, path


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
            pages_are_let_in_as_there(port, w.port)
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
