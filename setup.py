"""The only package metadata: JetPack 6 ships setuptools 59, which does not read `[project]` in pyproject.toml.

Every runtime dependency has an aarch64 wheel for Python 3.10 and later; CONTRIBUTING.md has the command that proves it.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "edge_vla" / "__init__.py").read_text("utf-8"), re.MULTILINE)
if VERSION is None:
    raise SystemExit('edge_vla/__init__.py: no line __version__ = "..."')

ONNXRUNTIME = "onnxruntime>=1.19"  # 1.19: the first built for numpy 2; 1.23 is the last for Python 3.10

setup(
    name="edge_vla",
    version=VERSION.group(1),
    description="A goal in words and a camera go in, safe wheel commands come out, on a Jetson.",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["edge_vla", "edge_vla.*"]),
    package_data={"edge_vla": ["py.typed", "sim/firmware/ev1/*.h", "sim/firmware/ev1/*.cpp", "sim/firmware/ev1/*.ino"]},
    python_requires=">=3.10",
    install_requires=[
        "numpy>=1.26",  # 1.26: what NVIDIA's wheels for JetPack 6 are built for
        "opencv-python-headless>=4.9",
        "tokenizers>=0.20",
        "pillow>=10",  # its resampling is what models learned from; OpenCV's numbers differ
        "pyserial>=3.5",
        "pydantic>=2.7",
        "rich>=13.7",
        'tomli>=2.0; python_version < "3.11"',
    ],
    extras_require={
        # One engine extra, never two: onnxruntime and onnxruntime-gpu overwrite each other's files.
        "cpu": [ONNXRUNTIME],
        "gpu": ["onnxruntime-gpu>=1.19"],  # x86; a Jetson takes NVIDIA's own wheel
        # TensorRT comes with JetPack: 6 has CUDA 12 and Python 3.10, 7 has CUDA 13 and Python 3.12. cuda.bindings is there from 12.6.2 on.
        "jetson": [
            "jetson-stats>=4.2.8",
            'cuda-python>=12.6.2,<13; python_version < "3.12"',
            'cuda-python>=13; python_version >= "3.12"',
        ],
        "sim": ["mujoco>=3.2.1"],  # 3.17 is the last for Python 3.10
        "learn": ["torch==2.13.0", "transformers>=5.20", "safetensors>=0.5", "peft>=0.18", "pyyaml>=6"],
        "export": ["onnx>=1.18", "onnxscript>=0.5", ONNXRUNTIME],
        "test": ["pytest>=9.0", "pytest-randomly>=3.16", "pytest-xdist>=3.6", "hypothesis>=6.115", "coverage>=7.6"],
        "dev": ["ruff>=0.14", "mypy>=1.18", "supervision>=0.31"],
        "proof": ["cosmic-ray>=8.4", 'atheris>=3.0; python_version >= "3.11"'],  # `make mutants`, `make fuzz`
    },
    classifiers=[
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Operating System :: POSIX :: Linux",
        "Typing :: Typed",
    ],
)
