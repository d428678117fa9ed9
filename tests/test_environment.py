"""The shell's variables: which reach a worker, which are refused, and what records, hashes and W&B hold of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import jax
import pytest
from commands import EAGER, TINY, composed, left_by_refusals, run, tiny_run
from test_parity import PARTS
from test_table import record as table_record

from bench.measure.variables import OURS, REFUSED, kind, refuse, stated
from bench.runs import job
from bench.runs import run as runs
from bench.store import records
from bench.store.certificate import certificate_key
from bench.views.cells import cells
from bench.workers.environment import environment
from bench.workers.lines import decode, encode
from bench.workers.protocol import PROTOCOL, Greeting

KINDS = {
    "refused": "JAX_DISABLE_JIT TORCHDYNAMO_DISABLE TORCH_COMPILE_DISABLE PYTORCH_JIT TRITON_INTERPRET",
    "ours": "OMP_NUM_THREADS MKL_NUM_THREADS OMP_DYNAMIC JAX_PLATFORMS JAX_ENABLE_X64 TORCHINDUCTOR_CACHE_DIR",
    "cleared": "PYTHONHASHSEED NVIDIA_TF32_OVERRIDE TORCH_ALLOW_TF32_CUBLAS_OVERRIDE OMP_THREAD_LIMIT "
    "JAX_PLATFORM_NAME JAX_DEFAULT_MATMUL_PRECISION JAX_RANDOM_SEED_OFFSET JAX_ENABLE_COMPILATION_CACHE "
    "TORCHINDUCTOR_FX_GRAPH_CACHE TRITON_CACHE_DIR",
    "passed": "PATH HOME TMPDIR LANG LC_ALL http_proxy HTTPS_PROXY no_proxy SSL_CERT_FILE REQUESTS_CA_BUNDLE "
    "LD_LIBRARY_PATH CUDA_VISIBLE_DEVICES CUDA_HOME CUDA_PATH CUDA_VERSION CUDNN_PATH HIP_VISIBLE_DEVICES "
    "SLURM_JOB_ID SLURM_CPUS_PER_TASK RAY_ADDRESS NCCL_DEBUG PMIX_RANK KUBERNETES_SERVICE_HOST WANDB_API_KEY "
    "HF_TOKEN AWS_SECRET_ACCESS_KEY CUDA_LICENSE_KEY JAX_API_KEY NVIDIA_API_KEY "
    "NVIDIA_VISIBLE_DEVICES TF_VAR_password TF_TOKEN_app_terraform_io "
    "TF_CLI_CONFIG_FILE TORCH_HOME TORCH_HUB_TOKEN PYTORCH_DB_PASSWORD TORCHELASTIC_RUN_ID MASTER_ADDR PYTHONPATH "
    "PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE PYTHONIOENCODING PYTHON_VERSION TERM VIRTUAL_ENV MAKEFLAGS",
    "recorded": "GLIBC_TUNABLES LD_PRELOAD LD_BIND_NOW DYLD_INSERT_LIBRARIES MALLOC_ARENA_MAX MALLOC_CONF "
    "TCMALLOC_RELEASE_RATE OMP_WAIT_POLICY OMP_PLACES GOMP_SPINCOUNT KMP_BLOCKTIME KMP_AFFINITY MKL_CBWR MKL_DYNAMIC "
    "OPENBLAS_CORETYPE NVPL_BLAS_DEBUG_CPU_TYPE DNNL_MAX_CPU_ISA ONEDNN_MAX_CPU_ISA ATEN_CPU_CAPABILITY "
    "NPY_DISABLE_CPU_FEATURES XLA_FLAGS XLA_PYTHON_CLIENT_MEM_FRACTION JAX_DEBUG_NANS JAX_THREEFRY_PARTITIONABLE "
    "JAX_LEGACY_PRNG_KEY JAX_OF_NEXT_YEAR TF_DUMP_GRAPH_PREFIX TF_XLA_FLAGS TF_CPP_VMODULE "
    "TORCH_LOGS TORCHINDUCTOR_MAX_AUTOTUNE TORCHINDUCTOR_OF_NEXT_YEAR "
    "TORCHDYNAMO_VERBOSE PYTORCH_CUDA_ALLOC_CONF TRITON_PTXAS_PATH CUDA_LAUNCH_BLOCKING CUDA_MODULE_LOADING "
    "CUDA_INJECTION64_PATH CUDA_MPS_ACTIVE_THREAD_PERCENTAGE CUBLAS_WORKSPACE_CONFIG CUDNN_LOGLEVEL_DBG "
    "PYTHONOPTIMIZE PYTHONMALLOC PYTHONDEVMODE PYTHONTRACEMALLOC PYTHONPROFILEIMPORTTIME PYTHON_JIT PYTHON_GIL "
    "PYTHON_CPU_COUNT COVERAGE_PROCESS_START LRU_CACHE_CAPACITY FLAX_PROFILE CXX",
}
TABLE = [(name, answer) for answer, names in KINDS.items() for name in names.split()]
SECRETS = {"AWS_SECRET_ACCESS_KEY": "secret-4711", "SLURM_JWT": "secret-4712", "TORCH_HUB_TOKEN": "secret-4713",
           "SOME_ADDRESS": "https://me:secret-4714@host", "JAX_ADDRESS": "https://me:secret-4715@host"}  # fmt: skip


@pytest.mark.parametrize("name, answer", TABLE)
def test_what_becomes_of_a_variable(name, answer):
    assert kind(name) == answer


def read_by_the_frameworks() -> set[str]:
    """The variables that PyTorch's modules of settings read, and one for each setting of JAX."""
    folder = Path(str(distribution("torch").locate_file("torch")))
    pattern = r"(?:environ(?:\.get)?|getenv|env_name_\w+)\s*[(\[=]\s*[\[]?\s*\"([A-Z_0-9]+)\""
    modules = ("_inductor", "_dynamo", "_functorch", "compiler", "fx/experimental")
    files = [path for module in modules for path in (folder / module).glob("*config.py")]
    assert len(files) >= 5
    found = {name for path in files for name in re.findall(pattern, path.read_text(encoding="utf-8"))}
    assert len(found) > 150
    return found | {name.upper() for name in jax.config._value_holders}


def test_every_variable_that_the_frameworks_settings_come_from_is_in_the_table():
    places = {"CI", "PATH", "LD_LIBRARY_PATH", "CONDA_PREFIX", "MAST_HPC_JOB_NAME", "ROLE_RANK"}
    places |= {name for name in read_by_the_frameworks() if name.endswith("_VISIBLE_DEVICES")}
    assert {name for name in read_by_the_frameworks() - places if kind(name) == "passed"} == set()


@pytest.mark.parametrize("name", sorted({*REFUSED, "XLA_FLAGS"}))
def test_what_switches_a_compiler_off_is_refused_by_name_value_and_fix_and_off_again_is_harmless(name):
    on, off = ("1", "True", "YES", "on"), ("0", "false", "No", "OFF", "")
    if name == "PYTORCH_JIT":
        on, off = ("0", "false", "no", "0v"), ("1", "true", "")
    if name == "XLA_FLAGS":
        on = ("--a=1 --xla_disable_all_hlo_passes --b", "--xla_backend_optimization_level=0")
        off = ("--xla_disable_all_hlo_passes=False", "--xla_backend_optimization_level=3", "--xla_cpu_use_x=true", "")
    for value in on:
        with pytest.raises(ValueError, match="unset") as caught:
            refuse({"HOME": "/h", name: value})
        assert f"{name}={value}" in str(caught.value)
    for value in off:
        refuse({"HOME": "/h", name: value})
        if name != "XLA_FLAGS":
            assert name not in environment(1, "cpu", "fp32", {name: value})
            assert stated({name: value}) == {"values": {}, "dropped": [name], "names": []}


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("cache", [None, "kept"])
def test_a_worker_gets_no_other_value_than_the_table_says(device, cache):
    shell = {name: "given" for name, _ in TABLE} | dict.fromkeys(REFUSED, "0")
    variables = environment(2, device, "fp64", shell, cache)
    plain = environment(2, device, "fp64", {}, cache)
    by_default = {"GLIBC_TUNABLES", "TF_CPP_MIN_LOG_LEVEL"} | ({"CUDA_VISIBLE_DEVICES"} if device == "cpu" else set())
    assert plain.keys() - by_default <= set(OURS)  # the table is whole: what is set stands in it
    for name in shell:
        passes = kind(name) in ("passed", "recorded") and (name != "CUDA_VISIBLE_DEVICES" or device == "gpu")
        assert variables.get(name) == ("given" if passes else plain.get(name)), name


def test_a_family_s_empty_variable_says_nothing():
    assert "XLA_FLAGS" not in environment(1, "cpu", "fp32", {"XLA_FLAGS": ""})
    assert stated({"XLA_FLAGS": "", "HOME": ""}) == {"values": {}, "dropped": ["XLA_FLAGS"], "names": ["HOME"]}


def test_a_record_holds_values_of_families_and_names_of_all_others():
    shell = {name: "given" for name, _ in TABLE}
    section = stated(shell)
    assert section["values"] == dict.fromkeys(sorted(KINDS["recorded"].split()), "given")
    assert set(section["names"]) == set(KINDS["passed"].split())
    assert set(section["dropped"]) == shell.keys() - section["values"].keys() - set(section["names"])


def test_no_secret_and_no_broken_text_stands_in_a_record(tmp_path):
    section = stated({**SECRETS, "OMP_ODD": "a\udcffb", "ODD\udcff": "x"})
    record = records.new_record(tiny_run(tmp_path).config, environment=section)
    text = records.write_record(record, tmp_path).read_text(encoding="utf-8")
    assert "secret-47" not in text
    assert section["values"] == {"OMP_ODD": "a\\udcffb", "JAX_ADDRESS": "(hidden: an address with a password)"}
    assert {*SECRETS} - {"JAX_ADDRESS"} < set(section["names"])


def variant(**variables: str) -> dict:
    """A finished timing of one configuration under these variables of the shell."""
    record = table_record("torch") | {"environment": stated(variables)}
    return record | {"config_hash": records.config_hash(record["config"], record["environment"]["values"])}


@pytest.mark.parametrize(
    "variables, same",
    [
        ({"OMP_WAIT_POLICY": "active"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, False),
        ({"PYTHONOPTIMIZE": "1"}, False),
        ({"OMP_NUM_THREADS": "9", "PYTHONHASHSEED": "3", "JAX_DISABLE_JIT": "0", "SLURM_JOB_ID": "7"}, True),
    ],
)
def test_records_compare_where_what_can_change_a_figure_agrees(tmp_path, variables, same):
    plain, other = variant(), variant(**variables)
    config = composed(*TINY, *EAGER)
    fresh = records.new_record(config, environment=stated(variables))
    assert (records.new_record(config, environment=stated({}))["config_hash"] == fresh["config_hash"]) is same
    # resume
    records.write_record(plain, tmp_path)
    assert (records.find_done(tmp_path, other) is not None) is same
    # tables
    frame = cells([plain, other], "time")
    rows = frame[frame["measure"] == "train_step"]
    told = [f"{name}={value}" for name, value in other["environment"]["values"].items()]
    assert sorted(rows["settings"]) == ([""] if same else sorted(["", *told]))
    # certificates
    keys = {certificate_key(**PARTS), certificate_key(**PARTS, variables=other["environment"]["values"])}
    assert len(keys) == (1 if same else 2)


def test_a_record_from_before_the_environment_was_said_is_read_and_counts_as_without(tmp_path):
    path = records.write_record(table_record("torch"), tmp_path)
    old = json.loads(path.read_text())
    del old["environment"]
    path.write_text(json.dumps(old))
    read = records.read_record(path)
    assert read["environment"] is None
    assert records.find_done(tmp_path, variant()) == path
    assert records.find_done(tmp_path, variant(OMP_WAIT_POLICY="active")) is None
    assert len(cells([read, variant()], "time").query("measure == 'train_step'")) == 1


LISTENER = """
import json, os, sys
print({greeting!r}, flush=True)
line = sys.stdin.readline()
with open(f"{folder}/{{os.getpid()}}", "w") as file:
    json.dump([dict(os.environ), line], file)
"""


def test_both_sides_of_a_certificate_and_its_run_get_and_state_the_same_variables(tmp_path, monkeypatch):
    """The workers of a whole run, which end once they have been told what to build."""
    given = {"OMP_WAIT_POLICY": "active", "JAX_DEBUG_NANS": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}
    for name, value in {**given, **SECRETS, "PYTHONHASHSEED": "3"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "seen").mkdir()
    script = LISTENER.format(greeting=encode(Greeting(PROTOCOL, "/tree")), folder=str(tmp_path / "seen"))
    monkeypatch.setattr(runs, "worker_command", lambda tree: [sys.executable, "-c", script])
    outcome = job.job(composed(*TINY, *EAGER, f"results_dir={tmp_path / 'results'}"))
    seen = [json.loads(path.read_text()) for path in (tmp_path / "seen").iterdir()]
    assert len(seen) == 3
    for variables, line in seen:
        assert variables.items() >= given.items()
        assert "PYTHONHASHSEED" not in variables
        assert "secret-47" not in line
    requests = [decode(line).body for _, line in seen]
    (said,) = (request.record["environment"] for request in requests if request.record is not None)
    assert said["values"].items() >= given.items()
    assert "PYTHONHASHSEED" in said["dropped"]
    assert outcome.record["environment"] == said


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_run_whose_compiler_is_switched_off_is_refused_before_any_work(tmp_path, monkeypatch, sweep):
    monkeypatch.setenv("JAX_DISABLE_JIT", "1")
    done = run(*sweep, *TINY, "framework=jax", "task=time", cwd=tmp_path)
    assert done.returncode == 2
    assert "JAX_DISABLE_JIT=1" in done.stderr
    assert "unset JAX_DISABLE_JIT" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_by_refusals(tmp_path) == []


def test_no_file_of_a_tracked_run_holds_a_secret(tmp_path, monkeypatch):
    for name, value in {**SECRETS, "OMP_WAIT_POLICY": "passive", "WANDB_API_KEY": 40 * "8"}.items():
        monkeypatch.setenv(name, value)
    words = ["task.steps=1", "task.batch_size=64", "threads=1", "certificate=skip", "wandb.mode=offline"]
    done = run(*TINY, *EAGER, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    for path in files:
        content = path.read_bytes()
        assert b"secret-47" not in content, path
        assert 40 * b"8" not in content, path
    (record,), _ = records.read_records(tmp_path / "results")
    assert record["environment"]["values"]["OMP_WAIT_POLICY"] == "passive"
    assert "AWS_SECRET_ACCESS_KEY" in record["environment"]["names"]


def test_the_interpreter_of_these_tests_is_told_by_the_table():
    """Python's own variables, as `python --help-env` lists them: none is unknown."""
    listed = subprocess.run([sys.executable, "--help-env"], capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^(PYTHON\w+)", listed, flags=re.MULTILINE))
    assert {"PYTHONHASHSEED", "PYTHONMALLOC"} < names
    harmless = {"PYTHONSTARTUP", "PYTHONPATH", "PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONCASEOK", "PYTHONUTF8"}
    harmless |= {"PYTHONIOENCODING", "PYTHONFAULTHANDLER", "PYTHONCOERCECLOCALE", "PYTHONBREAKPOINT", "PYTHONSAFEPATH"}
    harmless |= {"PYTHONUNBUFFERED", "PYTHONINSPECT", "PYTHONDONTWRITEBYTECODE", "PYTHONNOUSERSITE", "PYTHONUSERBASE"}
    harmless |= {"PYTHONWARNINGS", "PYTHONPYCACHEPREFIX", "PYTHONEXECUTABLE", "PYTHON_HISTORY", "PYTHON_BASIC_REPL"}
    harmless |= {"PYTHON_COLORS"}
    assert {name for name in names if kind(name) == "passed"} <= harmless
