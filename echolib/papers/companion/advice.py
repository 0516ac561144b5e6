"""Which one should I use? What follows from the family's numbers for somebody who has videos and a purpose."""

from __future__ import annotations

import html
from dataclasses import dataclass

import pandas as pd
from IPython.display import HTML

from echolib.config.profile import Profile
from echolib.evaluation.bootstrap import paired_test
from echolib.pages.estimates import best_set
from echolib.pages.experiment import Experiment
from echolib.pages.html import html_table
from echolib.papers.companion.family import (
    MEASURES,
    ORDINARY,
    WORDS,
    Family,
    FamilyOptions,
    chance_of_best,
    groups,
    needed,
    page_times,
)
from echolib.papers.companion.methods import FRAMEWISE

#: Dice points below the best that count as "as good".
AS_GOOD = 1.0


TOLD, NOT_TOLD = "told apart from the next by every seed and a paired test", "not told apart from the next"
#: A method that finds no beat in more than this share of the videos is no answer to a question about EF.
LOST = 0.1


@dataclass(frozen=True)
class Advice:
    """An answer to a purpose.

    Attributes:
        purpose: what somebody wants.
        method: what to take.
        why: the numbers that say so.
        sure: how sure that is.
    """

    purpose: str
    method: str
    why: str
    sure: str


def per_patient(family: Family, measure: str, cohort: str = ORDINARY) -> pd.DataFrame:
    """Index patient and seed, a column a method: the measure of each patient's videos, more is better."""
    q, sign = MEASURES[measure], -1 if measure in ("hd95", "flicker", "ef") else 1
    parts = {name: pd.concat({seed: sign * q.factor * t[q.table].groupby("patient")[q.value].mean()
                              for seed, t in enumerate(family.tables(name, cohort))}) for name in family.names}
    return pd.DataFrame(parts)


def leader(table: pd.DataFrame) -> tuple[str, str, bool]:
    """The method with the highest mean, the next one, and whether the two are told apart: every seed agrees, at least three of
    them, and a signed-rank test over patients gives p < 0.05."""
    means = table.mean().dropna().sort_values(ascending=False)
    first, second = means.index[0], means.index[min(1, len(means) - 1)]
    pair = table[[first, second]].dropna()
    if first == second or pair.empty:
        return first, second, False
    gaps = (pair[first] - pair[second]).groupby(level=0).mean()
    both = pair.groupby(level=1).mean().rename_axis("study").reset_index()
    sides = [both.assign(patient=both.study, frame=0, value=both[name]) for name in (first, second)]
    return first, second, bool(len(gaps) >= 3 and (gaps > 0).all() and paired_test(*sides, "value").p_value < 0.05)


def advice(family: Family) -> list[Advice]:
    """Answers to the purposes of the page, in its order."""
    dice = per_patient(family, "all")
    means, ms = dice.mean(), {name: t.mean for name, t in family.times.items()}
    first, second, sure = leader(dice)
    among = ", ".join(best_set(pd.DataFrame({"best": chance_of_best(family)})))
    out = [Advice("The most accurate outline of every frame", first, f"Dice {means[first]:.2f} % over all frames; next {second}, "
                  f"{means[second]:.2f} %. In 95 % of the resamples the best is among: {among}", TOLD if sure else NOT_TOLD)]
    near = [name for name in family.names if means[name] >= means.max() - AS_GOOD]
    fastest = min(near, key=ms.get)
    out.append(Advice(f"Speed, for at most {AS_GOOD:g} Dice point", fastest, f"{ms[fastest]:.3g} ms a frame on "
                      f"{family.times[fastest].hardware}, Dice {means[fastest]:.2f} % against {means.max():.2f} %; within a "
                      f"point: {', '.join(near)}",
                      "the time is measured at full width, the Dice at the profile's"))
    for purpose, measure, unit in (("Steady outlines", "flicker", "dB of flicker"),
                                   ("The ejection fraction", "ef", "points off")):
        table = per_patient(family, measure)
        found = table.loc[:, table.isna().mean() <= LOST]
        if not found.empty and found.shape[1]:
            first, second, sure = leader(found)
            lost = f"; left out, without a value in many videos: {', '.join(c for c in table if c not in found)}"
            out.append(Advice(purpose, first, f"{-found[first].mean():.1f} {unit}; next {second}, {-found[second].mean():.1f}"
                              + lost * (found.shape[1] < table.shape[1]), TOLD if sure else NOT_TOLD))
    hard = [c for c in family.videos if c != ORDINARY]
    if hard:
        lowest = pd.DataFrame({c: per_patient(family, "all", c).mean() for c in hard})
        first = lowest.min(axis=1).idxmax()
        worst = lowest.loc[first].idxmin()
        best, _, sure = leader(per_patient(family, "all", worst))
        kinds = ", ".join(WORDS[c] for c in hard)
        out.append(Advice("Videos unlike those of training", first, f"its worst of {kinds} is {WORDS[worst]}, with Dice "
                          f"{lowest.loc[first, worst]:.2f} %", TOLD if sure and best == first else NOT_TOLD))
    single = dice[[name for name in FRAMEWISE if name in dice]]
    if single.shape[1]:
        first, _, sure = leader(single)
        out.append(Advice("One frame at a time, no video", first, f"Dice {means[first]:.2f} % over all frames; the best of all "
                          f"methods has {means.max():.2f} %", TOLD if sure else NOT_TOLD))
    return out


def advice_html(found: list[Advice], profile: Profile) -> HTML:
    """The answers; where the profile's numbers may not be quoted, a sentence says so first."""
    rows = [(html.escape(one.purpose), f"<b>{html.escape(one.method)}</b>", html.escape(one.why), html.escape(one.sure))
            for one in found]
    page = html_table("What to take, and how sure this is", ("You want", "Take", "Because", "How sure"), rows, "echo-claims")
    if not profile.quotable:
        page = ('<div class="admonition warning"><p class="admonition-title">No advice</p><p>This profile only proves that the '
                "path works: its networks have hardly learnt. Nothing below is to be followed.</p></div>") + page
    return HTML(page)


ADVICE = Experiment(id="which_one", number="Which one", title="Which one should I use?", place=0, notebook="which_one",
                    groups=groups, more=needed, options=FamilyOptions(), times=page_times)

PAGES = (ADVICE,)
