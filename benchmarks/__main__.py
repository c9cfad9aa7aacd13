"""`python -m benchmarks NAME [ARGUMENTS]`; without a name everything is measured, `--help` lists the names."""

import importlib
import pkgutil
import sys

import benchmarks


def main() -> None:
    """Run the module that is named, with the rest of the command line as its own."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name[0] != "_")
    given = sys.argv[1] if len(sys.argv) > 1 else ""
    if given[:1] != "-":
        given = given.replace("-", "_")
    if given in ("-h", "--help") or (given not in names and given[:1] not in ("", "-")):
        print("usage: ./dev bench [NAME] [ARGUMENTS]      ./dev bench NAME --help\n")
        for name in names:
            summary = (importlib.import_module(f"benchmarks.{name}").__doc__ or "").splitlines()[0]
            print(f"  {name:<24} {summary}")
        sys.exit(0 if given[:1] == "-" else 2)
    name = given if given in names else "all"
    sys.argv = [f"benchmarks {name}", *sys.argv[2 if given in names else 1 :]]
    importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
