"""`recurlm verify`: a run folder read back and held to its digests."""

from typing import TYPE_CHECKING

from recurlm.cli.console import CacheDirectoryOption, DataDirectoryOption, JsonOption, RunArgument, print_json

if TYPE_CHECKING:
    from recurlm.runs.verification import Finding


def verify(
    run: RunArgument,
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a run folder back and name what is damaged.

    Checks the SHA-256 and the form of every file, of the checkpoints, and of the texts that the run learned from, if
    they still exist. Exits with code 4 if something is damaged. Changes nothing and does not use the network.
    """
    from recurlm.errors import CorruptFileError
    from recurlm.runs.folder import RunFolder
    from recurlm.runs.verification import verify as verify_run
    from recurlm.text.places import DataPlaces

    result = verify_run(RunFolder(run), DataPlaces(data_directory, cache_directory))
    if as_json:
        print_json(result.to_json())
    else:
        for finding in result.findings:
            _print(finding)
    if result.damaged:
        raise CorruptFileError(f"{run}: {len(result.damaged)} of {len(result.findings)} findings are damage")


def _print(finding: "Finding") -> None:
    print(f"{finding.state:<9}  {finding.name}")
    for line in (*finding.problem.splitlines(), *finding.advice.splitlines()):
        print(f"{'':<9}    {line}")
