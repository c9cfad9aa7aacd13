"""Everything side by side in one table and one record: what `./dev bench` runs without a name."""

import argparse
import importlib
import sys

from benchmarks._measure import ContestantError
from benchmarks._report import (
    Check,
    Options,
    Result,
    parse_options,
    print_circumstances,
    print_table,
    record,
    show_checks,
)

MEASUREMENTS = {
    "cpu": (
        "start_up",
        "train_seed_job",
        "train_stream",
        "score_sentences",
        "rescore_nbest",
        "generate_text",
        "prepare_text",
        "train_large_vocabulary",
    ),
    "cuda": (
        "train_seed_epoch",
        "train_awd_stack",
        "train_seed_job",
        "train_stream",
        "train_large_vocabulary",
        "generate_text",
        "score_sentences",
    ),
}


def main() -> None:
    """Print each job's checks as it is done, then one table. Exits with 1 where a check failed.

    The record is written after every job, so that what was measured stays when a later job ends the run.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu-list", action="store_true", help="measure what a GPU run measures, on any device")
    options, out, arguments = parse_options(parser)
    print_circumstances(options)
    results: list[Result] = []
    path = None
    for name in MEASUREMENTS["cuda" if arguments.gpu_list else options.device]:
        results.append(_measure(name, options))
        print(f"{results[-1].job}: {results[-1].description}")
        show_checks(results[-1])
        path = record("speed-gpu" if options.device == "cuda" else "speed", results, options, out)
    print()
    print_table([row for result in results for row in result.rows])
    if options.mxnet_python is None and options.device == "cpu":
        print("\n  MXNet was not measured: name an interpreter that has it with --mxnet-python")
    if path is not None:
        print(f"\n{path}")
    failed = [check.what for result in results for check in result.checks if not check.passed]
    for what in failed:
        print(f"NOT AGREED: {what}", file=sys.stderr)
    sys.exit(1 if failed else 0)


def _measure(name: str, options: Options) -> Result:
    """One measurement; one that cannot be made is a check that failed, and the others go on."""
    try:
        result: Result = importlib.import_module(f"benchmarks.{name}").measure(options)
    except (ContestantError, RuntimeError, OSError) as error:
        return Result(name, f"not measured: {error}", (), (Check(f"{name} could be measured", False, {}),))
    return result


if __name__ == "__main__":
    main()
