"""test_keys.py: API keys: made, used in each of the three ways, taken back; what a caller without one is told."""
import json
import pathlib

from harness import MODEL, Weir, make_home, run, test, weir

home = make_home()
w = Weir(home)
ASK = {"model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]}


def status(path="/v1/models", headers=None, method="GET", body=None):
    r, out = w.call(method, path, body, headers)
    return r.status, out


def create(name):
    p = weir(["key", "create", name], home)
    assert p.returncode == 0, p.err
    key = p.out.strip().splitlines()[-1].strip()
    assert key.startswith("weir-") and len(key) > 40, p.out
    return key


@test
def without_keys_nobody_is_asked():
    assert status()[0] == 200


@test
def a_key_is_taken_in_three_ways():
    global laptop, phone
    laptop, phone = create("laptop"), create("phone")
    assert status()[0] == 401
    for key in (laptop, phone):
        assert status(headers={"Authorization": f"Bearer {key}"})[0] == 200
        assert status(headers={"x-api-key": key})[0] == 200
        assert status(f"/v1/models?key={key}")[0] == 200
    for wrong in ({"Authorization": f"Bearer {laptop}x"}, {"Authorization": f"Basic {laptop}"}, {"Authorization": "Bearer "},
                  {"x-api-key": laptop[:-1]}, {"x-api-key": ""}):
        assert status(headers=wrong)[0] == 401, wrong
    assert status("/v1/models?key=")[0] == 401
    assert status("/v1/chat/completions", {"Authorization": f"Bearer {phone}"}, "POST", ASK)[0] == 200
    assert status("/v1/messages", {"x-api-key": phone}, "POST", ASK)[0] == 200


@test
def what_is_kept_is_a_hash():
    for path in pathlib.Path(home).rglob("*"):
        if path.is_file() and path.stat().st_size < 1 << 20:
            data = path.read_bytes()
            assert laptop.encode() not in data and phone.encode() not in data, path
    listed = weir(["key", "list"], home).out
    assert "laptop" in listed and "phone" in listed and laptop not in listed
    assert (pathlib.Path(home) / "keys").stat().st_mode & 0o077 == 0


@test
def a_name_is_given_once():
    again = weir(["key", "create", "laptop"], home)
    assert again.returncode != 0 and "laptop" in again.err, again.out


@test
def each_dialect_refuses_in_its_own_shape():
    for method, path, body in (("POST", "/v1/chat/completions", ASK), ("POST", "/v1/completions", {}), ("POST", "/v1/embeddings", {}),
                               ("POST", "/v1/responses", {}), ("GET", "/v1/models", None), ("POST", "/v1/rerank", {})):
        code, out = status(path, None, method, body)
        error = json.loads(out)["error"]
        assert code == 401 and set(error) >= {"message", "type", "param", "code"}, (path, out)
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        code, out = status(path, None, "POST", ASK)
        o = json.loads(out)
        assert code == 401 and o["type"] == "error" and o["error"]["type"] == "authentication_error", out
    for method, path in (("POST", "/api/chat"), ("POST", "/api/generate"), ("GET", "/api/tags"), ("POST", "/api/pull"),
                         ("DELETE", "/api/delete"), ("POST", "/api/embed")):
        code, out = status(path, None, method, {})
        assert code == 401 and isinstance(json.loads(out)["error"], str), (path, out)
    for method, path in (("POST", "/completion"), ("POST", "/infill"), ("GET", "/props"), ("GET", "/slots"), ("GET", "/metrics")):
        code, out = status(path, None, method, {})
        assert code == 401 and json.loads(out)["error"]["code"] == 401, (path, out)
    for method, path in (("POST", "/api/v1/chat"), ("GET", "/api/v1/models"), ("POST", "/api/v1/models/load")):
        code, out = status(path, None, method, {})
        assert code == 401 and json.loads(out)["error"]["type"], (path, out)
    for method, path in (("GET", "/weir/v1/status"), ("GET", "/weir/v1/requests"), ("POST", "/weir/v1/chat"), ("POST", "/weir/v1/unload")):
        code, out = status(path, None, method, {})
        assert code == 401 and json.loads(out)["error"]["message"], (path, out)
    assert status("/health")[0] == 200 and status("/api/version")[0] == 200
    code, out = status("/api/blobs/sha256:" + "0" * 64, None, "POST", "x" * 1000)
    assert code == 401, out


@test
def keys_are_the_owners_affair():
    for headers in (None, {"Authorization": f"Bearer {laptop}"}):
        for method in ("GET", "POST", "DELETE"):
            code, out = status("/weir/v1/keys", headers, method, {"name": "thief"})
            assert code == 403 and laptop not in out, (method, code, out)
    assert "thief" not in weir(["key", "list"], home).out


@test
def a_key_is_taken_back_at_once():
    assert weir(["key", "revoke", "laptop"], home).returncode == 0
    assert status(headers={"Authorization": f"Bearer {laptop}"})[0] == 401
    assert status(headers={"Authorization": f"Bearer {phone}"})[0] == 200
    assert weir(["key", "revoke", "laptop"], home).returncode != 0


@test
def keys_outlive_the_server():
    global w
    assert w.stop() == 0
    w = Weir(home)
    assert status(headers={"x-api-key": phone})[0] == 200
    assert status(headers={"x-api-key": laptop})[0] == 401
    assert w.stop() == 0
    made = create("offline")
    w = Weir(home)
    assert status(headers={"x-api-key": made})[0] == 200


@test
def another_address_wants_a_key():
    fresh = make_home()
    refused = weir(["serve", "--host", "0.0.0.0", "--port", "0"], fresh, timeout=20)
    assert refused.returncode != 0 and "key" in refused.err, refused.err


run()
