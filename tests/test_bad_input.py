"""What the user gets wrong is answered before any long work: the name, the value, the rule and the fix."""

from __future__ import annotations

import errno
import os

import pytest
from commands import CONF, EAGER, TINY, composed, described, run

from bench.framework import FRAMEWORKS, Framework
from bench.runs import check as checks
from bench.runs.check import check
from bench.runs.refusals import explain
from datasets import registry
from settings.problem import Problem

# words of the command -> what the message must hold
REFUSED = {
    "task.batch_size=0": ["task.batch_size=0", "at least 1"],
    "task.batch_size=many": ["task.batch_size='many'", "whole number"],
    "task.batch_size=2.5": ["task.batch_size=2.5", "whole number"],
    "task.batch_size=1295": ["task.batch_size=1295", "1294 training sequences", "1294 or less"],
    "task.epochs=-1": ["task.epochs=-1"],
    "task.steps=0": ["task.steps=0"],
    "task.length=0": ["task.length=0"],
    "task.patience=0": ["task.patience=0"],
    "task.optimiser.rate=-1": ["task.optimiser.rate=-1", "[0, inf]"],
    "task.optimiser.beta1=1": ["task.optimiser.beta1=1", "[0, 1)"],
    "task.clip_norm=0": ["task.clip_norm=0"],
    "task.schedule.name=cosin": ["task.schedule.name='cosin'", "did you mean cosine?"],
    "task.schedule.warmup=2": ["task.schedule.warmup=2", "[0, 1)"],
    "+task.batchsize=4": ["task.batchsize=4", "did you mean task.batch_size?"],
    "+sed=4": ["sed=4", "did you mean seed?"],
    "~task.batch_size": ["task.batch_size: is missing"],
    "task=time task.phases=[train_stp]": ["task.phases='train_stp'", "did you mean train_step?"],
    "task=time task.phases=[]": ["task.phases=[]"],
    "task=time task.phases=[forward,forward]": ["task.phases", "each once"],
    "task=time task.budget_seconds=0": ["task.budget_seconds=0"],
    "task=time task.warmup=-1": ["task.warmup=-1"],
    "task.optimiser.groups=3": ["task.optimiser.groups=3", "must be a list"],
    "task.optimiser.groups=[{names:[blocks.*],rate:1}]": ["task.optimiser.groups[0]", "names, rate and weight_decay"],
    "task.optimiser.groups=[{names:[],rate:1,weight_decay:0}]": ["task.optimiser.groups[0].names=[]"],
    "task.optimiser.groups=[{names:[blocks.*],rate:-1,weight_decay:0}]": ["task.optimiser.groups[0].rate=-1"],
    "task.optimiser.groups=[{names:[decoder.wieght],rate:0,weight_decay:0}]": [
        *("task.optimiser.groups[0].names='decoder.wieght'", "is the name of no parameter of s4"),
        "did you mean decoder.weight?",
    ],
    "resume=maybe": ["resume='maybe'", "true, false or auto"],
    "task.optimiser.accumulate=3": ["task.optimiser.accumulate=3", "task.batch_size=32", "set a divisor"],
    "task.limit_seconds=0": ["task.limit_seconds=0"],
    "task.keep=0": ["task.keep=0"],
    "task.stop_at_chance=1": ["task.stop_at_chance=1"],
    "seed=-1": ["seed=-1", "at least 0"],
    "precision=fp16": ["precision='fp16'", "fp32"],
    "precision=tf32 hardware=cpu": ["precision='tf32'", "hardware=cpu", "set precision=fp32"],
    "threads=0": ["threads=0"],
    "threads=100000": ["threads=100000", "logical cores"],
    "certificate=always": ["certificate='always'", "auto"],
    "wandb.mode=ofline": ["wandb.mode='ofline'", "did you mean offline?"],
    "wandb.tags=a": ["wandb.tags='a'", "list"],
    "results_dir=": ["results_dir=''"],
    "framework.compile=fast": ["framework.compile='fast'", "default, none"],
    "framework=jax framework.compile=none": ["framework.compile='none'", "choose one of default"],
    "model.n=7": ["model.n=7", "even"],
    "model=s5 model.n=20 model.blocks=3": ["20", "3", "blocks"],
    "model.pooling=avg_100": ["model.pooling='avg_100'", "64 steps"],
    "model.pooling=min_2": ["model.pooling='min_2'"],
    "model.norm=group": ["model.norm='group'"],
    "model.dropout=1.0": ["model.dropout=1.0"],
    "model.dt_min=0.5": ["dt_min=0.5", "dt_max"],
    "+model.depth=3": ["depth=3", "not a setting"],
    "model.readout=none": ["model.readout='none'", "one target"],
    "model.encoder=embedding": ["model.encoder='embedding'", "set model.encoder=auto"],
    "dataset.validation_fraction=1.5": ["validation_fraction=1.5"],
}
# what Hydra itself refuses while it composes
UNKNOWN = {
    "model=s6": ["model=s6", "dss, s4, s5"],
    "framework=tensorflow": ["framework=tensorflow", "jax, torch"],
    "experiment=demoo": ["experiment=demoo", "did you mean experiment=demo?"],
    "task.batchsize=2": ["task.batchsize=2", "did you mean task.batch_size?"],
    "model.batch_size=2": ["model.batch_size=2", "did you mean task.batch_size?"],
    "modle=s4": ["modle=s4", "did you mean model?"],
    "model=s4 model.blocks=2": ["model.blocks=2", "is not a setting"],
    "model.n=63,64": ["model.n=63,64", "-m"],
}


@pytest.mark.parametrize("words", list(REFUSED))
def test_refused_by_the_check_with_name_value_and_rule(words, tmp_path):
    given = words.split()
    if not words.startswith("results_dir"):
        given.append(f"results_dir={tmp_path}")
    config = composed(*given)
    with pytest.raises(ValueError, match=r".") as refusal:
        check(config)
    missing = [part for part in REFUSED[words] if part not in str(refusal.value)]
    assert not missing, str(refusal.value)


@pytest.mark.parametrize("words", list(UNKNOWN))
def test_hydra_s_refusals_are_put_in_our_words(words):
    from hydra.errors import HydraException

    with pytest.raises(HydraException) as refusal:
        composed(*words.split())
    message = explain(refusal.value, CONF, words.split())
    assert "\n" not in message
    missing = [part for part in UNKNOWN[words] if part not in message]
    assert not missing, message


def test_a_gpu_that_is_not_there_is_refused_never_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "has_nvidia_gpu", lambda: False)
    with pytest.raises(ValueError, match=r"hardware='gpu': there is no NVIDIA GPU.*set hardware=cpu"):
        check(composed("hardware=gpu", f"results_dir={tmp_path}"))


def test_a_hidden_gpu_is_not_there(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not checks.has_nvidia_gpu()


def test_a_framework_that_is_not_installed_is_refused(monkeypatch, tmp_path):
    config = composed(f"results_dir={tmp_path}")
    monkeypatch.setitem(FRAMEWORKS, "torch", Framework(("torch", "no-such-package"), {"none": "eager"}))
    with pytest.raises(ValueError, match=r"framework='torch': needs no-such-package"):
        check(config)


def test_tokens_ask_for_an_embedding():
    model = composed()["model"]
    tokens = Problem(16, classes=3, vocabulary=50)
    with pytest.raises(ValueError, match=r"model\.encoder='linear': the data holds tokens"):
        checks.model_options({**model, "encoder": "linear"}, tokens)
    for encoder in ("auto", "embedding"):
        options = checks.model_options({**model, "encoder": encoder}, tokens)
        assert (options.d_input, options.encoder) == (50, "embedding")


def test_padded_sequences_are_not_repeated(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "prepare", described)
    words = ["dataset=imdb", "dataset.length=64", f"results_dir={tmp_path}"]
    with pytest.raises(ValueError, match=r"task\.length=65: the data has sequences of up to 64 tokens"):
        check(composed(*words, "task.length=65"))
    assert check(composed(*words, "task.length=32")).problem.length == 32


def test_a_results_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"results folder .*is a file"):
        check(composed(f"results_dir={tmp_path}/file/results"))


def test_a_full_disk_is_refused_before_the_run(monkeypatch, tmp_path):
    def full(descriptor, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ValueError, match="full"):
        check(composed(f"results_dir={tmp_path}"))


def test_missing_data_files_are_refused_before_the_run(tmp_path):
    """A file where the data folder should be: nothing can be found or fetched there."""
    (tmp_path / "data").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="data"):
        check(composed("dataset=smnist", f"data_dir={tmp_path}/data", f"results_dir={tmp_path}/results"))


def test_the_command_answers_in_one_line_without_a_traceback(tmp_path):
    for words, part in ((["model=s6"], "dss, s4, s5"), (["model.n=7"], "even")):
        done = run(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert part in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert done.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] in ([], ["results"])


def test_debug_shows_the_traceback(tmp_path):
    done = run("model.n=7", "debug=true", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_require_without_a_certificate_is_refused(tmp_path):
    done = run(*TINY, *EAGER, "certificate=require", cwd=tmp_path)
    assert done.returncode == 2
    assert "certificate='require'" in done.stderr
    assert "task=parity" in done.stderr


def test_one_bad_job_of_a_sweep_does_not_stop_the_others(tmp_path):
    """Two bad jobs, so that no worker has to start: both are answered, and both stand in the closing lines."""
    done = run("-m", "model.n=7,9", cwd=tmp_path)
    assert done.returncode == 2
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["status", "refused", "refused"]
    assert "model.n=7" in done.stderr
    assert "model.n=9" in done.stderr
