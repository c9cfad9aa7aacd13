"""`recurlm doctor`: what this machine offers, and a self-test of a few seconds."""

from collections.abc import Iterator
from typing import Any

from recurlm.cli.console import CacheDirectoryOption, DataDirectoryOption, JsonOption, print_json
from recurlm.errors import RecurlmError
from recurlm.wording import counted


def doctor(
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine.

    Versions, devices, processor features, fast paths, folders, and a self-test of a few seconds.
    """
    from recurlm.diagnosis import diagnose
    from recurlm.text.places import DataPlaces

    report = diagnose(DataPlaces(data_directory, cache_directory))
    if as_json:
        print_json(report)
    else:
        for name, line in _lines(report):
            print(f"{name:11} {line}")
    failed = [name for name, result in report["self_test"].items() if not result["passed"]]
    if failed:
        raise RecurlmError(f"the self-test failed on {', '.join(failed)}\nreinstall torch, or keep to another --device")


def _lines(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The report for people: a name and a line each."""
    from recurlm.diagnosis import EXTRAS

    versions, processor, cache = report["versions"], report["processor"], report["cache"]
    for name in ("recurlm", "torch", "numpy"):
        yield name, versions[name]
    yield "Python", f"{versions['python']} on {versions['system']}"
    yield (
        "processor",
        f"{processor['name']}, {counted(processor['threads'], 'thread')}, vector code {processor['vector_code']}",
    )
    if processor["features"]:
        yield "features", _yes_and_no(processor["features"])
    yield "devices", ", ".join(report["devices"])
    yield "fast paths", _yes_and_no(report["fast_paths"])
    yield "library", report["native_library"]
    for job, choices in report["jobs"].items():
        for choice, path in choices.items():
            yield job, path if choice == "default" else f"--precision {choice}: {path}"
    for package, version in report["extras"].items():
        yield package, version or f"absent; pip install 'recurlm[{EXTRAS[package]}]' brings it"
    writable = "writable" if cache["writable"] else "NOT writable; choose another with --cache-dir or RECURLM_CACHE_DIR"
    yield "cache", f"{cache['folder']}, {writable}, {cache['free_bytes'] / 1e9:,.1f} GB free"
    for name, state in report["corpora"].items():
        yield "corpus", f"{name}: {state}"
    for device, result in report["self_test"].items():
        yield "self-test", f"{device}: {_verdict(result)}"


def _yes_and_no(values: dict[str, bool]) -> str:
    return ", ".join(f"{name} {'yes' if value else 'no'}" for name, value in values.items())


def _verdict(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"FAILED: {result['error']}"
    verdict = "passed" if result["passed"] else "FAILED"
    difference, before, after = (result[key] for key in ("largest_difference", "loss_before", "loss_after"))
    return (
        f"{verdict} in {result['seconds']} s; fast LSTM against its equations: {_short(difference)} apart; "
        f"loss {_short(before)} → {_short(after)}"
    )


def _short(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.2g}"
