"""The launch scripts: what they would run, what they do run, and that the two are the same."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
README = LAUNCH / "README.md"
GOLDEN = re.compile(r"```shell #golden\n(?P<commands>.*?)```\n\n```text\n(?P<output>.*?)```", re.DOTALL)
FAKE = """#!{python}
import json, os, sys
with open(os.environ["RECORD"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
{more}
"""


def bash(command: str, *, status: int = 0, **environ: str) -> str:
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=LAUNCH.parent,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout if status == 0 else result.stderr


@pytest.fixture
def fakes(tmp_path):
    """Stand-ins for the tools of a cloud; gives a function that runs a command and returns what they got."""
    record = tmp_path / "record"

    def make(**more: str):
        for name in ("gcloud", "xpk", "npi-jax", "git", "sleep"):
            path = tmp_path / name
            path.write_text(FAKE.format(python=sys.executable, more=more.get(name.replace("-", "_"), "")))
            path.chmod(0o755)

        def run(command: str, status: int = 0) -> list[list[str]]:
            record.unlink(missing_ok=True)
            bash(command, status=status, PATH=f"{tmp_path}:{os.environ['PATH']}", RECORD=str(record))
            return [json.loads(line) for line in record.read_text().splitlines()]

        return run

    return make


def test_the_readme_shows_what_the_scripts_would_run():
    """UPDATE_GOLDEN=1 writes what they print into the README."""
    text = README.read_text(encoding="utf-8")

    def shown(match: re.Match[str]) -> str:
        output = "".join(bash(command) for command in match["commands"].splitlines())
        return f"```shell #golden\n{match['commands']}```\n\n```text\n{output}```"

    wanted = GOLDEN.sub(shown, text)
    assert len(GOLDEN.findall(text)) >= 5
    if os.environ.get("UPDATE_GOLDEN"):
        README.write_text(wanted, encoding="utf-8")
    assert README.read_text(encoding="utf-8") == wanted, "UPDATE_GOLDEN=1 pytest tests/launch writes it anew"


TPU = "launch/tpu_vm.sh {} --name npi --zone us-west4-a --type v5litepod-16"
ACTIVE = "if 'describe' in sys.argv: print('ACTIVE')"


@pytest.mark.parametrize(
    "command",
    [
        TPU.format("create"),
        TPU.format("create") + " --queued --spot --project p1",
        TPU.format("install") + " --bucket 'my runs'",
        TPU.format("run") + " -- run --config 'my config.py'",
        TPU.format("delete") + " --queued",
        "launch/xpk.sh --cluster c --zone z --project p --name n --type t --image i --spot -- run --config 'a b'",
    ],
)
def test_what_is_printed_is_what_is_run(fakes, command):
    printed = [shlex.split(line) for line in bash(command.replace(" --name", " --dry-run --name", 1)).splitlines()]
    assert in_a_folder(fakes(gcloud=ACTIVE)(command)) == printed


def in_a_folder(calls: list[list[str]]) -> list[list[str]]:
    """What was run, with the folder of the archive, which is new each time, by the name that --dry-run gives it."""
    return [[re.sub(r"/\S*/tmp\.\w+|/tmp/tmp\.\w+", "FOLDER", word) for word in call] for call in calls]


NO_ANSWER = """
state = os.environ["RECORD"] + ".asked"
if "describe" in sys.argv:
    if not os.path.exists(state):
        open(state, "w").close()
        print("connection reset", file=sys.stderr)
        sys.exit(1)
    print("ACTIVE")
"""


def test_a_slice_is_not_given_back_because_nobody_answers(fakes):
    calls = fakes(gcloud=NO_ANSWER)(TPU.format("train") + " --queued -- run --config weber2021")
    said = [" ".join(call) for call in calls]
    assert not any("delete" in call or "create" in call for call in said)
    assert any("npi-jax run" in call for call in said)


def test_arguments_reach_the_workers_as_they_were_given(fakes):
    (call,) = fakes()(TPU.format("run") + " -- run --config 'my config.py' '--config.name=a;b'")
    remote = next(word for word in call if word.startswith("--command=")).removeprefix("--command=")
    assert shlex.split(remote.split("npi-jax ", 1)[1]) == ["run", "--config", "my config.py", "--config.name=a;b"]


PREEMPTED_ONCE = """
state = os.environ["RECORD"] + ".state"
seen = open(state).read() if os.path.exists(state) else ""
def note(what):
    open(state, "a").write(what)
if "describe" in sys.argv:
    if "c" not in seen:
        print("NOT_FOUND: no such resource", file=sys.stderr)
        sys.exit(1)
    print("ACTIVE" if seen.count("c") > seen.count("p") else "SUSPENDED")
elif "create" in sys.argv:
    note("c")
elif any("npi-jax run" in word for word in sys.argv):
    if "p" not in seen:
        note("p")
        sys.exit(255)
"""


def test_a_slice_that_is_taken_away_is_made_anew_and_the_run_goes_on(fakes):
    calls = fakes(gcloud=PREEMPTED_ONCE)(TPU.format("train") + " --queued --spot -- run --config weber2021")
    verbs = [next((v for v in ("create", "delete", "scp", "npi-jax run") if v in " ".join(call)), "") for call in calls]
    assert [verb for verb in verbs if verb] == [
        *("create", "scp", "npi-jax run"),
        *("delete", "create", "scp", "npi-jax run"),
    ]


def test_a_run_that_fails_by_itself_is_not_repeated(fakes):
    failing = ACTIVE + "\nif any('npi-jax run' in word for word in sys.argv): sys.exit(1)"
    calls = fakes(gcloud=failing)(TPU.format("train") + " -- run --config weber2021", status=1)
    assert sum("npi-jax run" in " ".join(call) for call in calls) == 1


def test_failed_queued_resources_are_not_waited_for(fakes):
    calls = fakes(gcloud="if 'describe' in sys.argv: print('FAILED')")(TPU.format("create") + " --queued", status=2)
    assert sum("describe" in call for call in calls) == 1


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("launch/tpu_vm.sh", "which command? create, install, run, train or delete"),
        ("launch/tpu_vm.sh create --zone z --type t", "--name is missing"),
        ("launch/tpu_vm.sh go --name n --zone z", "unknown command go"),
        (TPU.format("run"), "Give its arguments after --"),
        ("launch/gpu_node.sh --proceses 2 -- run", "unknown option --proceses"),
        ("launch/gpu_node.sh --processes none -- run", "a number above 0"),
        ("launch/xpk.sh --cluster c -- run", "--zone is missing"),
        ("bash launch/slurm.sbatch", "give the arguments of npi-jax"),
    ],
)
def test_what_is_missing_is_said(command, message):
    assert message in bash(command, status=2)


@pytest.mark.parametrize("script", ["tpu_vm.sh", "gpu_node.sh", "xpk.sh"])
def test_help_says_how(script):
    said = bash(f"launch/{script} --help")
    assert f"launch/{script}" in said
    assert "--dry-run" in said
    assert not said.startswith("#")


def test_a_job_array_takes_its_line(tmp_path):
    experiments = tmp_path / "experiments.txt"
    experiments.write_text("run --config quickstart\nrun --config 'my config.py' --config.name=$(touch x)\n")
    dry = f"bash launch/slurm.sbatch --dry-run --list {experiments}"
    words = shlex.split(bash(dry, SLURM_ARRAY_TASK_ID="1"))
    assert words[-5:] == ["run", "--config", "my config.py", "--config.name=$(touch", "x)"]
    assert not (LAUNCH.parent / "x").exists()
    assert shlex.split(bash(dry))[-1] == "quickstart"
    assert "has no line 8 for task 7" in bash(dry, status=2, SLURM_ARRAY_TASK_ID="7")


def test_a_line_that_cannot_be_read_is_refused(tmp_path):
    experiments = tmp_path / "experiments.txt"
    experiments.write_text("run --config a --config.name=it's\n")
    said = bash(f"bash launch/slurm.sbatch --dry-run --list {experiments}", status=2)
    assert "experiments.txt, line 1: cannot be read" in said


def test_signals_reach_every_process_of_a_node(fakes, tmp_path):
    """What is asked to stop saves and ends with 42; the script waits for all, and says so too."""
    waits = f"""
import signal, time
def stop(number, frame):
    open(r"{tmp_path}/stopped." + os.environ["NPI_PROCESS_ID"], "w").close()
    sys.exit(42)
signal.signal(signal.SIGTERM, stop)
open(r"{tmp_path}/ready." + os.environ["NPI_PROCESS_ID"], "w").close()
time.sleep(60)
"""
    fakes(npi_jax=waits)
    process = subprocess.Popen(
        [LAUNCH / "gpu_node.sh", "--processes", "2", "--", "run", "--config", "quickstart"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "RECORD": str(tmp_path / "record")},
    )
    # `sleep` is a stand-in in there.
    while process.poll() is None and len(list(tmp_path.glob("ready.*"))) < 2:
        pass
    process.terminate()
    assert process.wait(timeout=30) == 42
    assert len(list(tmp_path.glob("stopped.*"))) == 2


def test_shellcheck_has_nothing_to_say():
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    scripts = sorted(path.name for path in [*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
    result = subprocess.run([shellcheck, "-x", *scripts], cwd=LAUNCH, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_the_pods_are_what_kubernetes_takes():
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    import yaml  # noqa: PLC0415

    jobset = yaml.safe_load((LAUNCH / "jobset.yaml").read_text(encoding="utf-8"))
    assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    (job,) = jobset["spec"]["replicatedJobs"]
    as_job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": job["template"]["spec"]}
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(as_job, version, strict=True)
    pod = as_job["spec"]["template"]["spec"]
    pod["terminationGracePeriodSecondz"] = pod.pop("terminationGracePeriodSeconds")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(as_job, version, strict=True)
