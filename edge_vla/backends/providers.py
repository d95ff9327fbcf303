"""ONNX Runtime's execution providers by name. What was asked for runs all of a graph, or nothing does: there is no falling back."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from edge_vla.errors import ConfigError, EngineError, did_you_mean

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
CPU = "cpu"


def require(name: str) -> str:
    """What ONNX Runtime calls that provider. Raises ConfigError for one that it does not have here, with those it has."""
    if name not in PROVIDERS:
        raise ConfigError(f"engine provider {name!r}: want one of {', '.join(PROVIDERS)}{did_you_mean(name, PROVIDERS)}")
    available = ort.get_available_providers()
    if PROVIDERS[name] not in available:
        has = ", ".join(short for short, long in PROVIDERS.items() if long in available)
        raise ConfigError(
            f"engine provider {name!r}: onnxruntime {ort.__version__} here has {has}; "
            "CUDA and TensorRT come with onnxruntime-gpu (pip install edge-vla[gpu]), on a Jetson with NVIDIA's own wheel"
        )
    return PROVIDERS[name]


def session(path: Path, threads: int, provider: str = CPU) -> ort.InferenceSession:
    """A graph on one provider alone.

    Raises ConfigError for a provider that is not here or that cannot run every node, EngineError for a file that is no graph.
    """
    wanted, options = require(provider), settings(threads)
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        opened = ort.InferenceSession(str(path), options, providers=[wanted])
    except Exception as err:  # onnxruntime raises its own unrelated types, all of them derived from Exception alone
        if provider != CPU:
            raise ConfigError(f"engine provider {provider!r} cannot run all of {path}: {str(err).strip()}") from err
        raise EngineError(f"{path}: {str(err).strip()}") from err
    require_first(opened.get_providers(), provider, path)
    opened.disable_fallback()
    return opened


def require_first(found: list[str], provider: str, path: Path) -> None:
    """Raises ConfigError where a session runs on another provider than was asked: without its libraries one gives way with a warning."""
    if not found or found[0] != PROVIDERS[provider]:
        raise ConfigError(f"engine provider {provider!r}: onnxruntime runs {path} on {', '.join(found) or 'none'}; are its libraries here?")


def settings(threads: int) -> ort.SessionOptions:
    """Threads that wait for each other awake, and sleep as soon as a pass is over: two pools awake would fight over two cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors: they are raised, and say it in one line
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
