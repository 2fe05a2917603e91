"""Packages, extras and console commands. Versions for a repeatable install: constraints/, one list a Python."""

from setuptools import find_packages, setup

PACKAGES = ("storage", "features", "simulate", "preprocess", "input_fn", "model_fn", "trainer", "serving", "daily")
BASE = [
    "tensorflow>=2.15.1,<2.22",
    # The pure-Python half of Estimator, which model_fn/estimator.py makes importable on every TensorFlow.
    "tensorflow-estimator>=2.15,<2.16",
    # No longer a dependency of tensorflow 2.21.
    "tensorboard>=2.15,<3",
    "tensorflow-serving-api>=2.15.1,<2.22",
    # 7 dropped an argument that TensorFlow's graph_io passes.
    "protobuf>=4.25,<7",
    "numpy>=1.26,<2.5",
    "absl-py>=2,<3",
    "apache-beam>=2.69,<3",
    "pyarrow>=17,<26",
    "PyYAML>=6,<7",
    "fsspec>=2024.12,<2027",
    "pyfarmhash>=0.4,<1",
    "google-crc32c>=1.5,<2",
    "zlib-ng>=1,<2",
    "matplotlib>=3.8,<4",
    "tqdm>=4.66,<5",
]
EXTRAS = {
    # CUDA libraries for the same tensorflow wheel, which holds the GPU kernels already.
    "gpu": ["tensorflow[and-cuda]>=2.15.1,<2.22"],
    # s3://. Endpoint, region and credentials: AWS's own environment variables and files.
    "aws": ["s3fs>=2024.12,<2027"],
    # hdfs://, by WebHDFS: the name node's web port must be open. No Java, no Hadoop on this side.
    "hadoop": ["requests>=2.31,<3"],
    # gs:// and Dataflow. Credentials: Google's application default ones.
    "gcp": ["apache-beam[gcp]", "gcsfs>=2024.12,<2027"],
    # --task_type=tune: the search for settings.
    "tune": ["optuna>=4,<5"],
    "dask": ["apache-beam[dask]"],
    "serving": [
        "aiohttp>=3.10,<4",
        "orjson>=3.10,<4",
        "pysimdjson>=7,<8",
        "urllib3>=2.2,<3",
        "grpcio>=1.60,<2",
    ],
    "test": [
        "pytest>=8,<10",
        "pytest-xdist>=3.5,<4",
        "hypothesis>=6.100,<7",
        "ruff>=0.6,<1",
        "mypy>=1.11,<3",
        "types-PyYAML>=6,<7",
        "pip-audit>=2.7,<3",
    ],
    # An S3 server for make test-stores.
    "stores": ["moto[s3]>=5,<6", "flask>=3,<4", "flask-cors>=5,<7"],
    # Other systems that benchmarks/ measures this one against, side by side.
    "bench": ["polars>=1,<3", "psutil>=5.9,<8"],
}

setup(
    name="entire-space",
    version="0.2.0",
    description="Entire-space conversion models (ESMM, ESCM2) from raw impression logs to a served model",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=[f"{name}{rest}" for name in PACKAGES for rest in ("", ".*")]),
    package_data={
        "features": ["schemas/*.yaml"],
        "serving": ["*.config", "*.txt", "*.yaml", "*.json"],
        "serving.local_server": ["*.html"],
    },
    scripts=["get_remap_fid.sh"],
    install_requires=BASE,
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "entire-space-simulate = simulate.__main__:main",
            "entire-space-preprocess = preprocess.__main__:main",
            "entire-space-train = trainer.__main__:main",
            "entire-space-serve = serving.__main__:main",
            "entire-space-predict = serving.predict:main",
            "entire-space-daily = daily.__main__:main",
            "entire-space-check = serving.check:main",
            "entire-space-skew = serving.skew:main",
        ]
    },
)
