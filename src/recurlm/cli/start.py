"""The entry point: loads the command line and runs it. Ctrl-C while it loads leaves one plain line."""

from recurlm.cli.interrupts import interrupt_ends


def main() -> None:
    """Run the command line."""
    with interrupt_ends():
        from recurlm.cli.main import main as run
    run()
