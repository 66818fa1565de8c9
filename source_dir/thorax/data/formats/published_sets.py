"""The published sets, one class each."""

from __future__ import annotations

from thorax.data.formats.chexpert import CheXpert
from thorax.data.formats.mimic_cxr import MimicCxr
from thorax.data.formats.nih import Nih
from thorax.data.formats.padchest import PadChest
from thorax.data.formats.published import PublishedSet
from thorax.data.formats.rsna import Rsna
from thorax.data.formats.vindr import VinDr

#: All but NIH, which was there first and keeps its place among the formats.
PUBLISHED_SETS: tuple[PublishedSet, ...] = (CheXpert(), MimicCxr(), PadChest(), Rsna(), VinDr())
#: A channel with one of these is theirs: its tables are no tables of a user's own.
ALL: tuple[PublishedSet, ...] = (Nih(), *PUBLISHED_SETS)
