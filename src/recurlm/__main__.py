"""`python -m recurlm`: the command line, also for `torchrun -m recurlm`."""

from recurlm.cli.start import main

main()
