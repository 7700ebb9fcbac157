"""What several test files need: one thread, and processes of a group."""

import subprocess
import sys

import pytest
import torch

# several test processes on few cores would spend their time waiting for each other's threads
torch.set_num_threads(1)

_BEGIN = """
import os
import sys
import time
from pathlib import Path
import torch
from torch import distributed
rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
group = distributed.group.WORLD
"""
# A rank leaves when all have their result, by files and without tearing the group down: as long as one still talks, no
# other may be gone, and gloo's threads can abort a process that ends while they run.
_END = """
torch.save(found, folder / f"{rank}.part")
(folder / f"{rank}.part").rename(folder / f"{rank}.pt")
while not all((folder / f"{other}.pt").exists() for other in range(ranks)):
    time.sleep(0.01)
os._exit(0)
"""


@pytest.fixture
def run_ranks(tmp_path):
    """Run a script as the ranks of one gloo group: it knows `rank`, `ranks`, `folder`, `group`, and sets `found`."""

    def run(script, *arguments, ranks=2):
        command = [sys.executable, "-W", "ignore", "-c", _BEGIN + script + _END]
        processes = [
            subprocess.Popen([*command, str(rank), str(ranks), str(tmp_path), *arguments]) for rank in range(ranks)
        ]
        try:
            statuses = [process.wait(timeout=120) for process in processes]
        finally:
            for process in processes:
                process.kill()
        assert statuses == [0] * ranks
        return [torch.load(tmp_path / f"{rank}.pt") for rank in range(ranks)]

    return run
