"""Which units of a layer are worth a row of a picture, and in which order."""

from recurlm.inspection.trace import Values


def varied_units(values: Values, count: int) -> list[int]:
    """The `count` columns of values (T, H) that vary most, each followed by the one that it resembles most."""
    chosen = (-values.std(0)).argsort(kind="stable")[:count]
    rest = list(map(int, chosen[1:]))
    order = [int(chosen[0])]
    while rest:
        distances = abs(values[:, rest] - values[:, order[-1:]]).sum(0)
        order.append(rest.pop(int(distances.argmin())))
    return order
