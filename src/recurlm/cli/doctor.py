"""`recurlm doctor`: what this machine offers, and a self-test of a few seconds."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from recurlm.cli.console import CacheDirectoryOption, DataDirectoryOption, JsonOption, print_json
from recurlm.errors import RecurlmError
from recurlm.wording import counted

if TYPE_CHECKING:
    from recurlm.diagnosis import Cache, Diagnosis, SelfTest


def doctor(
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine.

    Prints versions, devices, processor features, fast paths and folders, and runs a self-test of a few seconds.
    """
    from recurlm.diagnosis import diagnose
    from recurlm.text.places import DataPlaces

    report = diagnose(DataPlaces(data_directory, cache_directory))
    if as_json:
        print_json(report.to_json())
    else:
        for name, line in _lines(report):
            print(f"{name:11} {line}")
    failed = [name for name, test in report.self_tests.items() if not test.passed]
    if failed:
        raise RecurlmError(f"the self-test failed on {', '.join(failed)}\nreinstall torch, or keep to another --device")


def _lines(report: "Diagnosis") -> Iterator[tuple[str, str]]:
    """The lines of the report, each with its name."""
    versions, processor = report.versions, report.processor
    for name in ("recurlm", "torch", "numpy"):
        yield name, versions[name]
    yield "Python", f"{versions['python']} on {versions['system']}"
    threads = counted(processor.threads, "thread")
    yield "processor", f"{processor.name}, {threads}, vector code {processor.vector_code}"
    if processor.features:
        yield "features", _yes_and_no(processor.features)
    yield "devices", ", ".join(report.devices)
    yield "fast paths", _yes_and_no(report.fast_paths)
    yield "library", report.native_library
    for job, choices in report.jobs.items():
        for choice, path in choices.items():
            yield job, path if choice == "default" else f"--precision {choice}: {path}"
    yield from _optional(report.extras)
    yield "cache", _cache(report.cache)
    for name, state in report.corpora.items():
        yield "corpus", f"{name}: {state}"
    for device, test in report.self_tests.items():
        yield "self-test", f"{device}: {_verdict(test)}"


def _optional(extras: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    from recurlm.diagnosis import EXTRAS

    for package, version in extras.items():
        yield package, version or f"absent; pip install 'recurlm[{EXTRAS[package]}]' brings it"


def _cache(cache: "Cache") -> str:
    writable = "writable" if cache.writable else "NOT writable; choose another with --cache-dir or RECURLM_CACHE_DIR"
    return f"{cache.folder}, {writable}, {cache.free_bytes / 1e9:,.1f} GB free"


def _yes_and_no(values: dict[str, bool]) -> str:
    return ", ".join(f"{name} {'yes' if value else 'no'}" for name, value in values.items())


def _verdict(test: "SelfTest") -> str:
    if test.error is not None:
        return f"FAILED: {test.error}"
    return (
        f"{'passed' if test.passed else 'FAILED'} in {test.seconds} s; fast LSTM against its equations: "
        f"{_short(test.largest_difference)} apart; loss {_short(test.loss_before)} → {_short(test.loss_after)}"
    )


def _short(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.2g}"
