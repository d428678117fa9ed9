"""Every legal Hydra command line does the same wherever its words stand; a sweep ends with summary and true status.

The sweeps have jobs that the check refuses, so that none of them starts a worker. They run in this process, each in an
empty folder that must stay empty.
"""

from __future__ import annotations

import itertools
import logging
import re
import shlex
import sys

import pytest
from commands import CONF, EAGER, TINY, composed, joined, left_by_refusals, run
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from bench.runs import job
from bench.runs.command import parse, plain_words
from bench.runs.refusals import explain
from bench.store.outcome import Outcome
from run import Session

ODD = "model.n=7"  # refused by every model's own check, with its name


@pytest.fixture(autouse=True)
def others_logging(monkeypatch):
    """Hydra sets logging up anew and closes all handlers: those of the frameworks, which other tests import into this
    process and no real run.py has, would close pytest's own streams with them.
    """
    logger = logging.getLogger()
    before = (logger.level, list(logger.handlers))
    monkeypatch.setattr(logging, "_handlerList", [])
    monkeypatch.setattr(logging, "_handlers", {})
    yield
    logger.setLevel(before[0])
    logger.handlers[:] = before[1]


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """command(*words) -> status, stdout, stderr; the folder that it ran in is empty afterwards."""
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["run.py"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def command(*words: str) -> tuple[int, str, str]:
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        try:
            status = Session(list(words)).run()
        except SystemExit as end:  # Hydra ends so where it only showed something
            status = end.code or 0
        logging.getLogger().handlers.clear()  # --info speaks through the logger, and would for ever
        said = capsys.readouterr()
        assert "Traceback" not in said.err, said.err
        assert left_by_refusals(folder) == []
        return status, re.sub(r"\n {4,}", " ", said.out), joined(said.err)

    return command


def summary(out: str) -> list[tuple[str, str]]:
    """(status, what stands behind it but the job's number) of each job, from the closing lines of a sweep."""
    lines = out.splitlines()
    heads = [number for number, line in enumerate(lines) if line.split()[:2] == ["status", "run"]]
    assert len(heads) == 1, out
    rows = (line.split(maxsplit=2) for line in lines[heads[0] + 1 :])
    return [(status, rest) for status, _, rest in rows]


def test_a_sweep_is_the_same_wherever_its_words_stand(command):
    words = ["model=s4,dss", ODD, "--multirun"]
    answers = [command(*order) for order in itertools.permutations(words)]
    answers += [command("-m", "--", *words[:2]), command(*words[:2], "--multi"), command("-m", "-m", *words[:2])]
    assert {status for status, _, _ in answers} == {2}
    rows = [summary(out) for _, out, _ in answers]
    assert all(row == rows[0] for row in rows)
    assert [row[1].split()[0] for row in rows[0]] == ["s4", "dss"]


@pytest.mark.parametrize(
    "words",
    [
        ["hydra.mode=MULTIRUN", "model.n=7,9"],
        ["-m", "hydra.mode=RUN", "model.n=7,9"],
        ["-m", "hydra.mode=MULTIRUN", "model.n=7,9"],
        ["-m", "model.n=choice(7,9)"],
        ["-m", "model.n=range(7,11,2)"],
        ["-m", "+hydra.sweeper.params={model.n:'7,9'}"],
        ["-m", "model.n=7,9", "hydra/sweeper=basic", "hydra/launcher=basic"],
        ["-m", "hydra.sweeper.max_batch_size=1", "model.n=7,9"],
        ["-m", "hydra.sweep.subdir=.", "hydra.job.chdir=true", "hydra.run.dir=unused", "model.n=7,9"],
        ["-m", "model.n=7,9", "++model.dropout=0.1", "~experiment"],
        ["-m", "model.n=1,2,3", "model.n=7,9"],  # the later word holds
    ],
)
def test_each_form_of_a_sweep_has_its_jobs_and_its_summary(words, command):
    status, out, err = command(*words)
    assert status == 2
    assert [row[0] for row in summary(out)] == ["refused", "refused"]
    assert all(f"model.n={n}: must be even" in err and f"model.n={n}: must be even" in out for n in (7, 9))


@pytest.mark.parametrize("name", ["~", "a=b", "a,b (c)", "ü", "{x: ${y}}"])
def test_no_folder_of_the_system_s_matters_to_a_sweep(name, command, monkeypatch, tmp_path):
    (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / name))
    monkeypatch.setattr("tempfile.tempdir", None)
    status, out, _ = command("-m", "model.n=7,9")
    assert (status, len(summary(out))) == (2, 2)


def test_a_glob_finds_choices_and_no_parts_of_others(command):
    status, out, _ = command("-m", "model=glob(*)", ODD)
    assert status == 2
    assert [row[1].split()[0] for row in summary(out)] == ["dss", "s4", "s5"]


def test_a_job_that_cannot_be_composed_does_not_stop_the_others(command):
    status, out, err = command("-m", "model=s4,nonsense,_network,null,dss", ODD)
    assert status == 2
    rows = summary(out)
    assert [row[0] for row in rows] == ["refused"] * 5
    assert "model=nonsense: is not a choice; choose one of dss, s4, s5" in rows[1][1]
    assert "model.name: is missing" in rows[2][1]
    assert "model=null: is not a choice" in rows[3][1]
    assert rows[4][1].startswith("dss")
    assert len(err.splitlines()) == 5


def test_a_setting_that_only_some_jobs_have_is_refused_in_the_others_alone(command):
    status, out, _ = command("-m", "model=s4,dss", "model.variant=softmax", ODD)
    assert status == 2
    first, second = summary(out)
    assert "model.variant is not a setting" in first[1]
    assert "dss" in second[1]
    assert ODD in second[1]


def test_a_job_that_stumbles_over_a_mistake_of_ours_does_not_end_the_sweep(monkeypatch, tmp_path, capsys):
    def stumbling(config):
        if config["seed"] == 1:
            raise KeyError("ours")
        return Outcome("2/3 s4", "ok", None, None)

    monkeypatch.setattr(job, "_launched", stumbling)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.chdir(tmp_path)
    assert Session(["seed=0,1,2", "-m"]).run() == 1
    said = capsys.readouterr()
    assert [row[0] for row in summary(re.sub(r"\n {4,}", " ", said.out))] == ["ok", "failed", "ok"]
    assert "KeyError: 'ours'" in said.out
    assert "Traceback" in said.err  # whoever mends it needs to see where


@pytest.mark.parametrize(
    "words, message",
    [
        (["-m", "model=glob(zz*)"], "model=glob(zz*): gives no value"),
        (["-m", "seed=range(3,1)"], "seed=range(3,1): gives no value"),
        (["-m", "seed=range(1,1000000000000)"], "more than 100000 jobs"),
        (["-m", "seed=range(0,1000)", "model.n=range(0,1000)"], "more than 100000 jobs"),
        (["-m", "seed=interval(0,1)"], "seed=interval(0,1): has no single values"),
        (["-m", "hydra.run.dir=a,b"], "Sweeping over Hydra's configuration is not supported"),
        (["-m", "hydra.sweeper._target_=other.Sweeper", "seed=1,2"], "leave it at hydra/sweeper=basic"),
        (["-m", "hydra.launcher=null", "seed=1,2"], "hydra"),
        (["-m", "hydra/launcher=joblib", "seed=1,2"], "hydra/launcher/joblib"),
        (["-m", "--info"], "Only one of"),
        (["--resolve"], "--resolve"),
        (["--seed=1"], "--seed=1: is not an option; settings have no dashes: seed=1"),
        (["--mutlirun", "seed=1,2"], "did you mean --multirun?"),
        (["--cfg", "jobs"], "invalid choice: 'jobs'"),
        (["--cfg"], "--cfg/-c"),
        (["--config-name=nope"], "--config-name=nope: there is no such configuration"),
        (["--config-name=model/s4"], "--config-name=model/s4: lacks"),
        (["-m", "--config-name=model/s4"], "--config-name=model/s4: lacks"),
        (["--config-dir=nope"], "--config-dir=nope: is no folder"),
        (["-sc", "query=bash"], "--shell-completion"),
        (["hydra.run.dir=/dev/null/x"], "hydra.run.dir=/dev/null/x: cannot be made"),
        (["hydra.mode=foo"], "Invalid value 'foo'"),
        (["hydra.job.env_copy=[NOPE_NOPE]"], "NOPE_NOPE"),
        (["hydra=null"], "Hydra cannot compose"),
        (["model=null"], "model=null: is not a choice; choose one of dss, s4, s5"),
        (["model=1"], "model=1: is not a choice"),
        (["model={a:1}"], "model={a:1}: is not a choice"),
        (["seed=${nope}"], "Interpolation key 'nope' not found"),
        (["s4"], "s4: is neither an option nor a setting; write it as setting=value"),
        (["~model"], "model=None: is missing; choose one of dss, s4, s5"),
        (["model=_network"], "model.name: is missing"),
        (["model.name=null"], "model.name=None: is not a choice of conf/model"),
        (["dataset.name=[a]"], "dataset.name=['a']: is not a choice of conf/dataset"),
        (["task=null"], "task=null: is not a choice"),
        (["+model.depth=1"], "model.depth=1: is not a setting"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(words, message, command):
    status, out, err = command(*words)
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert out == ""


def test_a_job_that_is_not_there_to_be_run_again_is_refused(command):
    with pytest.warns(UserWarning, match="Experimental rerun"):
        status, _, err = command("seed=1", "--experimental-rerun", "nope")
    assert status == 2
    assert "--experimental-rerun=nope: File nope does not exist!" in err


@pytest.mark.parametrize("option", [["--cfg", "job"], ["-c", "job"], ["--cfg=job"]])
def test_the_configuration_is_shown_wherever_the_words_stand(option, command):
    answers = {command("model=s5", *option), command(*option, "model=s5"), command(*option, "--", "model=s5")}
    ((status, out, err),) = answers
    assert (status, err) == (0, "")
    assert "c_init: trunc_standard_normal" in out


def test_of_a_sweep_every_job_s_configuration_is_shown(command):
    for words in (["--multirun", "--cfg", "job"], ["--cfg", "job", "-m"]):
        status, out, _ = command(*words)
        assert status == 0
        assert "seed: 0" in out
    status, out, _ = command("model=s5,nonsense,dss", "--cfg", "job", "-p", "model", "-m")
    assert status == 2
    documents = out[: out.index("status ")].split("---\n")
    assert [document.splitlines()[0] for document in documents] == ["# model=s5", "# model=nonsense", "# model=dss"]
    assert "blocks: 1" in documents[0]
    assert "variant: exp" in documents[2]


def test_hydra_s_own_answers(command):
    assert command("--version")[1].startswith("Hydra 1.3")
    assert "== Flags ==" in command("--hydra-help")[1]
    assert "examples" in command("--hel")[1]
    for words in (["--info", "defaults", "model=s5"], ["model=s5", "-i", "defaults"]):
        assert "model/s5" in command(*words)[1]
    assert "Defaults List" in command("--info", "model=s5")[1]  # an option's own value is optional
    assert command("--cfg", "job", "--package", "nope")[0] == 1
    assert "hydra_bash_completion" in command("-sc", "install=bash")[1]
    assert "dir: ." in command("--cfg", "hydra", "--resolve")[1]


def test_another_folder_s_choices_and_primary_configuration(command, tmp_path):
    added = tmp_path / "more ü"
    (added / "model").mkdir(parents=True)
    (added / "model" / "mine.yaml").write_text("defaults: [s4, _self_]\nn: 7\n", encoding="utf-8")
    (added / "other.yaml").write_text(
        "defaults: [config, _self_]\nseed: 5\nhydra: {mode: MULTIRUN}\n", encoding="utf-8"
    )
    words = ["model=mine", "--config-dir", str(added)]
    for order in (words, [*words[1:], words[0]]):
        status, _, err = command(*order)
        assert status == 2
        assert "model.n=7: must be even" in err
    assert "seed: 5" in command(*words, "--config-name=other", "--cfg=job")[1]
    status, out, _ = command(*words, "--config-name", "other", "seed=1,2")  # the mode stands in its file
    assert (status, len(summary(out))) == (2, 2)


def test_a_folder_that_the_user_asks_for_is_made_and_holds_the_results_of_a_change_of_folder(tmp_path):
    words = [*TINY, *EAGER, "certificate=require", "hydra.job.chdir=true"]
    assert run(*words, "hydra.run.dir=x", cwd=tmp_path).returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    done = run(*words, "seed=1,2", "-m", "hydra.sweep.dir=y", "hydra.sweep.subdir=${seed}", cwd=tmp_path)
    assert done.returncode == 2
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("y/*")) == ["y/1", "y/2"]
    assert len(summary(done.stdout)) == 2


def test_the_words_are_handed_to_hydra_s_own_parser_unchanged():
    words = ["model=s4", "--cfg", "job", "-p", "model", "~task.steps", "--resolve", "--", "results_dir='-m'"]
    args = parse(words)
    assert vars(parse(plain_words(args))) == vars(args)
    assert args.overrides == ["model=s4", "~task.steps", "results_dir='-m'"]
    assert (args.cfg, args.package, args.resolve, args.multirun) == ("job", "model", True, False)


@pytest.mark.parametrize(
    "value",
    [
        "a=b",
        "ü",
        "(v1)",
        "a b=c",
        "it's=1",
        'say "x"=1',
        "back\\slash=",
        "end=\\",
        "both'\"=",
        "{",
        "[a",
        "a=$HOME",
        "#1",
    ],
)
def test_a_value_that_cannot_be_read_comes_with_the_words_that_can(value):
    """The line that is suggested goes through a shell's splitting and Hydra's parser, and gives the value."""
    word = f"results_dir={value}"
    try:
        OverridesParser.create().parse_overrides([word])
    except OverrideParseException as error:
        message = explain(error, CONF, [word])
    else:
        assert composed(word)["results_dir"] == value
        return
    assert "\n" not in message
    assert message.startswith(f"{word}: ")
    suggested = shlex.split(message.partition("quote it: ")[2])
    assert len(suggested) == 1
    assert composed(*suggested)["results_dir"] == value


def test_the_real_command_ends_with_the_same(tmp_path):
    """Once as a process: the signals, the exit status and the streams are those of the command."""
    done = run("model=s4,nonsense", ODD, "-m", cwd=tmp_path)
    assert done.returncode == 2
    assert [row[0] for row in summary(done.stdout)] == ["refused", "refused"]
    assert left_by_refusals(tmp_path) == []
