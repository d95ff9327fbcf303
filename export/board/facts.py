"""What a report says of the machine it was made on: board, software, power, and what the doctor has against it."""

from __future__ import annotations

import tensorrt as trt

from edge_vla.backends.cuda import found_gpu
from edge_vla.bench.conditions import machine_of, power_mode
from edge_vla.bench.versions import versions
from edge_vla.doctor.checks import examine
from edge_vla.doctor.finding import Level
from edge_vla.doctor.host import this_host
from edge_vla.machine.board import read_board
from edge_vla.machine.power import read_clocks, read_heat
from edge_vla.machine.tree import Tree


def facts(tree: Tree) -> dict[str, str]:
    """By name. Raises EngineError without a GPU."""
    board, gpu, clocks, heat, known = read_board(tree), found_gpu(), read_clocks(tree), read_heat(tree), versions()
    machine = machine_of(board)
    complaints = [
        f"{name}: {finding.text}"
        for name, finding in examine(this_host("engines/default", None, tree.root))
        if finding.level is not Level.OK
    ]
    return {
        "board": f"{machine.board}, {machine.memory_gib:g} GiB",
        "system": f"{machine.jetson}; {known.kernel}; Python {known.python}",
        "TensorRT": f"{trt.__version__}, from {trt.__file__}",
        "GPU": f"SM {gpu.sm}, {'memory shared with the CPU' if gpu.integrated else 'memory of its own'}, CUDA {gpu.cuda}",
        "power mode": power_mode(tree, board),
        "clocks": f"CPU {clocks.cpu_mhz} MHz, GPU {clocks.gpu_mhz} MHz, {'locked' if clocks.locked else 'free'}",
        "heat": "no zone answers" if heat is None else f"{heat.zone} {heat.celsius:g} °C",
        "edge_vla": f"{known.edge_vla}, commit {known.commit}",
        "packages": ", ".join(f"{name} {version}" for name, version in known.packages.items()),
        "doctor": "; ".join(complaints) or "nothing to say",
    }
