import pytest

from aigq.settings import UserError
from training.il_grpo.running import arguments
from training.il_grpo.settings import GrpoSettings


def test_canonical_grpo_has_one_pair_of_bounds_and_no_bonus():
    grpo = GrpoSettings(algorithm="grpo", tight_above=0.25)
    assert grpo.bounds.tight == grpo.bounds.wide == (0.2, 0.25)
    assert grpo.entropy_weight == 0
    ours = GrpoSettings()
    assert ours.bounds.wide > ours.bounds.tight
    assert ours.entropy_weight > 0


def test_what_is_given_beside_the_algorithm_is_taken():
    """IL-GRPO without credit by slot is grpo with the entropy terms."""
    grpo = GrpoSettings.load(
        None, {"algorithm": "grpo", "entropy_weight": "0.01", "wide_above": "0.4"}
    )
    assert grpo.entropy_weight == 0.01
    assert grpo.bounds.wide == (0.2, 0.4)


@pytest.mark.torch
def test_rollouts_are_drawn_as_in_the_paper(tmp_path):
    given = arguments(GrpoSettings(), tmp_path, max_new_tokens=8, bf16=False)
    assert (given.num_generations, given.temperature, given.top_k) == (8, 1.0, 100)
    other = GrpoSettings(rollouts=4, temperature=0.7, top_k=50)
    given = arguments(other, tmp_path, max_new_tokens=8, bf16=False)
    assert (given.num_generations, given.temperature, given.top_k) == (4, 0.7, 50)


@pytest.mark.torch
def test_a_server_is_asked_where_it_is_and_an_engine_of_its_own_is_bounded(tmp_path):
    how = GrpoSettings(engine="vllm_server", server="http://gpu:8000", vllm_memory=0.2)
    asked = arguments(how, tmp_path, max_new_tokens=8, bf16=False)
    assert (asked.use_vllm, asked.vllm_mode) == (True, "server")
    assert asked.vllm_server_base_url == "http://gpu:8000"
    how = GrpoSettings(engine="vllm_colocate", vllm_memory=0.2)
    own = arguments(how, tmp_path, max_new_tokens=8, bf16=False)
    assert (own.vllm_mode, own.vllm_gpu_memory_utilization) == ("colocate", 0.2)
    assert own.vllm_server_base_url is None
    assert not arguments(GrpoSettings(), tmp_path, max_new_tokens=8, bf16=False).use_vllm


def test_names():
    assert GrpoSettings(variant="think").model_name == "think_il_grpo"
    assert GrpoSettings(variant="think").base == "think"
    assert GrpoSettings(name="mine", base_model="direct_il_sft").base == "direct_il_sft"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wide_above": 0.1}, "wider than"),
        ({"keep_low": 0.9, "keep_high": 0.1}, "keep_low 0.9 is not below keep_high 0.1"),
        ({"least_characters": 60}, "least_characters 60 is above most_characters 50"),
        ({"filter_every": 5}, "filter_every is set, but filter is not"),
        ({"weights_dtype": "bfloat16"}, "set lora_rank as well"),
        ({"rollouts": 1}, "--rollouts"),
        # Times a repeated query's 0 it would be no number, and so no slot.
        ({"weight_ctr": float("inf")}, "--weight-ctr"),
        ({"keep_high": float("nan")}, "--keep-high"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        GrpoSettings.load(None, given)
