"""Tables VII and VIII, and Figure 7: the weights of both unlabelled terms, and the parameters of the match, each turned alone."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from pydantic import Field, ValidationError

from echolib import published
from echolib.config.profile import Profile
from echolib.config.specs import RunSpec
from echolib.errors import ConfigError
from echolib.ledger.ledger import Ledger
from echolib.pages.experiment import Experiment, Options, SeedOptions
from echolib.papers.css.measuring import EF, Entry, Order, answered, compared, ef_tables, headings, judged_on, left_out
from echolib.papers.css.runs import multi_input, segmenter, student
from echolib.papers.css.table1 import with_css

WEIGHTS, UNLABELLED = "css_table7_css_weight", "css_table8_unlabeled_weight"
#: What the paper chose.
CHOSEN = {"w_css": 0.01, "w_ulb": 5, "s": 3, "c": 2, "tau": 10}
#: Values of Figure 7 by parameter, and the option of the recipe that each sets.
GRID = {"s": (2, 3, 4, 5), "c": (1, 2, 3, 4, 5), "tau": (1, 5, 10, 50, 100)}
OPTIONS = {"w_css": "weight", "s": "length", "c": "offset", "tau": "temperature"}
#: Points of MAE by which another value may differ and be "stable", as the text says of s from 3 and of c: 4.90 to 4.96.
STABLE = 0.06


class ParameterOptions(SeedOptions):
    """Values of the match's parameters beside those that the paper chose."""

    lengths: tuple[Annotated[int, Field(ge=1, le=8)], ...] | None = Field(
        None, description="a list of different lengths s of a phase, from 1 to 8 frames")
    offsets: tuple[Annotated[int, Field(ge=0, le=8)], ...] | None = Field(
        None, description="a list of different offsets c, from 0 to 8 frames")
    temperatures: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(
        None, description="a list of different temperatures, above 0")

    def applied(self, profile: Profile) -> Profile:
        """The profile with other values. ConfigError for a phase or an offset that its clip has no room for."""
        profile = with_css(super().applied(profile), lengths=self.lengths, offsets=self.offsets, temperatures=self.temperatures)
        for name, values in (("s", self.lengths), ("c", self.offsets)):
            for value in values or ():
                _segmenter(profile, 0, name, value)
        return profile


def of(name: str, value: float) -> str:
    """The group of a parameter's value."""
    return f"{name} = {value:g}"


def _segmenter(profile: Profile, seed: int, name: str, value: float) -> RunSpec:
    """CSS with one parameter turned. ConfigError if its phases have no room in the profile's clip."""
    changed = {} if value == CHOSEN[name] else {OPTIONS[name]: value}
    try:
        return segmenter(profile, "CSS", profile.css.base, seed, **changed)
    except ValidationError as error:
        raise ConfigError(f"css_parameters: {of(name, value)} does not fit the cyclical clip of profile {profile.name!r}: "
                          f"{error.errors()[0]['ctx']['error']}") from None


def weight_groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    """One seed's f_m and f_e by weight of the cyclical term."""
    if profile.css is None:
        return {}
    out = {}
    for value in sorted({CHOSEN["w_css"], *profile.css.css_weights}, reverse=True):
        teacher = multi_input(profile, _segmenter(profile, seed, "w_css", value), profile.css.base, seed)
        out[f"f_m, {of('w_css', value)}"] = teacher
        out[f"f_e, {of('w_css', value)}"] = student(profile, teacher, profile.css.base, seed)
    return out


def weight_cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Every published cell of Table VII."""
    profile = ledger.workspace.profile
    runs, entries = TABLE7.runs(profile), []
    for row in published.load(WEIGHTS).itertuples():
        group = f"{row.model}, {of('w_css', row.w_css)}"
        for metric, spread in (("mae", row.mae_sd), ("r2", row.r2_sd)):
            entries.append(Entry(of("w_css", row.w_css), f"{row.model} {metric}", EF[metric], getattr(row, metric), spread,
                                 group if group in runs else "", left_out(profile, of("w_css", row.w_css))))
    return answered(entries, {name: ef_tables(ledger, specs) for name, specs in runs.items()}, profile)


def unlabelled_groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    """One seed's f_e by weight of the unlabelled clips; all have the same teacher."""
    if profile.css is None:
        return {}
    teacher = multi_input(profile, _segmenter(profile, seed, "w_css", CHOSEN["w_css"]), profile.css.base, seed)
    return {of("w_ulb", value): student(profile, teacher, profile.css.base, seed,
                                        **({} if value == CHOSEN["w_ulb"] else {"weight": value}))
            for value in sorted({CHOSEN["w_ulb"], *profile.css.student_weights}, reverse=True)}


def unlabelled_cells(ledger: Ledger, options: Options) -> pd.DataFrame:
    """Every published cell of Table VIII."""
    profile = ledger.workspace.profile
    runs, entries = TABLE8.runs(profile), []
    for row in published.load(UNLABELLED).itertuples():
        group = of("w_ulb", row.w_ulb)
        for metric, spread in (("mae", row.mae_sd), ("r2", row.r2_sd)):
            entries.append(Entry(group, metric, EF[metric], getattr(row, metric), spread, group if group in runs else "",
                                 left_out(profile, group)))
    return answered(entries, {name: ef_tables(ledger, specs) for name, specs in runs.items()}, profile)


def grid(profile: Profile) -> dict[str, tuple[float, ...]]:
    """Values of Figure 7 that the profile runs, by parameter, the chosen ones among them."""
    if profile.css is None:
        return {}
    size = profile.css
    more = {"s": size.lengths, "c": size.offsets, "tau": size.temperatures}
    return {name: tuple(sorted({CHOSEN[name], *values})) for name, values in more.items()}


def grid_groups(profile: Profile, seed: int, options: Options) -> dict[str, RunSpec]:
    """One seed's f_e by value; the chosen values are one run."""
    chosen = " and ".join(of(name, CHOSEN[name]) for name in GRID)
    out = {}
    for name, values in grid(profile).items():
        for value in values:
            teacher = multi_input(profile, _segmenter(profile, seed, name, value), profile.css.base, seed)
            group = chosen if value == CHOSEN[name] else of(name, value)
            out[group] = student(profile, teacher, profile.css.base, seed)
    return out


def grid_group(name: str, value: float) -> str:
    """The group of :func:`grid_groups` that a value of Figure 7 belongs to."""
    return " and ".join(of(n, CHOSEN[n]) for n in GRID) if value == CHOSEN[name] else of(name, value)


def weight_orders() -> list[Order]:
    """The claims of Table VII."""
    best = of("w_css", CHOSEN["w_css"])
    others = [of("w_css", value) for value in (0.02, 0.005)]
    return [Order(f"A weight of 0.01 is the best of three for {model}", f"{model}, {best}",
                  tuple(f"{model}, {other}" for other in others)) for model in ("f_m", "f_e")]


def unlabelled_orders() -> list[Order]:
    """The claims of Table VIII."""
    others = (of("w_ulb", 10), of("w_ulb", 2))
    return [Order("A weight of 5 of the unlabelled clips is the best of three", of("w_ulb", 5), others)]


def grid_orders(profile: Profile) -> list[Order]:
    """The claims of Figure 7, about the values that the profile runs."""
    found, values = [], grid(profile)
    chosen = grid_group("s", CHOSEN["s"])
    for name, text in (("s", "Phases of two frames do worse than phases of three"),
                       ("tau", "A temperature of 10 is the most suitable")):
        others = [v for v in values.get(name, ()) if v != CHOSEN[name]] or [v for v in GRID[name] if v != CHOSEN[name]]
        found.append(Order(text, chosen, (of(name, 2),) if name == "s" else tuple(of(name, v) for v in others)))
    for name, text in (("s", "Results are stable for phases of three frames and more"),
                       ("c", "Results are stable for any offset")):
        for value in (values.get(name) or GRID[name]):
            if value != CHOSEN[name] and (name == "c" or value > 3):
                told = f"{text}: {of(name, value)} is at most {STABLE} points of MAE worse"
                found.append(Order(told, of(name, value), (chosen,), margin=STABLE))
    return found


TABLE7 = Experiment(
    id="css_table7", number="Table VII", place=4, title="Weight of the cyclical term", published=WEIGHTS,
    notebook="css_parameters", groups=weight_groups, measure=weight_cells, options=ParameterOptions(),
    headings=headings(f"{model} {metric}" for model in ("f_m", "f_e") for metric in EF),
    judge=lambda ledger, options: judged_on(TABLE7, weight_orders(), ledger, options),
    compares=lambda profile, options: compared(weight_orders()))
TABLE8 = Experiment(
    id="css_table8", number="Table VIII", place=4, title="Weight of the unlabelled clips", published=UNLABELLED,
    notebook="css_parameters", groups=unlabelled_groups, measure=unlabelled_cells, headings=headings(EF),
    options=ParameterOptions(),
    judge=lambda ledger, options: judged_on(TABLE8, unlabelled_orders(), ledger, options),
    compares=lambda profile, options: compared(unlabelled_orders()))
FIGURE7 = Experiment(
    id="css_figure7", number="Figure 7", place=4, title="Length, offset and temperature of the match", notebook="css_parameters",
    groups=grid_groups, options=ParameterOptions(),
    judge=lambda ledger, options: judged_on(FIGURE7, grid_orders(ledger.workspace.profile), ledger, options),
    compares=lambda profile, options: compared(grid_orders(profile)))

PAGES = (TABLE7, TABLE8, FIGURE7)
