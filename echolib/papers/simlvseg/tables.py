"""What the pages on whole videos share: names of networks, and the tables of all seeds."""

from __future__ import annotations

import pandas as pd

from echolib.ledger.evaluations import Evaluation


def label_of(published_name: str) -> str:
    """A row's name on the pages: Table 1 names the frame-wise network after the data set it was made for."""
    return "DeepLabV3" if published_name == "EchoNet-Dynamic" else published_name


def pooled(group: list[Evaluation], table: str) -> pd.DataFrame:
    """The ``studies`` or ``beats`` of every seed, one under the other."""
    return pd.concat([getattr(e, table).assign(seed=e.record.spec.run.seed if e.record.spec.run else 0) for e in group],
                     ignore_index=True)
