import io
import re
from dataclasses import dataclass

import jax
import numpy as np
import pytest
from facts import facts, sentence_with
from rich.console import Console
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.config.errors import ConfigError
from npi_jax.errors import UserError
from npi_jax.experiment.run import prepare_experiment
from npi_jax.models import LSTMConfig, TransformerConfig, make_model
from npi_jax.models.flops import forward_flops, train_flops
from npi_jax.planning import fit_plan, make_plan, print_plan
from npi_jax.planning.collectives import Collective, collectives
from npi_jax.planning.fit import members_that_fit
from npi_jax.planning.footprint import footprint
from npi_jax.planning.plan import plan_training, with_all_programs
from npi_jax.planning.programs import plan_all_programs, plan_training_program
from npi_jax.planning.progress import Progress
from npi_jax.planning.text_sizes import text_sizes, vocabulary_size
from npi_jax.training.devices.chips import GIB
from npi_jax.training.devices.mesh import make_mesh
from npi_jax.training.ensemble import Ensemble
from npi_jax.training.programs import Program

PLANNED = {"tokenizer__size": 100, "corpus__planned_tokens": 3200}
SPLIT = {"data": 2}
PARAMETERS = 100 * 8 + 8 * 32 + 8 * 32 + 32 + 8 * 100 + 100


def plan_of_training(*, memory=None, **changes):
    """A plan without the programs of checkpoints, which take longest to compile."""
    return plan_training(make_config(tiny_values(**changes)), memory=memory)


def test_the_plan_counts_what_there_will_be():
    plan = plan_of_training(**PLANNED)
    assert plan.parameters == PARAMETERS
    assert (plan.members, plan.members_per_device) == (4, 2)
    assert plan.bytes_per_device["parameters"] == 2 * 4 * PARAMETERS
    # Adam keeps two moments of each parameter.
    assert 2 < plan.bytes_per_device["optimizer state"] / plan.bytes_per_device["parameters"] < 2.1
    assert plan.bytes_per_device["corpus rows"] == 150 * (33 * 2 + 4)
    assert plan.tokens_per_step == 8 * 32
    assert plan.flops_per_step == 4 * 8 * 32 * 3 * 2 * (4 * 8 * 16 + 8 * 100)
    assert plan.tokens == 10 * 8 * 32
    assert plan.scored == [0, 1, 2, 4, 8, 10]
    assert plan.saved == [4, 8, 10]
    assert plan.checkpoint_bytes > 4 * 3 * 4 * PARAMETERS
    assert plan.kept_checkpoints == 3
    assert plan.exchanges == []
    assert plan.hours(1e9, 0.5) == pytest.approx(10 * plan.flops_per_step / (2 * 1e9 * 0.5) / 3600)


def test_devices_that_share_a_batch_exchange_gradients_once():
    plan = plan_of_training(mesh=SPLIT, **PLANNED)
    assert [(one.kind, one.axes) for one in plan.exchanges] == [("all-reduce", ("data",))]
    assert plan.exchanges[0].bytes >= 4 * PARAMETERS


def test_split_members_take_half_of_a_device():
    wide = {"kind": "lstm", "embedding": 64, "hidden": 64, "layers": 1}
    whole, split = (plan_of_training(mesh=mesh, model=wide, **PLANNED) for mesh in (SPLIT, {**SPLIT, "fsdp": True}))
    assert split.bytes_per_device["parameters"] == pytest.approx(whole.bytes_per_device["parameters"] / 2, rel=0.02)
    assert {one.axes for one in split.exchanges} == {("data",)}
    assert split.checkpoint_bytes == whole.checkpoint_bytes


@pytest.mark.drill
def test_memory_is_that_of_the_call_that_takes_most():
    plan = make_plan(make_config(tiny_values(gradients__enabled=True, **PLANNED)))
    assert list(plan.scratch) == [
        "training",
        "initialization",
        "checksums",
        "validation",
        "scoring grammar",
        "gradients at checkpoints",
        "gradients at the end",
    ]
    most = max(plan.scratch, key=plan.scratch.get)
    assert plan.peak_program == most
    assert plan.left_out == ["validation rows beyond 64: how many there are is not known here"]
    assert plan.peak_bytes == sum(plan.bytes_per_device.values()) + plan.scratch[most]
    training = plan_training(plan.config)
    assert training.scratch == {"training": plan.scratch["training"]}
    added = with_all_programs(training, "validation")
    assert added.scratch == {name: plan.scratch[name] for name in ("training", "validation")}
    assert added.bytes_per_device == plan.bytes_per_device
    shown = printed(plan)
    assert f"in {most}" in shown


def test_a_suite_that_is_elsewhere_is_named_and_not_counted(tmp_path):
    suites = {"blimp": {"path": str(tmp_path / "blimp")}}
    plan = make_plan(make_config(tiny_values(score__suites=suites, gradients__enabled=True, **PLANNED)))
    assert list(plan.scratch) == ["training", "initialization", "checksums", "validation"]
    assert plan.left_out[:2] == [
        f"scoring blimp: there is no {tmp_path / 'blimp'}",
        "gradients: they are of suite blimp",
    ]
    assert "not counted" in printed(plan)


def test_rows_of_several_lengths_are_planned(tmp_path):
    long = " ".join(["dog"] * 90)
    (tmp_path / "own.tsv").write_text(f"good\tbad\nno dog\ta dog\n{long} ran\t{long} run\n")
    suites = {"own": {"loader": "table", "path": str(tmp_path / "own.tsv")}}
    config = make_config(tiny_values(score__suites=suites, **PLANNED))
    mesh = make_mesh(1, 1, n_members=len(config.members))
    ensemble = Ensemble(config, make_model(config.model, 100), mesh)
    training = plan_training_program(ensemble, 100, 100, streamed=False)
    scoring = plan_all_programs(ensemble, 100, training)[0].scoring["own"]
    chunks = scoring.arguments[1]
    # A start token and 91 words of each long sentence are read.
    assert [chunk["rows"].shape[-1] for chunk in chunks] == [64, 2 * 92]
    scoring.function.lower(*scoring.arguments)


@dataclass
class Refused:
    """Stands for a function that its compiler refuses."""

    why: str

    def lower(self):
        return self

    def compile(self):
        raise jax.errors.JaxRuntimeError(self.why)


def test_what_the_compiler_refuses_is_as_large_as_it_says():
    said = "RESOURCE_EXHAUSTED: the total memory required for HLO temporaries (1.50G) exceeds available HBM (1.00G)."
    program = footprint(Program("scoring", Refused(said), ()))
    assert (program.scratch, program.text) == (3 << 29, None)
    other = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 18.50G of 15.48G hbm. Exceeded by 3.02G."
    assert footprint(Program("scoring", Refused(other), ())).scratch == 37 << 29
    with pytest.raises(UserError, match=facts("memory", "scoring", "RESOURCE_EXHAUSTED: too large")):
        footprint(Program("scoring", Refused("RESOURCE_EXHAUSTED: too large"), ()))
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        footprint(Program("scoring", Refused("INTERNAL: a bug"), ()))


def printed(plan, **options) -> str:
    stream = io.StringIO()
    print_plan(plan, Console(file=stream, width=140), **{"utilization": 0.5, **options})
    return stream.getvalue()


def test_the_plan_is_printed():
    shown = printed(plan_of_training(**PLANNED), peak=1e9, price=2.0)
    for line in ("bytes per device: parameters", "tokens per step, all members", "exchanges along ens", "device hours"):
        assert line in shown
    assert "6 (steps 0, 1, 2, 4, 8, 10)" in shown
    assert sentence_with(shown, "2", "hour")
    assert "--peak" in printed(plan_of_training(**PLANNED))


def test_truncation_is_logged():
    plan = plan_of_training(memory=1000, **PLANNED)
    assert not plan.fits
    assert sentence_with(printed(plan), "DOES NOT FIT", "--fit")


@pytest.mark.drill
def test_members_that_fit_are_counted():
    config = make_config(tiny_values(**PLANNED))
    ten = make_plan(make_config(tiny_values(seeds=tuple(range(10)), **PLANNED)))
    assert ten.members_per_device == 10
    # A straight line through two small programs: about, and rather too few.
    assert 4 <= members_that_fit(make_plan(config, memory=ten.peak_bytes), None) <= 11
    assert members_that_fit(make_plan(config), None) is None


BIG = {
    "train__row_length": 64,
    "train__batch_size": 32,
    "train__steps_per_call": 2,
    "mesh__mapping": "vmap",
    "model": {"kind": "transformer", "width": 64, "layers": 3, "heads": 2, "mlp": 128},
    **PLANNED,
}


@pytest.mark.drill
def test_fitting_takes_the_first_arrangement_that_is_small_enough():
    config = make_config(tiny_values(**BIG))
    need = make_plan(config).peak_bytes
    lines: list[str] = []
    assert fit_plan(config, None, lines.append, memory=need).config.mesh.mapping == "vmap"
    assert len(lines) == 1
    fitted = fit_plan(config, None, lines.append, memory=int(0.45 * need))
    assert fitted.fits
    assert (fitted.config.mesh.mapping, fitted.peak_bytes < 0.45 * need) == ("map", True)
    assert "--config.mesh.mapping=map" in lines[-1]
    with pytest.raises(UserError, match=facts("fits", "1 x cpu")):
        fit_plan(config, jax.devices()[:1], lines.append, memory=1000)
    with pytest.raises(UserError, match=facts("cpu", "--memory")):
        fit_plan(config, None, lines.append)


def test_what_is_not_known_is_asked_for():
    files = {"corpus": {"source": "text", "paths": ("a",), "valid_paths": ("b",)}}
    with pytest.raises(ConfigError, match=facts("tokenizer.size")):
        make_plan(make_config(tiny_values(**files)))
    with pytest.raises(ConfigError, match=facts("corpus.planned_tokens")):
        make_plan(make_config(tiny_values(tokenizer__size=100, **files)))


def test_text_that_was_prepared_says_its_size(tmp_path):
    words = ["Nobody has ever seen the old house .", "The old dog slept .", "She has a cat ."]
    for name, count in (("train", 40), ("valid", 4)):
        (tmp_path / f"{name}.txt").write_text("\n".join(words * count))
    corpus = {"source": "text", "paths": (str(tmp_path / "train.txt"),), "valid_paths": (str(tmp_path / "valid.txt"),)}
    corpus |= {"unit": "sentence", "removal": "delete"}
    values = {"corpus": corpus, "run_dir": str(tmp_path / "run"), "train__row_length": 16, "train__batch_size": 2}
    config = make_config(tiny_values(**values))
    with pytest.raises(ConfigError, match=r"prepare the text first"):
        text_sizes(config)
    prepare_experiment(config, Console(quiet=True))
    # 8 + 5 + 5 words and the end of each sentence make 21 tokens; deletion takes 9 of them from one variant alone.
    tokens, vocabulary = 40 * (9 + 6 + 6), len({word for text in words for word in text.split()})
    assert text_sizes(config) == (vocabulary_size(config), -(-tokens // 16))
    assert vocabulary <= vocabulary_size(config) <= vocabulary + 4
    # Other text was not prepared there, and the configuration has priority.
    with pytest.raises(ConfigError, match=facts("tokenizer.size")):
        vocabulary_size(make_config(tiny_values(**values, corpus__max_sentences=5)))
    assert vocabulary_size(make_config(tiny_values(**values, tokenizer__size=99))) == 99


def test_programs_are_named_while_they_are_compiled():
    lines: list[str] = []
    plan_training(make_config(tiny_values(**PLANNED)), say=lines.append)
    assert lines[0] == "compiling training"
    assert re.fullmatch(r"training took \d+ s", lines[1])
    progress = Progress(lines.append)
    with progress.compiling("validation"), progress.compiling("scoring x"):
        assert lines[-1] == "compiling validation, scoring x"
    assert lines[-2:] == ["scoring x took 0 s; compiling validation", "validation took 0 s"]


def test_the_grammar_need_not_be_described():
    plan = plan_of_training()
    assert plan.parameters > 300 * 16


def test_operations_are_counted_as_published():
    # PaLM, appendix B: 6 N + 12 L H Q T for a token, N without embeddings.
    config = TransformerConfig(width=256, layers=4, heads=4, mlp=1024, gated=False)
    weights = 4 * (4 * 256**2 + 2 * 256 * 1024) + 256 * 1000
    assert train_flops(config, 1000, 128) == 6 * weights + 12 * 4 * 256 * 128
    lstm = LSTMConfig(650, 650, 2)
    assert forward_flops(lstm, 50_000, 35) == 2 * (2 * 4 * 650 * 1300 + 650 * 50_000)


PROGRAM = """
  %a = f32[4,8]{1,0} all-reduce(%x), channel_id=1, replica_groups={{0,1},{2,3}}, use_global_device_ids=true
  %b = (f32[2]{0}, bf16[3]{0}) all-reduce-start(%x, %y), replica_groups=[2,2]<=[4]
  %c = f32[8]{0} all-gather(%x), replica_groups=[2,2]<=[2,2]T(1,0), dimensions={0}
  %d = f32[8]{0} collective-permute(%x), source_target_pairs={{0,3},{3,0}}
  %e = pred[] all-reduce(%p), replica_groups={}
  %f = f32[4,8]{1,0} all-reduce-done(%b)
  %g = (f32[32]{0}, f32[128]{0}) all-gather-start(%x), replica_groups=[2,2]<=[4], dimensions={0}
"""


def test_exchanges_are_read_with_the_axes_they_run_along():
    mesh = make_mesh(2, 2, n_members=2, devices=jax.devices() * 2)
    assert collectives(PROGRAM, mesh) == [
        Collective("all-reduce", ("data",), 128),
        Collective("all-reduce", ("data",), 8 + 6),
        Collective("all-gather", ("ens",), 32),
        Collective("collective-permute", ("ens", "data"), 32),
        Collective("all-reduce", ("ens", "data"), 1),
        Collective("all-gather", ("data",), 512),
    ]
    with pytest.raises(ValueError, match="replica_groups=@mesh"):
        collectives("%a = f32[4]{0} all-reduce(%x), replica_groups=@mesh", mesh)


def test_a_step_that_lets_members_depend_on_one_another_is_refused(monkeypatch):
    def coupled(text, mesh):
        return [Collective("all-reduce", ("ens",), 4)]

    monkeypatch.setattr("npi_jax.planning.plan.collectives", coupled)
    with pytest.raises(UserError, match=facts("training", "4 bytes", "all-reduce", "ens")):
        plan_of_training(**PLANNED)


def test_gib_is_binary():
    assert np.log2(GIB) == 30
