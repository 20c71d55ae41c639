"""A map of a corpus's features: each clip a point on their first two principal components."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from marsbench.data.corpus import AudioFacts, Clip
from marsbench.errors import StorageError
from marsbench.features.feature_file import FeatureFile
from marsbench.features.store import stored_places
from marsbench.plugin.features import for_model
from marsbench.plugin.registry import Recipe
from marsbench.report.charts import Plot, mark, nice_ticks, tooltip_of

MOST_POINTS = 2000
_LEAST_POINTS = 3
_MOST_NAMED = 12
"""Colours with a legend; more cannot be told apart by it."""
_LIGHT = (45, 60)
"""Lightness of neighbouring colours in %, legible on white and on black."""
_MARGIN = 0.04
_Known = tuple[Clip, FeatureFile, int]
"""A clip, the file of its features and its position there."""


@dataclass(frozen=True)
class Colouring:
    """The map with colours by class, or by speaker."""

    by: str
    plot: Markup
    names: dict[str, str]
    """Name by colour; empty if they are too many to tell apart."""
    n_names: int


@dataclass(frozen=True)
class FeatureMap:
    """The features of one pipeline."""

    features: str
    is_mean: bool
    """Whether a point is the mean over the clip's frames."""
    n_shown: int
    n_clips: int
    """Clips whose features are in the store; of more than `MOST_POINTS` so many are drawn at random."""
    colourings: list[Colouring]
    """By class and, where speakers are known, by speaker."""
    nearest: str
    """Which clips are near each other in all dimensions, in a sentence or two."""


def map_features(recipes: Iterable[Recipe], clips: Sequence[tuple[Clip, AudioFacts]]) -> FeatureMap | None:
    """The map of the first recipe whose features of these clips are in this machine's store.

    Nothing is extracted; None if there is none, or of fewer than 3 clips.
    """
    for recipe in {recipe.key: recipe for recipe in recipes}.values():
        with suppress(StorageError):  # a damaged file
            places = stored_places(recipe, is_checked=False)  # of a large corpus a check takes minutes
            keys = ((clip, facts.audio_key(clip.source)) for clip, facts in clips)
            known = [(clip, *places[key]) for clip, key in keys if key in places]
            if len(known) >= _LEAST_POINTS:
                return _mapped(recipe.name, known)
    return None


def _mapped(name: str, known: Sequence[_Known]) -> FeatureMap:
    shown = known
    if len(known) > MOST_POINTS:
        rows = np.random.default_rng(0).choice(len(known), MOST_POINTS, replace=False)
        shown = [known[row] for row in np.sort(rows)]
    # One by one: frames of all clips, padded to the longest, may be larger than the memory.
    pooled = [for_model([file.array(at)], "vector", None).values[0] for _, file, at in shown]
    values = np.nan_to_num(np.array(pooled, np.float64))  # of an unchecked file
    deviations = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(deviations > 0, deviations, 1.0)
    classes = [clip.label for clip, *_ in shown]
    speakers = [clip.speaker for clip, *_ in shown]
    named = {"class": classes}
    if any(speakers):
        named["speaker"] = [one or "unknown" for one in speakers]
    draw = _Drawing.of(values)
    return FeatureMap(
        name, shown[0][1].kind == "frames", len(shown), len(known),
        [draw.coloured(by, names) for by, names in named.items()],
        nearest_phrase(values, classes, speakers),
    )  # fmt: skip


@dataclass(frozen=True)
class _Drawing:
    points: NDArray[np.float64]
    """On the two components, (n_points, 2)."""
    explained: NDArray[np.float64]
    """Share of the variance of each."""

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "_Drawing":
        from sklearn.decomposition import PCA  # takes a second

        values = np.pad(values, ((0, 0), (0, max(0, 2 - values.shape[1]))))
        fitted = PCA(2, random_state=0)
        with np.errstate(invalid="ignore"):  # equal features have no variance to explain
            points = fitted.fit_transform(values)
        return cls(points, np.nan_to_num(fitted.explained_variance_ratio_))

    def coloured(self, by: str, names: Sequence[str]) -> Colouring:
        """The points with a colour for each name."""
        (left, right), (bottom, top) = (_bounds(axis) for axis in self.points.T)
        plot = Plot((left, right), (bottom, top), height=320)
        body = plot.grid(
            [(tick, f"{tick:g}") for tick in nice_ticks(left, right)],
            [(tick, f"{tick:g}") for tick in nice_ticks(bottom, top)],
            *(f"component {n}, {100 * share:.0f} % of variance" for n, share in enumerate(self.explained, 1)),
        )
        unique = list(dict.fromkeys(sorted(names)))
        colours = {name: _colour(place, len(unique)) for place, name in enumerate(unique)}
        for name, colour in colours.items():
            mine = [point for point, one in zip(self.points, names, strict=True) if one == name]
            # A line of no length with round ends is a dot, in a tenth of a circle's bytes.
            path = "".join(f"M{plot.x(x):.1f} {plot.y(y):.1f}h0" for x, y in mine)
            told = tooltip_of(f"{name}: {len(mine):,} clips")
            body += mark("path", "dots", told, d=path, style=f"stroke:{colour}")
        described = f"{len(names):,} clips by {by} on the first two principal components of their features"
        legend = {colour: name for name, colour in colours.items()} if len(unique) <= _MOST_NAMED else {}
        return Colouring(by, plot.svg(body, described), legend, len(unique))


def _bounds(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = (high - low) * _MARGIN or 1.0
    return low - room, high + room


def _colour(place: int, count: int) -> str:
    return f"hsl({360 * place / count:.0f} 70% {_LIGHT[place % 2]}%)"


def nearest_phrase(
    values: NDArray[np.float64], classes: Sequence[str], speakers: Sequence[str | None]
) -> str:
    """How often the nearest clip is of the same class, or of the same speaker, beside chance.

    For the class it is the nearest clip of another speaker, for the speaker that of another class: another
    take of the same sentence answers neither. Empty for a single class.
    """
    from sklearn.metrics import pairwise_distances

    if len(set(classes)) < 2:
        return ""
    distances = pairwise_distances(values)
    same_class, same_speaker = _same(classes), _same([one or "" for one in speakers])
    if same_speaker.all():
        found, chance = _nearest_share(distances, same_class, ~np.eye(len(values), dtype=bool))
        return f"The nearest clip is of the same class for {found:.0f} % of clips (by chance {chance:.0f} %)."
    of_class, chance = _nearest_share(distances, same_class, ~same_speaker)
    of_speaker, by_chance = _nearest_share(distances, same_speaker, ~same_class)
    is_voice = (of_speaker - by_chance) / (100 - by_chance) > (of_class - chance) / (100 - chance)
    first, second = ("speakers", "classes") if is_voice else ("classes", "speakers")
    return (
        f"The nearest clip of another speaker is of the same class for {of_class:.0f} % of clips (by chance "
        f"{chance:.0f} %); the nearest clip of another class is of the same speaker for {of_speaker:.0f} % "
        f"(by chance {by_chance:.0f} %). Here {first} are told apart better than {second}."
    )


def _same(names: Sequence[str]) -> NDArray[np.bool_]:
    codes = np.unique(names, return_inverse=True)[1]
    return np.asarray(codes[:, None] == codes)


def _nearest_share(
    distances: NDArray[np.float64], same: NDArray[np.bool_], among: NDArray[np.bool_]
) -> tuple[float, float]:
    """For how many clips the nearest `among` some is of the `same` kind, and a random one of them, in %."""
    asked = among.any(axis=1)
    nearest = np.where(among, distances, np.inf).argmin(axis=1)
    found = same[np.arange(len(same)), nearest][asked].mean()
    chance = ((same & among).sum(axis=1)[asked] / among.sum(axis=1)[asked]).mean()
    return 100 * float(found), 100 * float(chance)
