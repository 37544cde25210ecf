"""From times to figures: medians, ratios round by round, and their spread."""

import statistics

from bench import ways

BASE = "f3skeys"


def whole(told):
    """The times of a way that succeeded."""
    return [one for one in told if "failed" not in one]


def spread(values):
    """Median, and the quartiles around it."""
    if not values:
        return None
    quarters = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": statistics.median(values), "low": quarters[0], "high": quarters[2], "rounds": len(values)}


def ratios(ours, theirs, part):
    """Ours over theirs, in every round in which both did it: a busy host slows both down alike."""
    return [part(a) / part(b) for a, b in zip(ours, theirs) if "failed" not in a and "failed" not in b]


def loaded(one):
    """Until all keys were loaded."""
    return one["loaded"]


def mounted(one):
    """Until all was mounted."""
    return one["mounted"]


def one_way(case, told, way):
    """What there is to say of one way of a case."""
    good = whole(told[way])
    figures = {"loaded": spread([loaded(one) for one in good]), "mounted": spread([mounted(one) for one in good]),
               "failed": [one["failed"] for one in told[way] if "failed" in one]}
    if way != BASE:
        figures["f3skeys_beside_it"] = {"loaded": spread(ratios(told[BASE], told[way], loaded)),
                                        "mounted": spread(ratios(told[BASE], told[way], mounted))}
    else:
        figures["kernel_part"] = spread([ways.kernel_part(case, one) for one in good])
        figures["parts"] = parts(good)
    if "floor" in told and way not in (BASE, "floor"):
        figures["floor_beside_it"] = {"loaded": spread(ratios(told["floor"], told[way], loaded)),
                                      "mounted": spread(ratios(told["floor"], told[way], mounted))}
    if way == "floor":
        figures["kernel_part_beside_it"] = spread(
            [ways.kernel_part(case, a) / mounted(b) for a, b in zip(told[BASE], told[way])
             if "failed" not in a and "failed" not in b])
    return figures


def parts(good):
    """The median of each part of f3skeys' passes, in milliseconds."""
    names = dict.fromkeys((verb, name) for one in good for verb, name, _ in one["phases"])
    return {" ".join(key): statistics.median(millis for one in good for verb, name, millis in one["phases"]
                                             if (verb, name) == key) for key in names}


def of(race, raced):
    """All cases of a race that were run."""
    told = {}
    for case in raced:
        told[case.name] = {"what": case.what, "roots": len(case.roots), "file_systems": len(case.datasets()),
                           "ways": {way: one_way(case, race.told[case.name], way) for way in case.ways}}
    return told


def beside_alone(race):
    """How much f3skeys costs with the unrelated datasets beside it, over without, round by round."""
    if not {"beside", "alone"} <= race.told.keys():
        return None
    both = (race.told["beside"][BASE], race.told["alone"][BASE])
    return spread(ratios(*both, mounted)) if all(both) else None


def shown(figure, unit=" s"):
    """For people."""
    if figure is None:
        return "–"
    return f"{figure['median']:.2f}{unit} ({figure['low']:.2f}–{figure['high']:.2f})"
