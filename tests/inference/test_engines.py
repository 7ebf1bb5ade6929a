"""Engines: the same lists from all of them, whatever the batches."""

import json
import pickle
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click
import pytest
from click.testing import CliRunner

from aigq.context import fit_prompts
from aigq.lists import parse_list
from aigq.settings import UserError
from inference import engines
from inference.engines import Completion, Decoder, Request, Sampling

pytestmark = pytest.mark.torch
SAMPLING = Sampling(max_tokens=24)


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def prompts(tokenizer, contexts):
    return [p.ids for p in fit_prompts(contexts, tokenizer, style="compressed", max_tokens=128)]


@pytest.fixture(scope="module")
def engine(tiny_checkpoint, tokenizer):
    return engines.open_engine("transformers", tiny_checkpoint, tokenizer, max_length=160)


@pytest.fixture(scope="module")
def greedy(engine, prompts):
    return engine.generate([Request(p) for p in prompts], SAMPLING)


def test_greedy_is_the_argmax_of_the_unbatched_model(tiny_checkpoint, tokenizer, prompts, greedy):
    """Against plain forward passes, one prompt at a time and no padding."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint).eval()
    decoder = Decoder(tokenizer)
    for prompt, found in zip(prompts[:6], greedy[:6], strict=True):
        ids = list(prompt)
        with torch.inference_mode():
            while len(ids) < len(prompt) + 24 and ids[-1] != tokenizer.eos_token_id:
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert decoder(ids[len(prompt) :]) == found


def test_the_tiny_model_ends_its_lists(greedy):
    """Else the tests here would compare nothing but truncated noise."""
    assert sum(parse_list(c.text, finished=c.finished).error is None for c in greedy) > 20


def test_samples_depend_on_prompt_and_seed_alone(engine, prompts):
    requests = [Request(p, seed) for p in prompts[:10] for seed in (None, 1, 2)]
    together = engine.generate(requests, SAMPLING)
    assert engine.generate(requests[::-1], SAMPLING) == together[::-1]
    assert [engine.generate([r], SAMPLING)[0] for r in requests[:6]] == together[:6]
    greedy, first, second = together[0::3], together[1::3], together[2::3]
    assert first != second and first != greedy


def test_samples_follow_the_softmax_of_the_top_k(engine, tiny_checkpoint, prompts):
    """First tokens of 4,000 draws at temperature 2 from the 5 best, against their probabilities."""
    import torch
    from transformers import AutoModelForCausalLM

    sampling = Sampling(max_tokens=1, temperature=2.0, top_k=5)
    draws = engine.generate([Request(prompts[0], seed) for seed in range(4000)], sampling)
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint).eval()
    with torch.inference_mode():
        logits, tokens = model(torch.tensor([prompts[0]])).logits[0, -1].topk(5)
    decode = engine._decode
    expected: dict[str, float] = {}
    for p, token in zip((logits / 2.0).softmax(-1).tolist(), tokens.tolist(), strict=True):
        text = decode([token]).text
        expected[text] = expected.get(text, 0.0) + p
    texts = [d.text for d in draws]
    assert set(texts) <= set(expected)
    for text, p in expected.items():
        # Five standard errors of a share of 4,000 draws.
        assert abs(texts.count(text) / 4000 - p) < 5 * (p * (1 - p) / 4000) ** 0.5 + 1e-9


def test_a_special_token_inside_is_no_list(tokenizer):
    decode = Decoder(tokenizer)
    r, search = tokenizer("r<search>")["input_ids"]
    eos = tokenizer.eos_token_id
    assert decode([r, eos, eos, r]) == Completion("r", True, 2)
    assert decode([r]) == Completion("r", False, 1)
    stained = decode([r, search, eos])
    assert parse_list(stained.text, finished=stained.finished).error == "invalid_text"


@pytest.mark.parametrize(
    ("worker", "reason"),
    [
        ("raise RuntimeError('no CPU backend')", "RuntimeError: no CPU backend"),
        ("import os; os.kill(os.getpid(), 4)", "its process was ended by SIGILL"),
        ("import os; os._exit(3)", "its process ended with code 3"),
    ],
)
def test_where_vllm_cannot_start_transformers_does(
    tiny_checkpoint, tokenizer, prompts, greedy, monkeypatch, capsys, tmp_path, worker, reason
):
    pytest.importorskip("vllm")

    # A worker that fails as vLLM does on a machine it cannot use.
    (tmp_path / "broken_worker.py").write_text(worker)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("inference.engines.vllm.WORKER", "broken_worker")
    found = engines.open_engine("vllm", tiny_checkpoint, tokenizer, max_length=160)
    assert found.name == "transformers"
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "cannot start" in x]
    assert line == f"vLLM cannot start here ({reason}): generating with transformers"
    assert found.generate([Request(prompts[0])], SAMPLING) == greedy[:1]


def test_the_vllm_worker_ends_with_its_job():
    """A killed job closes the worker's stdin; vLLM's own processes would go on for ever."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "inference.engines.vllm_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    worker.stdin.close()
    assert worker.wait(60) == 0
    worker.stdout.close()


def test_the_vllm_worker_ends_with_a_job_killed_while_it_wrote():
    """Half a message on stdin is the end, too."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "inference.engines.vllm_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    worker.stdin.write(pickle.dumps(["x" * 1000])[:500])
    worker.stdin.close()
    assert worker.wait(60) == 0
    worker.stdout.close()


READY = "import os, pickle, sys; a = pickle.load(sys.stdin.buffer); out = sys.stdout.buffer; "
READY += "pickle.dump('ready', out); out.flush(); b = pickle.load(sys.stdin.buffer); "


@pytest.fixture
def fake_vllm(tmp_path, monkeypatch):
    """``fake_vllm(code)``: the worker's code; vLLM itself need not be installed."""

    def install(code: str) -> None:
        (tmp_path / "fake_worker.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr("inference.engines.vllm.find_spec", lambda _: True)
        monkeypatch.setattr("inference.engines.vllm.WORKER", "fake_worker")

    return install


@pytest.mark.parametrize("then", ["", "sys.stdin.buffer.read(); "], ids=["ended", "hangs on"])
def test_half_an_answer_is_the_workers_end(tiny_checkpoint, tokenizer, prompts, fake_vllm, then):
    half = "out.write(pickle.dumps([[7] * 900])[:300]); out.flush(); os.close(1); "
    fake_vllm(READY + half + then + "os._exit(9)")
    engine = engines.open_engine("vllm", tiny_checkpoint, tokenizer, max_length=160)
    with pytest.raises(
        UserError, match="vLLM ended while it generated: its process ended with code 9"
    ):
        engine.generate([Request(prompts[0])], SAMPLING)
    engine.close()


def test_a_start_that_hangs_is_given_up(tiny_checkpoint, tokenizer, fake_vllm, monkeypatch, capsys):
    monkeypatch.setattr("inference.engines.vllm._START_SECONDS", 0.5)
    fake_vllm("import time; time.sleep(600)")
    found = engines.open_engine("vllm", tiny_checkpoint, tokenizer, max_length=160)
    assert found.name == "transformers"
    assert "vLLM cannot start here (it did not start within 0.5 s)" in capsys.readouterr().err


def test_without_vllm_installed(tiny_checkpoint, tokenizer, monkeypatch, capsys):
    monkeypatch.setattr("inference.engines.vllm.find_spec", lambda _: None)
    found = engines.open_engine("vllm", tiny_checkpoint, tokenizer, max_length=160)
    assert found.name == "transformers"
    assert "vLLM cannot start here (it is not installed)" in capsys.readouterr().err


def test_unknown_engine():
    command = click.command()(engines.engine_option(lambda engine: None))
    result = CliRunner().invoke(command, ["--engine", "vlm"])
    assert result.exit_code == 2
    assert "'vlm' is none of vllm, transformers" in result.output


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_vllm_writes_what_transformers_writes(tiny_checkpoint, tokenizer, prompts, greedy):
    pytest.importorskip("vllm")
    import feast.infra.offline_stores.duckdb  # noqa: F401  (what it loads, vLLM trips over)

    vllm = engines.open_engine("vllm", tiny_checkpoint, tokenizer, max_length=160)
    try:
        assert vllm.name == "vllm", "vLLM is installed but did not start"
        found = vllm.generate([Request(p) for p in prompts], SAMPLING)
        # fp32 on both sides: only near-ties can turn, and a turned token changes what follows.
        same = sum(a == b for a, b in zip(found, greedy, strict=True))
        assert same >= 0.9 * len(prompts)
        requests = [Request(p, seed) for p in prompts for seed in (1, 2)]
        drawn = vllm.generate(requests, SAMPLING)
        assert drawn[0::2] != drawn[1::2]
        again = vllm.generate(requests[::-1], SAMPLING)[::-1]
        assert sum(a == b for a, b in zip(drawn, again, strict=True)) >= 0.9 * len(requests)
    finally:
        vllm.close()
    assert vllm._worker.returncode == 0


class Server(ThreadingHTTPServer):
    """Completions by an engine; ``failures`` are status codes to answer first."""

    def __init__(self, engine, served):
        super().__init__(("127.0.0.1", 0), Handler)
        self.engine, self.served = engine, served
        self.failures: list[int] = []
        self.bodies: list[dict] = []
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        # The client's own back-off would wait half a second and more.
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        assert self.path == "/v1/models"
        models = [{"id": m, "object": "model", "root": r} for m, r in self.server.served.items()]
        self.answer(200, {"object": "list", "data": models})

    def do_POST(self):
        assert self.path == "/v1/completions"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            if self.server.failures:
                self.answer(self.server.failures.pop(), {"error": {"message": "scripted"}})
                return
            sampling = Sampling(body["max_tokens"], body["temperature"], body.get("top_k", 1))
            request = Request(body["prompt"], body.get("seed"))
            (done,) = self.server.engine.generate([request], sampling)
        choice = {
            "index": 0,
            "text": done.text,
            "finish_reason": "stop" if done.finished else "length",
            "logprobs": None,
        }
        usage = {"completion_tokens": done.tokens, "prompt_tokens": 1, "total_tokens": 1}
        reply = {"id": "1", "object": "text_completion", "created": 0, "model": body["model"]}
        self.answer(200, reply | {"choices": [choice], "usage": usage})


@pytest.fixture
def server(engine, tiny_checkpoint):
    server = Server(engine, {"tiny": str(tiny_checkpoint)})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_writes_what_its_engine_writes(
    server, engine, tiny_checkpoint, tokenizer, prompts
):
    requests = [Request(p, seed) for p in prompts[:8] for seed in (None, 7)]
    expected = engine.generate(requests, SAMPLING)
    client = engines.open_engine(server.address, tiny_checkpoint, tokenizer, max_length=160)
    assert client.generate(requests, SAMPLING) == expected
    assert any(not c.finished for c in expected) or all(c.finished for c in expected)
    sent = next(b for b in server.bodies if b.get("seed") == 7)
    assert (sent["top_k"], sent["temperature"]) == (100, 1.0)
    assert not any(b["skip_special_tokens"] for b in server.bodies)
    client.close()


def test_a_busy_server_is_asked_again_and_a_broken_one_named(
    server, tiny_checkpoint, tokenizer, prompts
):
    client = engines.open_engine(server.address + "/v1", tiny_checkpoint, tokenizer, max_length=160)
    server.failures = [503, 429]
    assert len(client.generate([Request(prompts[0])], SAMPLING)) == 1
    assert len(server.bodies) == 3
    server.failures = [500] * 10
    with pytest.raises(UserError, match=f"the server {server.address}/v1 did not answer.*scripted"):
        client.generate([Request(prompts[0])], SAMPLING)
    server.failures = [400]
    with pytest.raises(UserError, match="scripted"):
        client.generate([Request(prompts[0])], SAMPLING)


def test_a_server_must_serve_our_checkpoint(server, tiny_checkpoint, tokenizer):
    """Another model, also the only one, would read our token ids as other words."""
    name = f"{tiny_checkpoint.parent.name}@{tiny_checkpoint.name}"
    for served in ({"one": None}, {"one": None, "two": "/models/two"}, {}):
        server.served = served
        with pytest.raises(UserError) as error:
            engines.open_engine(server.address, tiny_checkpoint, tokenizer, max_length=160)
        assert f"serves {', '.join(served) or 'no model'}, not {name}" in error.value.message
        assert f"vllm serve {tiny_checkpoint} --served-model-name {name}" in error.value.message
    ours = [str(tiny_checkpoint), name, tiny_checkpoint.parent.name]
    for served, model in [({"one": "/x", o: None}, o) for o in ours] + [({"two": ours[0]}, "two")]:
        server.served = served
        client = engines.open_engine(server.address, tiny_checkpoint, tokenizer, max_length=160)
        assert client._model == model


@pytest.mark.parametrize(
    ("text", "error"), [("red shoes<eos>", None), ("red <search>shoes", "invalid_text")]
)
def test_special_tokens_from_a_server(server, tiny_checkpoint, tokenizer, prompts, text, error):
    class Spelling:
        def generate(self, *_):
            return [Completion(text, True, 3)]

    server.engine = Spelling()
    client = engines.open_engine(server.address, tiny_checkpoint, tokenizer, max_length=160)
    (found,) = client.generate([Request(prompts[0])], SAMPLING)
    parsed = parse_list(found.text, finished=found.finished)
    assert parsed.error == error
    assert parsed.queries == (() if error else ("red shoes",))
