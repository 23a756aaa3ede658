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
from facts import sentence_with
from grammars import fault

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
README = LAUNCH / "README.md"
GOLDEN = re.compile(r"```shell #golden\n(?P<commands>.*?)```\n\n```text\n(?P<output>.*?)```", re.DOTALL)
# It refuses what the real tool would: a script that drops a word is found out.
FAKE = """#!{python}
import json, os, sys
sys.path.insert(0, {folder!r})
from grammars import fault
with open(os.environ["RECORD"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
if said := fault([os.path.basename(sys.argv[0]), *sys.argv[1:]]):
    print("ERROR: (" + sys.argv[0] + ") " + said, file=sys.stderr)
    open({refused!r}, "a").write(said + "\\n")
    sys.exit(2)
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
        timeout=60,
    )
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout if status == 0 else result.stderr


@pytest.fixture
def fakes(tmp_path):
    """Stand-ins for the tools of a cloud; gives a function that runs a command and returns what they got."""
    record, refused = tmp_path / "record", tmp_path / "refused"

    def make(**more: str):
        for name in ("gcloud", "xpk", "npi-jax", "git", "sleep"):
            path = tmp_path / name
            more_of = more.get(name.replace("-", "_"), "")
            folder = str(Path(__file__).parent)
            path.write_text(FAKE.format(python=sys.executable, folder=folder, refused=str(refused), more=more_of))
            path.chmod(0o755)

        def run(command: str, status: int = 0) -> list[list[str]]:
            record.unlink(missing_ok=True)
            bash(command, status=status, PATH=f"{tmp_path}:{os.environ['PATH']}", RECORD=str(record))
            assert not refused.exists(), refused.read_text()
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
    for match in GOLDEN.finditer(wanted):
        for line in match["output"].splitlines():
            assert fault(shlex.split(line)) == "", line
    if os.environ.get("UPDATE_GOLDEN"):
        README.write_text(wanted, encoding="utf-8")
    assert README.read_text(encoding="utf-8") == wanted, "UPDATE_GOLDEN=1 pytest tests/launch rewrites it"


TPU = "launch/tpu_vm.sh {} --name npi --zone us-west4-a --type v5litepod-16"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("gcloud compute tpus tpu-vm delete npi --quiet", "--zone="),
        ("gcloud compute tpus tpu-vm delete npi --zone=z absent", "unrecognized"),
        ("gcloud compute tpus tpu-vm ssh npi --zone= --worker=0", "expected one argument"),
        (
            "gcloud compute tpus tpu-vm create npi --zone=z --accelerator-type=t --runtime-version=v",
            "--runtime-version=",
        ),
        ("gcloud compute tpus tpu-vm destroy npi --zone=z", "Invalid choice"),
        ("xpk workload create --cluster=c --workload=w --tpu-type=t --docker-image=i", "--command="),
    ],
)
def test_the_stand_ins_refuse_what_the_tools_refuse(call, said):
    assert said in fault(call.split())


LOCAL = re.compile(r"^\s+local ([^\n;]+)", re.MULTILINE)
GLOBAL = re.compile(r"^([A-Za-z_]\w*)\+?=", re.MULTILINE)


@pytest.mark.parametrize("script", sorted(path.name for path in LAUNCH.glob("*.sh")))
def test_no_local_variable_hides_a_global_one(script):
    """Bash's functions see the locals of their callers: a local `where` once hid the zone from all that was called."""
    text = (LAUNCH / script).read_text(encoding="utf-8") + (LAUNCH / "lib.sh").read_text(encoding="utf-8")
    locals_ = {word.partition("=")[0] for line in LOCAL.findall(text) for word in line.split()}
    assert not locals_ & set(GLOBAL.findall(text))


@pytest.mark.parametrize("queued", ["", " --queued --spot"])
def test_training_names_zone_and_project_in_every_call(fakes, queued):
    calls = fakes(gcloud=PREEMPTED_ONCE)(TPU.format("train") + f" --project p1{queued} -- run --config weber2021")
    asked = [call for call in calls if call[0] == "gcloud"]
    assert len(asked) > 10
    assert all("--zone=us-west4-a" in call and "--project=p1" in call for call in asked)


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


def test_a_cloud_that_never_answers_ends_the_script_and_deletes_nothing(fakes):
    denied = "if 'describe' in sys.argv: print('PERMISSION_DENIED: no access to p1', file=sys.stderr); sys.exit(1)"
    run = fakes(gcloud=denied)
    calls = run(TPU.format("train") + " -- run --config weber2021", status=2)
    assert not any("delete" in call or "create" in call for call in calls)
    assert sum(call[0] == "sleep" for call in calls) == 19


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
        ("launch/tpu_vm.sh", "create, install, run, train or delete"),
        ("launch/tpu_vm.sh create --zone z --type t", "--name is missing"),
        ("launch/tpu_vm.sh go --name n --zone z", "unknown command go"),
        (TPU.format("run"), "arguments of npi-jax after --"),
        ("launch/gpu_node.sh --proceses 2 -- run", "unknown option --proceses"),
        ("launch/gpu_node.sh --processes none -- run", "a whole number above 0"),
        ("launch/gpu_node.sh --processes 3 --gpus 0,1 -- run", "--processes 3 with --gpus 0,1"),
        ("launch/gpu_node.sh --gpus 0,1,0 -- run", "GPU 0 is given twice"),
        ("launch/gpu_node.sh --gpus 0:1 -- run", "numbers separated by commas"),
        ("NPI_PORT=any launch/gpu_node.sh -- run", "NPI_PORT any"),
        (TPU.format("create") + " --poll soon", "--poll soon"),
        ("launch/xpk.sh --cluster c -- run", "--zone is missing"),
        (
            "launch/xpk.sh --cluster c --zone z --project p --name n --type t --image i --slices two -- run",
            "--slices two",
        ),
        ("bash launch/slurm.sbatch --list nosuch", "--list nosuch: there is no such file"),
        ("bash launch/slurm.sbatch --list launch", "--list launch: there is no such file"),
        ("bash launch/slurm.sbatch --lst nosuch", "unknown option --lst"),
        ("NPI_SLURM_SETUP=nosuch bash launch/slurm.sbatch run", "NPI_SLURM_SETUP=nosuch"),
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
    assert sentence_with(bash(dry, status=2, SLURM_ARRAY_TASK_ID="7"), "line 8", "task 7")


def test_a_line_that_cannot_be_read_is_refused(tmp_path):
    experiments = tmp_path / "experiments.txt"
    experiments.write_text("run --config a --config.name=it's\n")
    said = bash(f"bash launch/slurm.sbatch --dry-run --list {experiments}", status=2)
    assert sentence_with(said, "experiments.txt, line 1")


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
