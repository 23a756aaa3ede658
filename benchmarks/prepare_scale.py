"""Speed and memory of preparing text.

    NPI_JAX_DATA=/path/to/data python benchmarks/prepare_scale.py --megabytes 1000 --processes 2

Repeats the training documents of ``$NPI_JAX_DATA/corpus`` up to the requested size. Prepares the text in a new process
(annotation, vocabulary, tokens, the rows of three variants) with an empty cache, and again with everything cached.
Prints megabytes of text per minute and core for each stage, and the peak memory of a process: its resident set, and
its resident set without pages of files, which the system can reclaim.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_CHILD = """
import json, sys, threading, time
from pathlib import Path

from npi_jax.config.build import make_config
from npi_jax.preparation.prepare import prepare

def memory():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon")]

peaks, stages, done = [0.0, 0.0], [], threading.Event()

def watch():
    while not done.wait(0.05):
        peaks[:] = map(max, zip(peaks, memory()))

thread = threading.Thread(target=watch)
thread.start()
began = {}

def track(items, what):
    start = time.perf_counter()
    yield from items
    stages.append((what, time.perf_counter() - start))

start = time.perf_counter()
prepared = prepare(make_config(json.loads(sys.argv[1])), lambda _: None, track)
seconds = time.perf_counter() - start
done.set()
thread.join()
table = prepared.table.select("variant", "sentences", "tokens", "slots_changed", "slots_unmatched").rows()
print(json.dumps({"seconds": seconds, "peaks": peaks, "stages": stages, "table": table}))
"""


def repeated_text(source: Path, folder: Path, megabytes: int) -> tuple[Path, float]:
    """Write a file of the requested size; return it with its size in megabytes."""
    texts = [path.read_bytes() for path in sorted(source.rglob("*.txt"))]
    path = folder / "train.txt"
    size = 0
    with path.open("wb") as file:
        while size < megabytes * 1e6:
            for text in texts:
                size += file.write(text + b"\n")
                if size >= megabytes * 1e6:
                    break
    return path, size / 1e6


def values(train: Path, valid: Path, processes: int) -> dict:
    return {
        "name": "scale",
        "variants": ["full", "no_npi", "random(no_npi)"],
        "corpus": {
            "source": "text",
            "paths": [str(train)],
            "valid_paths": [str(valid)],
            "unit": "sentence",
            "processes": processes,
        },
        "tokenizer": {"kind": "word", "size": 50_000},
        "train": {"row_length": 64, "batch_size": 32},
        "score": {"suites": {"grammar": {"limit": 1}}},
        "gradients": {"enabled": False},
    }


def run(config: dict, cache: Path) -> dict:
    environment = os.environ | {"NPI_JAX_CACHE": str(cache), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", _CHILD, json.dumps(config)]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", help="folder of the text and the cache (default: a temporary folder)")
    arguments = parser.parse_args()
    source = Path(os.environ["NPI_JAX_DATA"]) / "corpus"
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        train, size = repeated_text(source, folder, arguments.megabytes)
        valid = folder / "valid.txt"
        valid.write_text("\n".join(train.open(encoding="utf-8").readline().strip() for _ in range(1)) * 3 + "\n")
        config = values(train, valid, arguments.processes)
        for which in ("empty cache", "all cached"):
            start = time.perf_counter()
            found = run(config, folder / "cache")
            print(f"{which}: {time.perf_counter() - start:.0f} s for {size:.0f} MB, {arguments.processes} processes")
            print(f"  all stages: {60 * size / found['seconds'] / arguments.processes:.0f} MB a minute and core")
            for what, seconds in found["stages"]:
                print(f"  {what}: {seconds:.0f} s, {60 * size / max(seconds, 1e-3):.0f} MB a minute")
            print(
                f"  memory of the main process: {found['peaks'][0]:.0f} MiB, {found['peaks'][1]:.0f} MiB without files"
            )
        for row in found["table"]:
            print(" ", *row)


if __name__ == "__main__":
    main()
