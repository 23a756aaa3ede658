import pytest
from facts import facts

from npi_jax.training.devices.startup import Launch, StartError, detect_launch

SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "node[01-02]",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}


def test_a_process_of_its_own_is_alone():
    assert detect_launch({}) == Launch("alone", 1, 0)
    assert detect_launch({"NPI_COORDINATOR": "a:1", "NPI_NUM_PROCESSES": "1", "NPI_PROCESS_ID": "0"}) == Launch()


def test_our_own_variables_say_it_all():
    own = {"NPI_COORDINATOR": "node1:29400", "NPI_NUM_PROCESSES": "4", "NPI_PROCESS_ID": "2"}
    assert detect_launch(own) == Launch("NPI", 4, 2, "node1:29400", 1)
    assert detect_launch(own | {"NPI_LOCAL_PROCESSES": "2"}).on_this_host == 2
    assert detect_launch(own | {"NPI_COORDINATOR": "127.0.0.1:29400"}).on_this_host == 4
    # They go before whatever else is there: a job within a job.
    assert detect_launch(own | SLURM).how == "NPI"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"NPI_PROCESS_ID": ""}, ("NPI_COORDINATOR, NPI_NUM_PROCESSES", "not NPI_PROCESS_ID")),
        ({"NPI_COORDINATOR": "node1"}, ("NPI_COORDINATOR='node1'", "host and port")),
        ({"NPI_COORDINATOR": "node1:http"}, ("NPI_COORDINATOR='node1:http'", "host and port")),
        ({"NPI_PROCESS_ID": "4"}, ("NPI_PROCESS_ID", "0 to 3")),
        ({"NPI_PROCESS_ID": "-1"}, ("NPI_PROCESS_ID='-1'", "whole number")),
        ({"NPI_NUM_PROCESSES": "four"}, ("NPI_NUM_PROCESSES='four'", "whole number")),
        ({"NPI_NUM_PROCESSES": "0"}, ("NPI_NUM_PROCESSES=0", "at least 1")),
    ],
)
def test_what_is_wrong_with_them_is_named(changes, message):
    own = {"NPI_COORDINATOR": "node1:29400", "NPI_NUM_PROCESSES": "4", "NPI_PROCESS_ID": "2"}
    with pytest.raises(StartError, match=facts(message)):
        detect_launch(own | changes)


def test_slurm_tasks_are_counted():
    assert detect_launch(SLURM) == Launch("Slurm", 4, 3, None, 2)
    assert detect_launch(SLURM | {"SLURM_NTASKS": "1"}) == Launch()


def test_a_task_that_sees_its_own_gpu_alone_takes_that():
    assert detect_launch(SLURM | {"CUDA_VISIBLE_DEVICES": "1"}).local_devices == (0,)
    assert detect_launch(SLURM | {"CUDA_VISIBLE_DEVICES": "0,1"}).local_devices is None
    told = SLURM | {"CUDA_VISIBLE_DEVICES": "1", "JAX_LOCAL_DEVICE_IDS": "0"}
    assert detect_launch(told).local_devices is None


def test_a_slurm_job_without_srun_is_refused():
    job = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "2"}
    with pytest.raises(StartError, match=facts("srun npi-jax")):
        detect_launch(job)


def test_open_mpi_is_seen():
    environ = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    assert detect_launch(environ) == Launch("Open MPI", 2, 1, None, 2)


def test_mpirun_within_a_slurm_job_is_open_mpi():
    assert detect_launch(SLURM | {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}).how == "Open MPI"


def test_pods_of_tpu_slices_are_counted():
    pod = {"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_WORKER_ID": "2"}
    assert detect_launch(pod) == Launch("GKE", 4, 2)
    assert detect_launch(pod | {"MEGASCALE_NUM_SLICES": "2", "MEGASCALE_SLICE_ID": "1"}) == Launch("GKE", 8, 6)
    assert detect_launch({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}) == Launch()


def test_on_a_tpu_vm_jax_asks_the_machine():
    assert detect_launch({}, is_tpu_vm=True) == Launch("TPU VM", None, None)
    assert detect_launch({"TPU_SKIP_MDS_QUERY": "1"}, is_tpu_vm=True) == Launch()
