"""The heart as moving meshes: what lies where in every frame of an apical four-chamber (or two-chamber) view.

Coordinates are cm in the plane of the probe: x to the right, z away from the probe, origin at the tip of the sector.
Each structure is a :class:`Strip`: a grid of material points that moves; scatterers ride on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from echolib.phantom.motion import Timeline
from echolib.phantom.presets import ClipParameters
from echolib.phantom.ventricle import POINTS, Ventricle, thicken


@dataclass(frozen=True)
class Strip:
    """A deforming sheet of tissue.

    Attributes:
        name: what it is.
        points: ``(T, I, J, 2)`` cm, material points.
        level: ``(I, J)`` dB relative to the septum.
        density: scatterers over the number that fully developed speckle asks for.
    """

    name: str
    points: np.ndarray
    level: np.ndarray
    density: float = 1.0


@dataclass(frozen=True)
class Heart:
    """Contours (the truth) and meshes (the echoes) of one clip.

    Attributes:
        endocardium: ``(T, POINTS, 2)`` cm, septal hinge over the apex to lateral hinge: the line that a reader traces.
        tissue: ``(T, POINTS, 2)`` cm, where the wall begins: ``rim`` further out, since the beam blurs its brightness inwards.
        epicardium: ``(T, POINTS, 2)`` cm.
        atrium: ``(T, A, 2)`` cm, left atrium from septal to lateral hinge.
        long_axis: ``(T, 2, 2)`` cm, apex and mid-annulus.
        strips: all tissue.
    """

    endocardium: np.ndarray
    tissue: np.ndarray
    epicardium: np.ndarray
    atrium: np.ndarray
    long_axis: np.ndarray
    strips: tuple[Strip, ...]


def _curve(knots: np.ndarray, points: int, ends: str = "natural") -> np.ndarray:
    """Cubic spline through ``knots (T, K, 2)`` at ``points`` even parameters: ``(T, points, 2)``."""
    count = knots.shape[1]
    basis = CubicSpline(np.linspace(0, 1, count), np.eye(count), bc_type=ends)(np.linspace(0, 1, points))
    return np.einsum("pk,tkx->tpx", basis, knots)


def _normals(line: np.ndarray) -> np.ndarray:
    """Unit normals ``(T, P, 2)`` of lines ``(T, P, 2)``: outwards where a closed line runs clockwise on screen."""
    tangent = np.gradient(line, axis=1)
    normal = np.stack([tangent[..., 1], -tangent[..., 0]], axis=-1)
    return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)


def _smooth_noise(rng: np.random.Generator, points: int, knots: int, sd: float) -> np.ndarray:
    return PchipInterpolator(np.linspace(0, 1, knots), rng.normal(0.0, sd, knots))(np.linspace(0, 1, points))


def _sheet(name: str, inner: np.ndarray, outer: np.ndarray, level: np.ndarray, layers: int = 2) -> Strip:
    """A strip between two lines ``(T, I, 2)``; ``level`` is ``(I,)`` or ``(I, layers)``."""
    share = np.linspace(0, 1, layers)[None, None, :, None]
    points = inner[:, :, None] * (1 - share) + outer[:, :, None] * share
    level = level[:, None] + np.zeros(layers) if level.ndim == 1 else level
    return Strip(name, points, level)


def facing(line: np.ndarray) -> np.ndarray:
    """``(P,)`` how squarely a line ``(T, P, 2)`` faces the beam in its mean position: 1 across it, 0 along it."""
    mean = line.mean(axis=0, keepdims=True)
    beam = mean / np.linalg.norm(mean, axis=-1, keepdims=True)
    return np.abs((_normals(mean) * beam).sum(-1))[0]


def build(p: ClipParameters, ventricle: Ventricle, line: Timeline) -> Heart:
    """Place the heart and move it through the clip."""
    rng = np.random.default_rng([*p.seed, 21, p.view == "2CH"])
    c = line.contraction
    tilt = p.axis_tilt
    axis, side = np.array([np.sin(tilt), np.cos(tilt)]), np.array([np.cos(tilt), -np.sin(tilt)])
    length, rest_length = ventricle.lengths(c), float(ventricle.lengths(np.zeros(1))[0])
    shift = line.offset + 0.10 * (rest_length - length)[:, None] * axis      # the apex hardly moves, the annulus descends
    apex = np.array([p.apex_shift, p.apex_depth]) + shift
    base = apex + length[:, None] * axis

    segments = ventricle.segments(line)
    y = ventricle.half_widths(segments)
    endo = apex[:, None] + (ventricle.s * length[:, None])[..., None] * axis + y[..., None] * side
    rest_y = ventricle.half_widths(np.zeros((1, POINTS)))
    rest = (ventricle.s * rest_length)[:, None] * axis + rest_y[0][:, None] * side
    u = ventricle.along
    thickness = p.wall * (1.0 - 0.30 * np.exp(-0.5 * ((u - 0.5) / 0.06) ** 2)) * np.where(u < 0.5, 1.08, 1.0)
    wall = thicken(endo, np.abs(y), rest, thickness, np.abs(rest_y[0]))
    outward = _normals(endo)
    tissue, epi = endo + p.rim * outward, endo + np.maximum(wall, p.rim + 0.2)[..., None] * outward
    drift = line.offset                                          # what is far from the ventricle only drifts
    anchor = np.array([p.apex_shift, p.apex_depth]) + rest_length * axis

    strips = [_wall(p, rng, tissue, epi, u), *_inside(p, rng, endo, tissue, outward, u, c), *_hinges(p, tissue, epi, axis)]
    atrium, la_strips = _left_atrium(p, rng, line, endo, epi, base, anchor, drift, axis, side, ventricle.diameter)
    strips += la_strips
    if p.view == "4CH":
        outline, right = _right_heart(p, rng, line, epi, atrium, anchor, drift, axis, side, ventricle.diameter)
        strips += right
    else:
        la_outer = (atrium - 0.25 * _normals(atrium))[:, ::-1]
        outline = np.concatenate([epi[:, ::3], la_outer[:, ::4]], axis=1)
    strips += _leaflets(p, line, endo[:, 0], endo[:, -1], apex, "mitral", p.valve, (0.68, 0.42))
    strips += _surroundings(p, rng, outline, axis)
    return Heart(endo, tissue, epi, atrium, np.stack([apex, base], axis=1), tuple(strips))


def _sides(u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``(P,)`` weights of septum, apex and lateral wall along the endocardium; they add up to 1."""
    septal, lateral = 1.0 / (1.0 + np.exp((u - 0.345) / 0.014)), 1.0 / (1.0 + np.exp(-(u - 0.60) / 0.02))
    return septal, 1.0 - septal - lateral, lateral


#: dB of the septum and of the other walls from the endocardium (0) to the epicardium (1): the septum is a thin bright line
_ACROSS = np.linspace(0, 1, 9)
_SEPTAL = PchipInterpolator([0, .12, .35, .55, .8, 1], [-3, 0, 1.0, -1.5, -10, -15])(_ACROSS)
_RISING = PchipInterpolator([0, .35, .7, 1], [0, .25, .7, 1])(_ACROSS)


def _wall(p: ClipParameters, rng: np.random.Generator, tissue: np.ndarray, epi: np.ndarray, u: np.ndarray) -> Strip:
    """Left ventricular wall.

    The septum lies across the beam's width as one bright line. The apex and the lateral wall are dim, more so towards the
    endocardium, where fibres run along the beam; they brighten towards the epicardium. Streaks run along all of them.
    """
    septal, apical, lateral = _sides(u)
    base = np.clip((u - 0.85) / 0.15, 0, 1) ** 2                              # the lateral wall is brighter at its hinge
    level = (septal[:, None] * (p.septum + _SEPTAL) + apical[:, None] * (p.apex + p.apex_rise * _RISING)
             + lateral[:, None] * (p.lateral + 6.0 * base[:, None] + p.lateral_rise * _RISING))
    level = level - p.fibre * (1.0 - facing(tissue))[:, None] * (1.0 - _ACROSS) * (1.0 - septal)[:, None]
    patches = 1.4 * septal + 0.55 * apical + 0.55 * lateral
    level = level + (patches * _smooth_noise(rng, len(u), 19, p.texture))[:, None]
    streaks = np.stack([_smooth_noise(rng, len(u), 31, 0.7 * p.texture) for _ in range(5)], axis=1)
    streaks = PchipInterpolator(np.linspace(0, 1, 5), streaks, axis=1)(_ACROSS)
    return _sheet("wall", tissue, epi, level + streaks * (1.0 - 0.35 * (lateral + apical))[:, None], len(_ACROSS))


#: how far inside the endocardium trabeculae and haze are sampled, as shares of their depth, and how fast they fade
_VEIL = np.array([0.0, 0.12, 0.3, 0.5, 0.75, 1.0])


def _inside(p: ClipParameters, rng: np.random.Generator, endo: np.ndarray, tissue: np.ndarray, outward: np.ndarray, u: np.ndarray,
            contraction: np.ndarray) -> list[Strip]:
    """Papillary muscle, and the veil of trabeculae and side lobes before the apex and the lateral wall: bright, and yet part
    of the cavity by convention."""
    place, height = p.papillary
    bump = height * np.exp(-0.5 * ((u - place) / 0.035) ** 2)
    span = np.abs(u - place) < 0.1
    muscle = _sheet("papillary", endo[:, span] - 0.35 * bump[span, None] * outward[:, span], endo[:, span] - bump[span, None]
                    * outward[:, span], p.lateral + 2.0 + _smooth_noise(rng, int(span.sum()), 5, 2.0), 3)
    septal, apical, lateral = _sides(u)
    reach = p.fuzz * (0.12 * septal + 1.6 * apical + lateral) * np.clip(1 + _smooth_noise(rng, len(u), 15, 0.25), 0.5, 1.6)
    # at most to about the middle of the cavity
    half = 0.5 * np.linalg.norm(endo[:, ::-1] - endo, axis=-1).min(axis=0)
    reach = np.minimum(reach, 0.9 * np.hypot(half, 0.9))
    start = septal * (p.septum - 12.0) + apical * (p.apex - p.veil_apex) + lateral * (p.lateral - p.veil_lateral)
    start = start + _smooth_noise(rng, len(u), 13, 0.5 * p.texture)
    level = start[:, None] - p.veil_fall * _VEIL ** 1.5 * (1 + 1.5 * septal - 0.6 * apical)[:, None]
    reach = reach * (1.0 + contraction[:, None] * (0.25 * lateral - 0.30 * apical))     # the apex leaves it less room at ES
    points = endo[:, :, None] - (reach[..., None] * _VEIL)[..., None] * outward[:, :, None]
    points[:, :, 0] = tissue
    return [muscle, Strip("veil", points, level, density=0.5)]


def _hinges(p: ClipParameters, tissue: np.ndarray, epi: np.ndarray, axis: np.ndarray) -> list[Strip]:
    """The fibrous annulus where the leaflets hang: bright, a few millimetres."""
    strips = []
    for name, end in (("septal hinge", 0), ("lateral hinge", -1)):
        away = epi[:, end] - tissue[:, end]
        away = away / np.linalg.norm(away, axis=-1, keepdims=True)
        a = np.stack([tissue[:, end] - 0.22 * axis, tissue[:, end] + 0.12 * axis], axis=1)
        strips.append(_sheet(name, a, a + 0.30 * away[:, None], np.array([p.annulus - 3.0, p.annulus])))
    return strips


def _gaps(rng: np.random.Generator, points: int, knots: int, sd: float) -> np.ndarray:
    """dB, never above 0: where a thin wall is lost."""
    return -np.abs(_smooth_noise(rng, points, knots, sd))


def _left_atrium(p: ClipParameters, rng: np.random.Generator, line: Timeline, endo: np.ndarray, epi: np.ndarray, base: np.ndarray,
                 anchor: np.ndarray, drift: np.ndarray, axis: np.ndarray, side: np.ndarray, diameter: float
                 ) -> tuple[np.ndarray, list[Strip]]:
    """Left atrium: hangs from the moving annulus, its floor stays, its walls give way a little and contract late."""
    down = axis + np.array([0.0, 0.8])
    down = down / np.linalg.norm(down)
    across = np.array([down[1], -down[0]])
    width, deep = p.la_width * diameter, p.la_depth * diameter
    moved = base - anchor - drift

    def at(x: float, d: float, follow: float) -> np.ndarray:
        squeeze = 1.0 - 0.07 * line.kick[:, None]
        return anchor + drift + (x * width * across) * squeeze + d * deep * down + follow * moved

    septal, lateral = endo[:, 0], endo[:, -1]
    knots = np.stack([septal, at(-.52, .30, .55), at(-.52, .66, .2), at(-.30, .95, .05), at(.08, 1.0, 0.), at(.42, .82, .08),
                      at(.55, .50, .25), at(.55, .20, .6), lateral], axis=1)
    wall = _curve(knots, 65)
    outward = -_normals(wall)
    v = np.linspace(0, 1, 65)
    level = p.la_wall + 12.0 * (facing(wall) - 0.6) + _smooth_noise(rng, 65, 17, 1.3 * p.texture) + _gaps(rng, 65, 11, p.gaps)
    level = np.where(np.abs(v - 0.16) < 0.05, level - 9.0, level)             # the fossa ovalis drops out
    thick = (0.22 + 0.08 * np.sin(np.pi * v)) * np.clip(1.0 + _smooth_noise(rng, 65, 15, 0.35), 0.4, 2.0)
    strips = [_sheet("left atrial wall", wall, wall + thick[:, None] * outward, level)]
    # fibrous crux and the fat of the atrioventricular groove
    corners = (("crux", septal, epi[:, 0], wall[:, 5], 7.0), ("groove", lateral, epi[:, -1], wall[:, -7], 3.0))
    for name, hinge, outer, atrial, bright in corners:
        a = np.stack([hinge, 0.5 * (hinge + atrial), atrial], axis=1)
        away = (outer - hinge) * 0.9
        b = a + away[:, None] * np.array([1.0, 0.75, 0.35])[None, :, None]
        strips.append(_sheet(name, a, b, np.array([bright, bright - 3.0, bright - 6.0])))
    return wall, strips


def _right_heart(p: ClipParameters, rng: np.random.Generator, line: Timeline, epi: np.ndarray, atrium: np.ndarray,
                 anchor: np.ndarray, drift: np.ndarray, axis: np.ndarray, side: np.ndarray, diameter: float
                 ) -> tuple[np.ndarray, list[Strip]]:
    """Right ventricle and atrium; returns the outline of the whole heart too."""
    c = line.contraction[:, None]
    crux = epi[:, 0] - 0.35 * axis                               # the tricuspid valve inserts nearer to the apex
    top_index = 27
    top = epi[:, top_index]
    width = p.rv_width * diameter * (1.0 - 0.20 * c)
    lateral = crux - width * side + (0.25 - 0.45 * c) * axis
    chord = lateral - top
    knots = np.stack([top, top + 0.18 * chord - 0.30 * side, top + 0.45 * chord - 0.62 * (1 - 0.35 * c) * side,
                      top + 0.75 * chord - 0.50 * (1 - 0.35 * c) * side, lateral], axis=1)
    free = _curve(knots, 41)                                     # runs apex to base: outside is to the left
    outward = -_normals(free)
    level = p.rv_wall + 5.0 * (facing(free) - 0.3) + _smooth_noise(rng, 41, 11, 1.3 * p.texture) + _gaps(rng, 41, 9, 1.3 * p.gaps)
    strips = [_sheet("right ventricular wall", free, free + 0.38 * outward, level)]
    septal = atrium[:, 4:25:4] - 0.24 * side                     # interatrial septum, right face
    down = np.array([0.25 * axis[0], 1.0])
    ra = p.ra_width * diameter
    floor = septal[:, -1] - 0.35 * ra * side + 0.2 * down
    ra_lateral = anchor + drift - (0.5 * p.la_width * diameter + 1.15 * ra) * side
    knots = np.stack([crux, septal[:, 0], septal[:, 2], septal[:, 4], floor, ra_lateral + 0.75 * p.la_depth * diameter * down,
                      ra_lateral + 0.42 * p.la_depth * diameter * down, lateral], axis=1)
    wall = _curve(knots, 57)
    out = _normals(wall)
    v = np.linspace(0, 1, 57)
    level = p.la_wall - 4.0 + 12.0 * (facing(wall) - 0.55) + _smooth_noise(rng, 57, 15, 1.3 * p.texture)
    level = level + _gaps(rng, 57, 11, p.gaps)
    keep = v > 0.45
    strips.append(_sheet("right atrial wall", wall[:, keep], wall[:, keep] + 0.2 * out[:, keep], level[keep]))
    strips += _leaflets(p, line, lateral, crux, top, "tricuspid", p.valve - 5.0, (0.55, 0.5))
    # a moderator band crosses the apical third
    band = np.stack([epi[:, 20], 0.5 * (epi[:, 20] + free[:, 16]), free[:, 18]], axis=1)
    strips.append(_sheet("moderator band", band, band + 0.2 * axis, np.array([-3.0, -6.0, -4.0])))
    la_outer = atrium - 0.27 * _normals(atrium)
    outline = np.concatenate([epi[:, top_index::3], la_outer[:, ::-1][:, 6:40:4], (wall + 0.2 * out)[:, 30::4],
                              (free + 0.38 * outward)[:, ::-1][:, 2:-2:4]], axis=1)
    return outline, strips


def _leaflets(p: ClipParameters, line: Timeline, first: np.ndarray, second: np.ndarray, apex: np.ndarray, name: str, level: float,
              reach: tuple[float, float]) -> list[Strip]:
    """Two leaflets that swing from the hinge line towards the apex as the valve opens."""
    span = second - first
    width = np.linalg.norm(span, axis=-1, keepdims=True)
    along = span / width
    up = apex - 0.5 * (first + second)
    up = up - (up * along).sum(-1, keepdims=True) * along
    up = up / np.linalg.norm(up, axis=-1, keepdims=True)
    share = np.linspace(0, 1, 13)
    strips = []
    for hinge, inward, length in ((first, along, reach[0]), (second, -along, reach[1])):
        closed, opened = np.deg2rad(16.0), np.deg2rad(78.0)
        angle = closed + (opened - closed) * line.opening[:, None] - 0.5 * (share - 0.5)      # they bow away from the atrium
        step = np.cos(angle)[..., None] * inward[:, None] + np.sin(angle)[..., None] * up[:, None]
        path = np.cumsum(step, axis=1) - step[:, :1]
        body = hinge[:, None] + path * (length * width / 12)[:, None]
        normal = _normals(body)
        half = 0.03 + 0.025 * share[:, None] ** 3
        strips.append(_sheet(f"{name} leaflet", body - half * normal, body + half * normal, level - 3.0 * np.abs(share - 0.6)))
    return strips


def _surroundings(p: ClipParameters, rng: np.random.Generator, outline: np.ndarray, axis: np.ndarray) -> list[Strip]:
    """Pericardium, and what lies beyond: chest wall above, lung at the sides, mediastinum below. Closed around the heart."""
    count = 96
    mean = outline.mean(axis=0)
    reach = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(np.vstack([mean, mean[:1]]), axis=0), axis=1))])
    closed = np.concatenate([outline, outline[:, :1]], axis=1)
    where = np.linspace(0, reach[-1], count + 1)
    index = np.clip(np.searchsorted(reach, where, side="right") - 1, 0, closed.shape[1] - 2)
    share = ((where - reach[index]) / np.maximum(np.diff(reach)[index], 1e-9))[:, None]
    rim = closed[:, index] * (1 - share) + closed[:, index + 1] * share
    rim[:, -1] = rim[:, 0]
    mean = rim.mean(axis=0)
    centre = mean[:-1].mean(axis=0)
    ray = mean - centre
    ray = ray / np.linalg.norm(ray, axis=1, keepdims=True)
    square = facing(rim)
    below = np.clip(ray[:, 1], 0, 1)
    above = np.clip(-ray[:, 1], 0, 1)
    fluid = p.effusion * (1.0 - 0.8 * below[:, None] ** 2) * ray
    inner = rim + fluid
    bright = (p.pericardium - 13.0 + 11.0 * square ** 2 * (0.35 + 0.65 * below) + p.pericardium_apex * above
              + _smooth_noise(rng, count + 1, 25, 3.0))
    right = np.clip(ray[:, 0], 0, 1)
    bright = bright + 5.0 * right * (1.0 - below)
    bright[-1] = bright[0]
    thick = 0.12 + 0.14 * below + 0.25 * right * (1.0 - below) + 0.012 * max(p.pericardium_apex, 0.0) * above
    sac = _sheet("pericardium", inner, inner + thick[:, None] * ray, bright)
    distance = np.array([0.15, 0.6, 1.3, 2.5, 4.5, 8.0])
    still = inner.mean(axis=0, keepdims=True)
    follow = np.array([1.0, 0.6, 0.25, 0.08, 0.0, 0.0])[None, None, :, None]
    points = inner[:, :, None] * follow + still[:, :, None] * (1 - follow) + distance[None, None, :, None] * ray[None, :, None]
    # the mediastinum behind the atria echoes for a centimetre or two, lung and ribs at the sides fall off at once
    fall = np.array([2.0, 0.0, -4.0, -10.0, -20.0, -32.0])
    level = (p.background + 9.0 * below[:, None] ** 2 + 4.0 * (right * (1.0 - below))[:, None]
             + (5.0 - 0.5 * fall) * above[:, None] ** 2 + fall)
    noise = np.stack([_smooth_noise(rng, count + 1, 17, 1.2 * p.texture + 2.5) for _ in distance], axis=1)
    level = level + noise
    level[-1] = level[0]
    points = points.copy()
    points[..., 1] = np.maximum(points[..., 1], 0.05)                # nothing behind the probe
    return [sac, Strip("surroundings", points, level, density=0.6)]        # large and dim: half the scatterers of a clip
