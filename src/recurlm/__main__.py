"""`python -m recurlm`: the command line, also for `torchrun -m recurlm`."""

from recurlm.cli.main import main

main()
