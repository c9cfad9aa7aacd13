"""The Python interface. docs/python.md lists its names; `import recurlm` hands them out when they are asked for."""
