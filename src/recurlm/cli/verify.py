"""`recurlm verify`: a run folder read back and held to its digests."""

from typing import TYPE_CHECKING

from recurlm.cli.console import CacheDirectoryOption, DataDirectoryOption, JsonOption, RunArgument, print_json

if TYPE_CHECKING:
    from recurlm.runs.verification import Finding


def verify(
    run: RunArgument,
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    json: JsonOption = False,
) -> None:
    """Read a run folder back and name what is damaged.

    Every file is held to its SHA-256 and to its form; so are the checkpoints, and the texts that the run learned from
    where they are still there. Exit code 4 where something is damaged. Nothing is changed, and the network is not
    used.
    """
    from recurlm.errors import CorruptFileError
    from recurlm.runs.folder import RunFolder
    from recurlm.runs.verification import verify as verify_run
    from recurlm.text.places import DataPlaces

    result = verify_run(RunFolder(run), DataPlaces(data_directory, cache_directory))
    if json:
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
