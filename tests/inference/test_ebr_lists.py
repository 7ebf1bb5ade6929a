"""Lists of models that were not trained to write any: retrieval, and zero-shot language models."""

import json
import shutil

import pytest
import torch

from aigq import ebr, models
from aigq.context import Context, FittedPrompt
from inference.engines import Completion
from inference.engines.transformers import TransformersEngine
from inference.zero_shot import ZeroShot, ZeroShotModel

pytestmark = pytest.mark.torch

QUERIES = ["red shoes", "blue lamp", "scarf", "kettle", "green chair"]


@pytest.fixture
def retrieval(shop) -> models.Model:
    """An untrained EBR model over five queries, in a shop."""
    folder = shop.models / "towers" / "v1"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    network = ebr.EbrNetwork(ebr.EbrConfig(width=8, heads=2, hidden=8, buckets=128)).eval()
    ebr.save(network, QUERIES, ebr.build_index(ebr.query_vectors(network, QUERIES)), folder)
    (folder / "manifest.json").write_text(json.dumps({"kind": models.EBR}))
    return models.Model("towers", "v1", folder)


def test_retrieval_has_one_list_an_instance(shop, retrieval, aigq, rows_of):
    generate = ("generate", "lists", "--model", "towers", "--instances", "6", "--lists", "4")
    aigq(*generate)
    draws = rows_of(shop, "SELECT * FROM eval.list_draws")
    assert len(draws) == 6
    assert {(r["model"], r["list_index"], r["error"]) for r in draws} == {("towers", 0, None)}
    retriever = ebr.load(retrieval)
    rows = rows_of(shop, "SELECT * FROM samples.test_user_days ORDER BY md5(instance_id) LIMIT 6")
    lists = rows_of(
        shop,
        "SELECT instance_id, list(query_text ORDER BY position) AS queries"
        " FROM eval.generated_lists GROUP BY instance_id",
    )
    found = {r["instance_id"]: r["queries"] for r in lists}
    for row in rows:
        assert found[row["instance_id"]] == retriever.retrieve([Context.from_row(row)], 30)[0]
        assert sorted(found[row["instance_id"]]) == sorted(QUERIES)
    assert "nothing is missing" in aigq(*generate).stderr
    (run,) = rows_of(
        shop,
        "SELECT parameters FROM meta.runs WHERE job = 'generate lists' ORDER BY started_at LIMIT 1",
    )
    assert json.loads(run["parameters"])["engine"] == "faiss"


def test_a_broken_retrieval_model_is_named(shop, retrieval, aigq):
    (retrieval.path / "ann.faiss").write_bytes(b"")
    out = aigq("generate", "lists", "--model", "towers", code=1)
    assert f"{retrieval.path} holds no model of `aigq train ebr`" in out.output


@pytest.fixture
def untrained(shop, tiny_checkpoint):
    """The tiny checkpoint as a base model: no settings of lists in its manifest."""
    folder = shop.models / "base" / "v1"
    shutil.copytree(tiny_checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    # The instruction alone has some 300 tokens in this vocabulary.
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1024}))
    (folder / "manifest.json").write_text("{}")
    return folder


ZERO_SHOT = ("generate", "lists", "--zero-shot", "--engine", "transformers", "--lists", "2")
ZERO_SHOT += ("--instances", "3")


def test_a_base_model_is_asked_in_words(shop, untrained, aigq, rows_of, monkeypatch):
    import inference.list_model

    prompts = []
    fit = inference.list_model.fit_prompts

    def seen(contexts, tokenizer, **options):
        found = fit(contexts, tokenizer, **options)
        prompts.extend(found)
        assert options["style"] == "verbose"
        return found

    monkeypatch.setattr("inference.list_model.fit_prompts", seen)
    aigq(*ZERO_SHOT, "--model", "base", "--max-tokens", "24")
    assert len(prompts) == 3
    draws = rows_of(shop, "SELECT * FROM eval.list_draws WHERE model = 'base'")
    lists = rows_of(shop, "SELECT DISTINCT instance_id, list_index FROM eval.generated_lists")
    assert len(draws) == 6
    assert sum(r["error"] is None for r in draws) == len(lists), "malformed ones are drawn too"


CHAT = "{% for m in messages %}[{{ m.role }}]{{ m.content }}[end]{% endfor %}[assistant]"


def test_a_chat_model_is_asked_as_a_user_asks(shop, untrained, aigq, monkeypatch):
    """Trained ones are not, whatever template their tokenizer has."""
    (untrained / "chat_template.jinja").write_text(CHAT)
    asked = []
    generate = TransformersEngine.generate

    def seen(engine, requests, sampling):
        asked.extend(engine._decode._tokenizer.decode(r.prompt) for r in requests)
        return generate(engine, requests, sampling)

    monkeypatch.setattr(TransformersEngine, "generate", seen)
    aigq(*ZERO_SHOT, "--model", "base", "--max-tokens", "4")
    assert len(asked) == 6
    for prompt in asked:
        assert prompt.startswith("[user]You recommend search queries")
        assert prompt.endswith("[end][assistant]")
    (models.resolve(shop, "direct").path / "chat_template.jinja").write_text(CHAT)
    asked.clear()
    aigq(*ZERO_SHOT[:2], *ZERO_SHOT[3:], "--model", "direct", "--max-tokens", "4")
    assert asked and not any("[user]" in prompt for prompt in asked)


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ("1. red shoes\n2. Tent\n10) lamp", ("red shoes", "tent", "lamp")),
        ("- red shoes\n* tent\n \u2022 lamp", ("red shoes", "tent", "lamp")),
        (
            "3 drawer chest\n1.5 l bottle\n-20 freezer",
            ("3 drawer chest", "1.5 l bottle", "-20 freezer"),
        ),
        ("1. red shoes\n\n2. tent", ()),
    ],
)
def test_markers_of_entries_are_no_part_of_a_query(untrained, text, queries):
    model = ZeroShotModel(ZeroShot.of(models.Model("base", "v1", untrained)), "transformers", None)
    parsed = model.parse(Completion(text, True, 9), FittedPrompt([], 0))
    assert parsed.queries == queries


def test_a_folder_is_asked_too(shop, untrained, aigq, rows_of, tmp_path):
    elsewhere = tmp_path / "somebodys-model"
    shutil.copytree(untrained, elsewhere)
    aigq(*ZERO_SHOT, "--model", str(elsewhere), "--max-tokens", "4")
    (drawn,) = rows_of(shop, "SELECT DISTINCT model, model_version FROM eval.list_draws")
    assert drawn["model"] == "somebodys-model"
    assert drawn["model_version"] == models.resolve_checkpoint(shop, str(elsewhere)).version
    assert drawn["model_version"].startswith("files-")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "direct", "--zero-shot"), "was trained to write lists: leave --zero-shot out"),
        (("--model", "{home}", "--zero-shot"), "holds no checkpoint: it has no config.json"),
        (("--model", "base"), "writes no lists: its manifest has no setting 'prompt_style'"),
        (("--model", "towers", "--zero-shot"), "expected a language model's configuration"),
    ],
)
def test_refusals(shop, untrained, retrieval, aigq, options, message):
    options = tuple(option.format(home=shop.root) for option in options)
    assert message in aigq("generate", "lists", *options, code=1).output
