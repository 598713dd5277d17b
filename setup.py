"""Package metadata; tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# The shipped policies stand in a top-level folder (people edit them there) and travel in the
# package as data, so that an installed psup finds them without the repository.
setup(
    name="pipeline-supervisor",
    version="0.1.0",
    description="Supervise the segments of an ML pipeline as isolated Ray actors, Erlang style.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["supervisor", "supervisor.*"]), "supervisor.policies"],
    package_dir={"supervisor.policies": "policies"},
    package_data={"supervisor": ["py.typed"], "supervisor.policies": ["*.yaml"]},
    install_requires=[
        "click>=8.3.1",
        "psutil>=6",
        "PyYAML>=6",
        "ray>=2.60,<2.61",
        "sqlite-utils>=4.2,<5",
        "tenacity>=9",
    ],
    extras_require={
        "digits": ["scikit-learn>=1.5"],
        "dev": [
            "hypothesis>=6.100",
            "jsonschema>=4.20",
            "mypy>=1.13",
            "pytest>=8",
            "pytest-timeout>=2.3",
            "ruff>=0.8",
            "types-PyYAML",
            "types-psutil",
        ],
    },
    entry_points={"console_scripts": ["psup = supervisor.cli.main:main"]},
)
