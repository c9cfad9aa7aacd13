"""`python -m benchmarks NAME [ARGUMENTS]`, or a list of what can be measured."""

import importlib
import pkgutil
import sys

import benchmarks


def main() -> None:
    """Run the module that is named, with the rest of the command line as its own."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_")
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print("usage: ./dev bench NAME [ARGUMENTS]\n")
        for name in names:
            summary = (importlib.import_module(f"benchmarks.{name}").__doc__ or "").splitlines()[0]
            print(f"  {name:<20} {summary}")
        sys.exit(2 if len(sys.argv) > 1 else 0)
    module = importlib.import_module(f"benchmarks.{sys.argv[1]}")
    sys.argv[:2] = [f"benchmarks {sys.argv[1]}"]
    module.main()


if __name__ == "__main__":
    main()
