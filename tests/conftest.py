"""What all tests share: compiled programs, and no deadline for compiling them."""

import gc
import os
import tempfile

import hypothesis
import pytest

from tests import faults

# The first example of a property compiles; its time says nothing. New examples are for those who
# can look at what they find: CI takes the same ones each time.
hypothesis.settings.register_profile("compiled", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("compiled")


# Tracing makes millions of small objects that live on. Looking through all of them as often as
# Python does by default takes 7% of the time.
gc.set_threshold(200_000, 50, 50)

# Most of the time of a short test goes into compiling what runs once.
HARDLY_OPTIMISED = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Keeps what one test compiles for the others, of all workers and of runs of run.py.

    JAX reads the variables when it is imported; workers and processes inherit them. The folder
    is one of this session, unless the environment names one to be kept. Slow tests run what users
    run, the others hardly optimised programs, unless the environment says how to compile.
    """
    if config.option.markexpr == "not slow":
        os.environ.setdefault("XLA_FLAGS", HARDLY_OPTIMISED)
    os.environ.setdefault("JAX_TRACEBACK_FILTERING", "off")  # 5% of the time of tracing
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = tempfile.TemporaryDirectory(prefix="compiled-")
    config.add_cleanup(folder.cleanup)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_addoption(parser):
    """`--faults` writes the table of docs/reliability.md, of what the tests of faults came to."""
    parser.addoption("--faults", action="store_true", help="write docs/reliability.md anew")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    report.user_properties += faults.properties(item)
    return report


def pytest_terminal_summary(terminalreporter, config):
    if config.option.faults and not hasattr(config, "workerinput"):
        terminalreporter.write_line(faults.write_page(terminalreporter.stats))
