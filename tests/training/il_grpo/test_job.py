import pytest
from click.testing import CliRunner
from aigq import models
from aigq.cli import main


@pytest.mark.parametrize("variant", ["direct", "think"])
@pytest.mark.parametrize("algorithm", ["il_grpo", "grpo"])
def test_x(home, variant, algorithm):
    r = CliRunner().invoke(main, f"train grpo --variant {variant} --algorithm {algorithm} --steps 4 --prompts 4 --rollouts 4 --updates 2 --max-malformed 1 --max-truncated 1 --heldout-share 0.1 --heldout-prompts 8".split(), catch_exceptions=False)
    print(r.output)
    (m,) = models.versions(home, f"{variant}_{algorithm}")
    print(m.manifest)
    import json
    print(json.loads((m.path/"training_log.json").read_text())[-2])
    assert r.exit_code == 0
