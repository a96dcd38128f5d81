"""Draws worlds: which objects stand where, in what light, seen from where.
World (seed, index) is the same in every process, and costs about a millisecond because nothing is rendered."""

import math
from dataclasses import dataclass, field, replace
from random import Random

from data_registry.errors import InputError, nearest
from data_registry.render import catalog, surroundings
from data_registry.render.palette import palette
from data_registry.render.world import Body, Box, Mat3, Setting, Vec3, View, World, body_box, box_in_view, look, turn


@dataclass(frozen=True, slots=True)
class _Range:
    """Limits of a scene kind in metres: camera height, distance of objects, gap between them, size of scenery."""

    height: tuple[float, float]
    distance: tuple[float, float]
    gap: float
    scenery: tuple[float, float]


_RANGES = {
    "street": _Range((1.3, 5.0), (4.5, 26.0), 0.35, (0.8, 1.2)),
    "room": _Range((1.1, 2.3), (1.6, 6.5), 0.08, (0.6, 1.0)),
    "table": _Range((0.28, 0.7), (0.42, 1.25), 0.015, (0.14, 0.22)),
}
_SHARE_OF_KIND = (0.4, 0.33, 0.27)
_OBJECTS = (4, 7)
_FEWEST = 3
_SIZE = (0.15, 0.55)  # long side of an object's box, in image widths
_SMALLEST = 0.15
_CUT = 0.3  # largest share outside the image
_HIDDEN = 0.5  # largest share of one box behind another
_BULKY = ("bus", "truck", "airplane", "bed", "sofa")  # placed first, while there is room


def sample(seed: int, index: int, kind: str | None = None) -> World:
    """World `index` of set `seed`.

    Args:
        seed: of the set; sets of different seeds share neither worlds nor shapes.
        index: of the image.
        kind: "street", "room" or "table"; None draws one.

    Raises:
        InputError: unknown kind.
    """
    if kind is not None and kind not in catalog.KINDS:
        raise InputError(f"scene kind: {kind!r} is unknown, {nearest(kind, catalog.KINDS)}")
    for attempt in range(1000):
        rng = Random(f"world {seed} {index} {attempt}")
        chosen = rng.choices(catalog.KINDS, _SHARE_OF_KIND)[0]
        world = _draw(rng, seed, index, kind or chosen)
        if world.labelled >= _FEWEST:
            return world
    raise RuntimeError(f"no world for seed {seed}, index {index}, kind {kind}: raise the attempts of layout.sample")


def another_view(world: World, which: int = 0) -> World:
    """The same world seen from another place: the camera walks round the objects by 20 to 75 degrees.

    Args:
        world: as `sample` returned it.
        which: each number gives another view.

    The objects may leave the image or hide each other more than in the first view.
    """
    rng = Random(f"view {world.seed} {world.index} {which}")
    bodies = world.bodies[: world.labelled]
    pivot = tuple(sum(b.position[i] for b in bodies) / len(bodies) for i in range(2))
    first = world.view
    reach = math.hypot(pivot[0] - first.position[0], pivot[1] - first.position[1])
    angle = rng.choice((-1, 1)) * math.radians(rng.uniform(20, 75))
    limits = _RANGES[world.kind]
    for _ in range(20):
        away, height = reach * rng.uniform(0.95, 1.2), _log_uniform(rng, limits.height)
        x, y = first.position[0] - pivot[0], first.position[1] - pivot[1]
        c, s = math.cos(angle) * away / reach, math.sin(angle) * away / reach
        position = (pivot[0] + c * x - s * y, pivot[1] + s * x + c * y, height)
        yaw = math.atan2(position[0] - pivot[0], pivot[1] - position[1]) + math.radians(rng.gauss(0, 2))
        pitch = math.atan2(height, away * rng.uniform(0.95, 1.5))
        view = View(first.focal, position, look(yaw, pitch, math.radians(rng.gauss(0, 2))))
        boxes = [body_box(view, b) for b in bodies]
        inside = [b.extent is not None and b.truncation <= 0.4 for b in boxes]
        if all(b.extent is not None for b in boxes) and sum(inside) >= max(2, 0.6 * len(boxes)):
            return replace(world, view=view)
        angle *= 0.85
    return replace(world, view=first)


@dataclass(slots=True)
class _Placement:
    """Bodies placed so far, and what the next one must keep clear of."""

    view: View
    limits: _Range
    setting: Setting
    rng: Random
    bodies: list[Body] = field(default_factory=list)
    seen: list[tuple[tuple[float, float, float, float], float]] = field(default_factory=list)  # box in image, depth
    ground: list[tuple[float, float, float, float, float]] = field(default_factory=list)  # x, y, yaw, length, width

    def try_object(self, name: str, color: str, seed: int) -> bool:
        rng = self.rng
        mesh = catalog.shape(seed, name, rng.randrange(catalog.VARIANTS))
        scale = rng.uniform(*catalog.CATEGORIES[name].size)
        flying = name == "airplane" and rng.random() < 0.6
        body = Body(name, color, mesh, palette(color, rng), scale, turn(0), (0, 0, 0))
        for _ in range(12):
            rotation, position, foot = self._pose(body, flying)
            if not flying and not self._fits(foot):
                continue
            box = box_in_view(self.view, body.dimensions, rotation, position)
            if self._shows(box, position):
                self._add(replace(body, rotation=rotation, position=position), None if flying else foot)
                self.seen.append((box.clipped, box.center[2]))
                return True
        return False

    def try_scenery(self, name: str, seed: int, distance: tuple[float, float] | None = None) -> bool:
        """Scenery never stands before a labelled object; with a distance it is far background."""
        rng = self.rng
        color = rng.choice(catalog.COLORS)
        scale = 1.0 if distance else rng.uniform(*self.limits.scenery)
        mesh = catalog.shape(seed, name, rng.randrange(catalog.VARIANTS))
        body = Body(name, color, mesh, palette(color, rng), scale, turn(0), (0, 0, 0))
        for _ in range(12):
            rotation, position, foot = self._pose(body, False, distance)
            box = box_in_view(self.view, body.dimensions, rotation, position)
            if not self._fits(foot) or box.extent is None:
                continue
            if min(c[2] for c in box.corners) < 0.12 * position[1]:
                continue
            if any(box.center[2] < depth and _overlap(box.clipped, seen) > 0 for seen, depth in self.seen):
                continue
            self._add(replace(body, rotation=rotation, position=position), foot)
            return True
        return False

    def _add(self, body: Body, foot: tuple[float, float, float, float, float] | None) -> None:
        self.bodies.append(body)
        if foot is not None:
            self.ground.append(foot)

    def _pose(
        self, body: Body, flying: bool, distance: tuple[float, float] | None = None
    ) -> tuple[Mat3, Vec3, tuple[float, float, float, float, float]]:
        """A pose at which the body fills a drawn share of the image: rotation, position, ground rectangle."""
        rng = self.rng
        width, height, length = body.dimensions
        if distance:
            away = rng.uniform(*distance)
        else:
            near, far = self.limits.distance
            bulk = 0.62 * math.sqrt(length * length + width * width + height * height)
            away = self.view.focal * bulk / _log_uniform(rng, _SIZE)
            away = min(max(away, near + length / 2), far * (1.3 if flying else 1)) * rng.uniform(0.95, 1.05)
        x = away * (rng.uniform(0.06, 0.94) - 0.5) / self.view.focal
        yaw = rng.uniform(-math.pi, math.pi)
        if flying:
            rotation = turn(yaw, rng.gauss(0, 0.22), rng.gauss(0, 0.35))
            return rotation, (x, away, rng.uniform(0.08, 0.35) * away + 1), (x, away, yaw, length, width)
        return turn(yaw), (x, away, 0.0), (x, away, yaw, length, width)

    def _fits(self, foot: tuple[float, float, float, float, float]) -> bool:
        """Whether a ground rectangle keeps clear of the others and inside the room or on the table."""
        area = self.setting.table or self.setting.room
        if area is not None:
            x, y, yaw, length, width = foot
            turned = yaw - self.setting.yaw
            c, s = math.cos(self.setting.yaw), math.sin(self.setting.yaw)
            u, v = c * x + s * y, c * y - s * x
            along = (abs(math.cos(turned)) * length + abs(math.sin(turned)) * width) / 2
            across = (abs(math.sin(turned)) * length + abs(math.cos(turned)) * width) / 2
            if not (area[0] + along < u < area[1] - along and area[2] + across < v < area[3] - across):
                return False
        return not any(_rectangles_meet(foot, other, self.limits.gap) for other in self.ground)

    def _shows(self, box: Box, position: Vec3) -> bool:
        """Whether an object is large, whole and free enough in the image to be asked about."""
        if box.extent is None or min(c[2] for c in box.corners) < 0.12 * position[1]:
            return False
        x0, y0, x1, y1 = box.clipped
        if box.truncation > _CUT or max(x1 - x0, y1 - y0) < _SMALLEST:
            return False
        area, depth = (x1 - x0) * (y1 - y0), box.center[2]
        for other, other_depth in self.seen:
            behind = (other[2] - other[0]) * (other[3] - other[1]) if depth < other_depth else area
            if _overlap(box.clipped, other) > _HIDDEN * behind:
                return False
        return True


def _draw(rng: Random, seed: int, index: int, kind: str) -> World:
    limits = _RANGES[kind]
    view = _first_view(rng, limits)
    setting = surroundings.setting(rng, kind)
    light = surroundings.light(rng, kind)
    placement = _Placement(view, limits, setting, rng)
    for name, color in _pick(rng, kind):
        placement.try_object(name, color, seed)
    labelled = len(placement.bodies)
    for _ in range(rng.randint(0, 2)):
        placement.try_scenery(rng.choice(catalog.SCENERY_OF_KIND[kind]), seed)
    if kind == "street":
        for _ in range(rng.randint(0, 4)):
            placement.try_scenery("building", seed, distance=(34, 70))
    bodies = tuple(placement.bodies)
    return World(seed, index, kind, view, bodies, labelled, light, setting, rng.uniform(0, 0.018))


def _first_view(rng: Random, limits: _Range) -> View:
    focal = 0.5 / math.tan(math.radians(rng.uniform(42, 72)) / 2)
    height = _log_uniform(rng, limits.height)
    middle = math.sqrt(limits.distance[0] * limits.distance[1])
    pitch = math.atan2(height, middle * rng.uniform(0.9, 1.9)) + math.radians(rng.gauss(-2, 3))
    return View(focal, (0.0, 0.0, height), look(0.0, pitch, math.radians(rng.gauss(0, 2))))


def _pick(rng: Random, kind: str) -> list[tuple[str, str]]:
    """Names and colours to place. Mostly one object per name; objects of one name mostly differ in colour."""
    names = catalog.NAMES_OF_KIND[kind]
    count = rng.randint(*_OBJECTS)
    if rng.random() < 0.35 or count > len(names):
        chosen = rng.choices(names, k=count)
    else:
        chosen = rng.sample(names, count)
    picks: list[tuple[str, str]] = []
    for name in chosen:
        colors = catalog.CATEGORIES[name].colors
        color = rng.choice(colors)
        if (name, color) in picks and rng.random() < 0.8:
            color = rng.choice([c for c in colors if (name, c) not in picks] or colors)
        picks.append((name, color))
    return sorted(picks, key=lambda pick: -_BULKY.index(pick[0]) if pick[0] in _BULKY else 1)


def _log_uniform(rng: Random, span: tuple[float, float]) -> float:
    return math.exp(rng.uniform(math.log(span[0]), math.log(span[1])))


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Area shared by two image boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def _rectangles_meet(
    a: tuple[float, float, float, float, float], b: tuple[float, float, float, float, float], gap: float
) -> bool:
    """Whether two ground rectangles (x, y, yaw, length, width) come closer than gap (separating axes)."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    reach = (math.hypot(a[3], a[4]) + math.hypot(b[3], b[4])) / 2 + gap
    if dx * dx + dy * dy > reach * reach:
        return False
    between = abs(math.cos(a[2] - b[2])), abs(math.sin(a[2] - b[2]))
    for own, other in ((a, b), (b, a)):
        c, s = math.cos(own[2]), math.sin(own[2])
        along, across = abs(c * dx + s * dy), abs(c * dy - s * dx)
        if along > (own[3] + between[0] * other[3] + between[1] * other[4]) / 2 + gap:
            return False
        if across > (own[4] + between[1] * other[3] + between[0] * other[4]) / 2 + gap:
            return False
    return True
