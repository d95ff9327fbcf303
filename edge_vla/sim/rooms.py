"""A random furnished room from a seed: what stands where, how it is lit and painted, and its MJCF."""

from dataclasses import dataclass

import numpy as np

from edge_vla.sim.objects import CLASSES, FURNITURE, NAMED, PALETTES, Part, Shape
from edge_vla.sim.robot import ACTUATORS, RobotModel, robot_xml

AWAY_M = 60.0  # where objects not in the room are parked, beyond the far plane of every ray and camera


@dataclass(frozen=True, slots=True)
class Placed:
    """A shape on the floor of the room: centre (m) and heading (rad)."""

    shape: Shape
    x_m: float
    y_m: float
    yaw_rad: float


@dataclass(frozen=True, slots=True)
class Room:
    """A room centred on the origin, `size_m` = (x, y)."""

    size_m: tuple[float, float]
    things: tuple[Placed, ...]
    start: tuple[float, float, float]  # robot x, y (m), yaw (rad)
    seed: int


def draw_shapes(rng: np.random.Generator, names: list[str], furniture: int) -> list[Shape]:
    """One shape per class name, then `furniture` unnamed pieces."""
    named = [NAMED[name](rng) for name in names]
    return named + [FURNITURE[int(rng.integers(len(FURNITURE)))](rng) for _ in range(furniture)]


def scatter(
    rng: np.random.Generator, shapes: list[Shape], size_m: tuple[float, float], gap_m: float, taken: list[tuple[float, float, float]]
) -> list[Placed | None]:
    """Place each shape without overlap, `gap_m` apart; None where no place was found in 60 tries."""
    placed: list[Placed | None] = [None] * len(shapes)
    circles = list(taken)
    order = sorted(range(len(shapes)), key=lambda i: (not shapes[i].against_wall, -shapes[i].radius))
    for i in order:
        spot = _find_spot(rng, shapes[i], size_m, gap_m, circles)
        if spot is not None:
            placed[i] = spot
            circles.append((spot.x_m, spot.y_m, shapes[i].radius))
    return placed


def _find_spot(
    rng: np.random.Generator, shape: Shape, size_m: tuple[float, float], gap_m: float, circles: list[tuple[float, float, float]]
) -> Placed | None:
    hx, hy = size_m[0] / 2, size_m[1] / 2
    for _ in range(60):
        if shape.against_wall:
            side = int(rng.integers(4))
            span = (hy if side % 2 == 0 else hx) - shape.half_y - 0.05
            if span <= 0:
                continue
            along, yaw = rng.uniform(-span, span), (np.pi, -np.pi / 2, 0.0, np.pi / 2)[side]
            out = (hx if side % 2 == 0 else hy) - shape.half_x
            x, y = ((out, along), (along, out), (-out, along), (along, -out))[side]
        else:
            margin = shape.radius + min(gap_m, 0.12)
            x, y = rng.uniform(-hx + margin, hx - margin), rng.uniform(-hy + margin, hy - margin)
            yaw = float(rng.uniform(-np.pi, np.pi))
        if all(np.hypot(x - cx, y - cy) > shape.radius + cr + gap_m for cx, cy, cr in circles):
            return Placed(shape, float(x), float(y), float(yaw))
    return None


def make_room(seed: int, *, require: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Room:
    """An episode's room: 5-9 named things and 1-2 pieces of furniture, wide enough gaps for the robot to pass."""
    for name in (*require, *exclude):
        if name not in NAMED:
            raise ValueError(f"no class {name!r} in the simulator; it has {', '.join(CLASSES)}")
    for attempt in range(100):
        rng = np.random.default_rng([seed, attempt])
        size = (float(rng.uniform(3.8, 5.6)), float(rng.uniform(3.6, 5.0)))
        pool = [c for c in CLASSES if c not in require and c not in exclude]
        names = [*require, *rng.choice(pool, size=int(rng.integers(4, 8)), replace=False).tolist()]
        shapes = draw_shapes(rng, names, int(rng.integers(0, 3)))
        start = (float(rng.uniform(-0.25, 0.25) * size[0]), float(rng.uniform(-0.25, 0.25) * size[1]), float(rng.uniform(-np.pi, np.pi)))
        things = scatter(rng, shapes, size, 0.42, [(start[0], start[1], 0.45)])
        if all(things[i] is not None for i in range(len(require))):
            return Room(size, tuple(t for t in things if t is not None), start, seed)
    raise ValueError(f"room {seed}: no placement for {require} in 100 tries")


def _part_xml(part: Part, name: str, meshes: dict[str, str], rgba: str, material: str) -> str:
    pos = " ".join(f"{v:.4f}" for v in part.pos)
    euler = " ".join(f"{v:.2f}" for v in part.euler)
    if part.kind == "frustum":
        meshes[name] = _frustum(*part.size)
        shape = f'type="mesh" mesh="{name}"'
    else:
        shape = f'type="{part.kind}" size="{" ".join(f"{v:.4f}" for v in part.size)}"'
    return f'<geom name="{name}" class="thing" {shape} pos="{pos}" euler="{euler}" rgba="{rgba}" {material}/>'


def _frustum(r_bottom: float, r_top: float, height: float) -> str:
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    points = [f"{r * c:.4f} {r * s:.4f} {z:.4f}" for r, z in ((r_bottom, 0.0), (r_top, height)) for c, s in ring]
    return " ".join(points)


def room_xml(room: Room, robot: RobotModel, rng: np.random.Generator) -> str:
    """MJCF of the room with the robot in it; `rng` draws paint, light and friction."""
    meshes: dict[str, str] = {}
    bodies = []
    for i, thing in enumerate(room.things):
        colours = {role: PALETTES[palette](rng) for role, palette in thing.shape.roles.items()}
        textured = 'material="cloth"' if rng.random() < 0.35 else ""
        geoms = [
            _part_xml(p, f"t{i}_{j}", meshes, " ".join(f"{v:.3f}" for v in colours[p.role]) + " 1", textured if p.role == "main" else "")
            for j, p in enumerate(thing.shape.parts)
        ]
        pose = f'pos="{thing.x_m:.4f} {thing.y_m:.4f} 0" euler="0 0 {np.degrees(thing.yaw_rad):.3f}"'
        bodies.append(f'<body name="t{i}" mocap="true" {pose}>{"".join(geoms)}</body>')
    hx, hy = room.size_m[0] / 2, room.size_m[1] / 2
    walls = "".join(
        f'<geom name="wall{k}" class="wall" type="box" pos="{x:.3f} {y:.3f} 1.2" size="{sx:.3f} {sy:.3f} 1.2"/>'
        for k, (x, y, sx, sy) in enumerate(
            ((hx + 0.05, 0, 0.05, hy + 0.1), (0, hy + 0.05, hx, 0.05), (-hx - 0.05, 0, 0.05, hy + 0.1), (0, -hy - 0.05, hx, 0.05))
        )
    )
    assets = "".join(f'<mesh name="{name}" vertex="{points}"/>' for name, points in meshes.items())
    return f"""<mujoco model="room">
  <compiler angle="degree" autolimits="true"/>
  <option timestep="0.004" integrator="implicitfast" cone="elliptic"/>
  <statistic extent="4" center="0 0 0.5"/>
  <visual><global offwidth="640" offheight="480"/><quality shadowsize="1024" offsamples="4"/>
    <map znear="0.005" zfar="8"/><headlight ambient=".3 .3 .3" diffuse=".2 .2 .2" specular="0 0 0"/></visual>
  <default><default class="robot"><geom contype="1" conaffinity="2"/></default>
    <default class="thing"><geom contype="2" conaffinity="1" mass="0.1"/></default>
    <default class="wall"><geom contype="2" conaffinity="1" material="wall"/></default></default>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1=".8 .8 .8" rgb2=".5 .5 .5" width="64" height="64"/>
    <texture name="floor" type="2d" builtin="flat" width="192" height="192" rgb1=".5 .5 .5"/>
    <texture name="wall" type="2d" builtin="flat" width="192" height="192" rgb1=".8 .8 .8"/>
    <texture name="cloth" type="2d" builtin="flat" width="96" height="96" rgb1=".9 .9 .9"/>
    <material name="floor" texture="floor" texuniform="true" texrepeat="1 1" reflectance="0"/>
    <material name="wall" texture="wall" texuniform="true" texrepeat="1 1"/>
    <material name="cloth" texture="cloth" texuniform="true" texrepeat="4 4"/>
    {assets}
  </asset>
  <worldbody>
    <light name="sun" pos="0 0 3.5" dir="0.2 0.1 -1" diffuse=".6 .6 .6" specular=".1 .1 .1" castshadow="true"/>
    <light name="lamp" pos="1 1 2.3" dir="-0.3 -0.3 -1" diffuse=".3 .3 .3" specular=".1 .1 .1" castshadow="false"/>
    <geom name="floor" type="plane" size="{hx + 0.1:.3f} {hy + 0.1:.3f} 0.1" material="floor" contype="2" conaffinity="1"
      friction="0.9 0.005 0.0001"/>
    {walls}{"".join(bodies)}
    {robot_xml(robot, slip=float(rng.uniform(0.75, 1.1)))}
  </worldbody>
  <actuator>{ACTUATORS}</actuator>
</mujoco>"""
