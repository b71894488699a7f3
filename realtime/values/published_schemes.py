"""Schemes of published data sets: AFLW, COFW, 300W (iBUG), WFLW and JD-landmark."""

from __future__ import annotations

from .scheme import LandmarkScheme, Opening


def _mirror(count: int, *pairs: tuple[int, int]) -> tuple[int, ...]:
    order = list(range(count))
    for a, b in pairs:
        order[a], order[b] = b, a
    return tuple(order)


def _facing(a: int, b: int, count: int) -> list[tuple[int, int]]:
    """Return ``count`` mirror pairs of two runs, one ascending from ``a`` and the other descending from ``b``."""
    return [(a + i, b - i) for i in range(count)]


def _run(first: int, last: int, *, closed: bool = False) -> tuple[int, ...]:
    points = tuple(range(first, last + 1))
    return (*points, first) if closed else points


def _places(*pairs: tuple[int, int]) -> dict[int, int]:
    return dict(pairs)


def _along(*starts: tuple[int, int], count: int) -> dict[int, int]:
    """Return the pairs of runs of ``count`` landmarks and their places, each from a first pair."""
    return {landmark + i: place + i for landmark, place in starts for i in range(count)}


AFLW_19 = LandmarkScheme(
    name="aflw-19",
    count=19,
    left_eye=_run(6, 8),
    right_eye=_run(9, 11),
    mouth=_run(15, 17),
    outer_corners=(6, 11),
    pupils=((7,), (10,)),
    flip=_mirror(19, *_facing(0, 5, 3), *_facing(6, 11, 3), (12, 14), (15, 17)),
    lines=tuple(_run(i, i + 2) for i in range(0, 18, 3)),
    head=_places(
        (0, 17),
        (1, 19),
        (2, 21),
        (3, 22),
        (4, 24),
        (5, 26),
        (6, 36),
        (8, 39),
        (9, 42),
        (11, 45),
        (12, 31),
        (13, 30),
        (14, 35),
        (15, 48),
        (17, 54),
        (18, 8),
    ),
)

# AFLW as published: the 19 landmarks plus the left ear before the nose and the right ear after it.
AFLW_21 = LandmarkScheme(
    name="aflw-21",
    count=21,
    left_eye=_run(6, 8),
    right_eye=_run(9, 11),
    mouth=_run(17, 19),
    outer_corners=(6, 11),
    pupils=((7,), (10,)),
    flip=_mirror(21, *_facing(0, 5, 3), *_facing(6, 11, 3), (12, 16), (13, 15), (17, 19)),
    lines=(*(_run(i, i + 2) for i in range(0, 12, 3)), _run(13, 15), _run(17, 19)),
    head={i + (i > 11) + (i > 14): place for i, place in AFLW_19.head.items()},
)

COFW_29 = LandmarkScheme(
    name="cofw-29",
    count=29,
    left_eye=(8, 10, 12, 13),
    right_eye=(9, 11, 14, 15),
    mouth=_run(22, 27),
    outer_corners=(8, 9),
    pupils=((16,), (17,)),
    flip=_mirror(
        29,
        *((i, i + 1) for i in (0, 2, 8, 10, 16, 18, 22)),  # ends of brows, corners of eyes, pupils, nostrils, mouth
        *((i, i + 2) for i in (4, 5, 12, 13)),  # upper and lower middle of brows and eyes
    ),
    lines=(
        (0, 4, 2, 5, 0),
        (1, 6, 3, 7, 1),
        (8, 12, 10, 13, 8),
        (9, 14, 11, 15, 9),
        (18, 21, 19),
        (20, 21),
        *((22, middle, 23) for middle in (24, 25, 26, 27)),
    ),
    openings={
        "left_eye": Opening((8, 10), ((12, 13),)),
        "right_eye": Opening((11, 9), ((14, 15),)),
        "mouth": Opening((22, 23), ((25, 26),)),
    },
    head=_places(
        (0, 17),
        (1, 26),
        (2, 21),
        (3, 22),
        (8, 36),
        (9, 45),
        (10, 39),
        (11, 42),
        (18, 31),
        (19, 35),
        (20, 30),
        (21, 33),
        (22, 48),
        (23, 54),
        (24, 51),
        (25, 62),
        (26, 66),
        (27, 57),
        (28, 8),
    ),
)

IBUG_68 = LandmarkScheme(
    name="ibug-68",
    count=68,
    left_eye=_run(36, 41),
    right_eye=_run(42, 47),
    mouth=_run(48, 67),
    outer_corners=(36, 45),
    pupils=(_run(36, 41), _run(42, 47)),
    flip=_mirror(
        68,
        *_facing(0, 16, 8),  # jaw
        *_facing(17, 26, 5),  # brows
        *_facing(31, 35, 2),  # nostrils
        *_facing(36, 45, 4),  # eyes: upper lids and corners
        *_facing(40, 47, 2),  # eyes: lower lids
        *_facing(48, 54, 3),  # outer lip, upper
        *_facing(55, 59, 2),  # outer lip, lower
        *_facing(60, 64, 2),  # inner lip, upper
        (65, 67),
    ),
    lines=(
        _run(0, 16),
        _run(17, 21),
        _run(22, 26),
        _run(27, 30),
        _run(31, 35),
        _run(36, 41, closed=True),
        _run(42, 47, closed=True),
        _run(48, 59, closed=True),
        _run(60, 67, closed=True),
    ),
    further={
        "jaw": _run(0, 16),
        "left_brow": _run(17, 21),
        "right_brow": _run(22, 26),
        "nose": _run(27, 35),
        "outer_lip": _run(48, 59),
        "inner_lip": _run(60, 67),
    },
    openings={
        "left_eye": Opening((36, 39), ((37, 41), (38, 40))),
        "right_eye": Opening((42, 45), ((43, 47), (44, 46))),
        "mouth": Opening((60, 64), ((61, 67), (62, 66), (63, 65))),
    },
    head={landmark: landmark for landmark in range(68)},
)

WFLW_98 = LandmarkScheme(
    name="wflw-98",
    count=98,
    left_eye=_run(60, 67),
    right_eye=_run(68, 75),
    mouth=_run(76, 95),
    outer_corners=(60, 72),
    pupils=((96,), (97,)),
    flip=_mirror(
        98,
        *_facing(0, 32, 16),  # jaw
        *_facing(33, 46, 5),  # brows: upper edge
        *_facing(38, 50, 4),  # brows: lower edge
        *_facing(55, 59, 2),  # nostrils
        *_facing(60, 72, 5),  # eyes: upper lids and corners
        *_facing(65, 75, 3),  # eyes: lower lids
        *_facing(76, 82, 3),  # outer lip, upper
        *_facing(83, 87, 2),  # outer lip, lower
        *_facing(88, 92, 2),  # inner lip, upper
        (93, 95),
        (96, 97),
    ),
    lines=(
        _run(0, 32),
        _run(33, 41, closed=True),
        _run(42, 50, closed=True),
        _run(51, 54),
        _run(55, 59),
        _run(60, 67, closed=True),
        _run(68, 75, closed=True),
        _run(76, 87, closed=True),
        _run(88, 95, closed=True),
    ),
    further={
        "jaw": _run(0, 32),
        "left_brow": _run(33, 41),
        "right_brow": _run(42, 50),
        "nose": _run(51, 59),
        "outer_lip": _run(76, 87),
        "inner_lip": _run(88, 95),
        "pupils": (96, 97),
    },
    openings={
        "left_eye": Opening((60, 64), ((61, 67), (63, 65))),
        "right_eye": Opening((68, 72), ((69, 75), (71, 73))),
        "mouth": Opening((88, 92), ((89, 95), (90, 94), (91, 93))),
    },
    head={
        **{2 * i: i for i in range(17)},  # jaw
        **_along((33, 17), (42, 22), count=5),  # brows
        **_along((51, 27), count=9),  # nose
        **_along((60, 36), (63, 38), (68, 42), (71, 44), count=2),  # eyes: upper lids
        **_places((64, 39), (65, 40), (67, 41), (72, 45), (73, 46), (75, 47)),
        **_along((76, 48), count=20),  # mouth
    },
)

# The order of JD-landmark and LaPa; other data sets of 106 landmarks use another. 74 and 83 are the centres of the eye
# openings, 104 and 105 the pupils.
JD_106 = LandmarkScheme(
    name="jd-106",
    count=106,
    left_eye=_run(66, 73),
    right_eye=_run(75, 82),
    mouth=_run(84, 103),
    outer_corners=(66, 79),
    pupils=((104,), (105,)),
    flip=_mirror(
        106,
        *_facing(0, 32, 16),  # jaw
        *_facing(33, 46, 5),  # brows: upper edge
        *_facing(38, 50, 4),  # brows: lower edge
        *_facing(55, 65, 5),  # nose
        *_facing(66, 79, 5),  # eyes: upper lids and corners
        *_facing(71, 82, 3),  # eyes: lower lids
        (74, 83),
        *_facing(84, 90, 3),  # outer lip, upper
        *_facing(91, 95, 2),  # outer lip, lower
        *_facing(96, 100, 2),  # inner lip, upper
        (101, 103),
        (104, 105),
    ),
    lines=(
        _run(0, 32),
        _run(33, 41, closed=True),
        _run(42, 50, closed=True),
        _run(51, 54),
        _run(55, 65),
        _run(66, 73, closed=True),
        _run(75, 82, closed=True),
        _run(84, 95, closed=True),
        _run(96, 103, closed=True),
    ),
    further={
        "jaw": _run(0, 32),
        "left_brow": _run(33, 41),
        "right_brow": _run(42, 50),
        "nose": _run(51, 65),
        "outer_lip": _run(84, 95),
        "inner_lip": _run(96, 103),
        "pupils": (104, 105),
    },
    openings={
        "left_eye": Opening((66, 70), ((67, 73), (69, 71))),
        "right_eye": Opening((75, 79), ((76, 82), (78, 80))),
        "mouth": Opening((96, 100), ((97, 103), (98, 102), (99, 101))),
    },
    head={
        **{2 * i: i for i in range(17)},  # jaw
        **_along((33, 17), (42, 22), count=5),  # brows
        **_along((51, 27), count=4),  # nose
        **_places((60, 33)),
        **_along((66, 36), (69, 38), (75, 42), (78, 44), count=2),  # eyes: upper lids
        **_places((70, 39), (71, 40), (73, 41), (79, 45), (80, 46), (82, 47)),
        **_along((84, 48), count=20),  # mouth
    },
)
