"""The simulated world: one room with the robot in it, stepped by whoever owns the clock. Knows nothing about serial ports."""

from dataclasses import dataclass, field

import mujoco
import numpy as np
from numpy.typing import NDArray

from edge_vla.guard.types import Pose
from edge_vla.sim.paint import paint_lights, paint_surfaces
from edge_vla.sim.robot import RobotModel
from edge_vla.sim.rooms import AWAY_M, Room, room_xml

TOUCH_N = 0.5  # a contact is counted from this normal force; below it is a brush of a leaf or a numerical touch
RAY_HEIGHTS_M = (0.04, 0.13, 0.24)  # what the robot's body could hit: floor things, chassis, camera


@dataclass(slots=True)
class Contacts:
    """Distinct contact episodes of the robot with anything but the floor."""

    episodes: int = 0
    peak_n: float = 0.0
    things: list[str] = field(default_factory=list)
    _clear_s: float = 1.0


class World:
    """MuJoCo model and data of a room. Times in s, lengths in m, REP-103 axes in the room frame."""

    def __init__(self, room: Room, robot: RobotModel | None = None, seed: int = 0) -> None:
        self.room, self.robot = room, robot or RobotModel()
        rng = np.random.default_rng([room.seed, seed, 1])
        self.model = mujoco.MjModel.from_xml_string(room_xml(room, self.robot, rng))
        paint_surfaces(self.model, rng)
        paint_lights(self.model, rng)
        self.data = mujoco.MjData(self.model)
        self.contacts = Contacts()
        self.geom_to_thing = self._thing_of_geoms()
        self._robot_body = self._id("body", "robot")
        self._body = {g for g, b in enumerate(self.model.geom_bodyid) if int(self.model.body_rootid[b]) == self._robot_body}
        self._floor = self._id("geom", "floor")
        self._wheel_dofs = [int(self.model.jnt_dofadr[self._id("joint", side)]) for side in ("left", "right")]
        self.place_robot(*room.start)

    def _id(self, kind: str, name: str) -> int:
        return int(mujoco.mj_name2id(self.model, getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}"), name))

    def _thing_of_geoms(self) -> NDArray[np.int32]:
        of_body = {self._id("body", f"t{i}"): i for i in range(len(self.room.things))}
        return np.array([of_body.get(int(b), -1) for b in self.model.geom_bodyid], dtype=np.int32)

    # -- the robot -------------------------------------------------------------------------------------------------
    def place_robot(self, x_m: float, y_m: float, yaw_rad: float) -> None:
        self.data.qpos[:7] = (x_m, y_m, 0.0, np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2))
        self.data.qvel[:] = 0
        mujoco.mj_forward(self.model, self.data)

    def pose(self) -> Pose:
        """The robot's true pose, stamped with simulated time."""
        w, x, y, z = self.data.qpos[3:7]
        yaw = float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
        return Pose(round(self.data.time * 1e9), float(self.data.qpos[0]), float(self.data.qpos[1]), yaw)

    def set_wheels(self, left_mps: float, right_mps: float) -> None:
        """Target surface speeds of the wheels."""
        self.data.ctrl[:2] = np.array((left_mps, right_mps)) / self.robot.wheel_radius_m

    def wheel_speeds(self) -> tuple[float, float]:
        """Surface speeds (m/s) the wheels really turn at."""
        left, right = (float(self.data.qvel[dof]) * self.robot.wheel_radius_m for dof in self._wheel_dofs)
        return left, right

    def turn_rate(self) -> float:
        """Yaw rate of the body, rad/s."""
        return float(self.data.qvel[5])

    def step(self, dt_s: float) -> None:
        """Advance by `dt_s`, a multiple of the physics step, counting contacts."""
        for _ in range(round(dt_s / self.model.opt.timestep)):
            mujoco.mj_step(self.model, self.data)
            self._count_contacts()

    def _count_contacts(self) -> None:
        force, wrench, hit = 0.0, np.zeros(6), -1
        for k in range(self.data.ncon):
            one, two = self.data.contact[k].geom.tolist()
            other = two if one in self._body else one
            if other != self._floor:  # wheels and casters count too: a cone's foot is lower than the chassis
                mujoco.mj_contactForce(self.model, self.data, k, wrench)
                if wrench[0] > force:
                    force, hit = float(wrench[0]), other
        self.contacts._clear_s += self.model.opt.timestep
        if force > TOUCH_N:
            if self.contacts._clear_s > 0.5:
                self.contacts.episodes += 1
                self.contacts.things.append(self.geom_name(hit))
            self.contacts._clear_s = 0.0
            self.contacts.peak_n = max(self.contacts.peak_n, force)

    def geom_name(self, geom: int) -> str:
        """What a geom belongs to, in words."""
        thing = int(self.geom_to_thing[geom])
        return (self.room.things[thing].shape.name or "furniture") if thing >= 0 else str(self.model.geom(geom).name)

    # -- the things ------------------------------------------------------------------------------------------------
    def move_thing(self, index: int, x_m: float, y_m: float, yaw_rad: float) -> None:
        """Put a thing somewhere else; takes effect at the next step or forward."""
        mocap = int(self.model.body_mocapid[self._id("body", f"t{index}")])
        self.data.mocap_pos[mocap] = (x_m, y_m, 0.0)
        self.data.mocap_quat[mocap] = (np.cos(yaw_rad / 2), 0, 0, np.sin(yaw_rad / 2))

    def thing_pose(self, index: int) -> tuple[float, float, float]:
        """Where a thing stands now: x, y (m), yaw (rad)."""
        mocap = int(self.model.body_mocapid[self._id("body", f"t{index}")])
        x, y, _ = self.data.mocap_pos[mocap]
        w, _, _, z = self.data.mocap_quat[mocap]
        return float(x), float(y), float(2 * np.arctan2(z, w))

    def settle(self) -> None:
        """Bring positions and camera up to date after things were moved, without advancing time."""
        mujoco.mj_forward(self.model, self.data)

    def remove_thing(self, index: int) -> None:
        self.move_thing(index, AWAY_M + 3.0 * index, AWAY_M, 0.0)

    def surface_distance(self, index: int) -> float:
        """From the robot's centre to the nearest surface of a thing, m."""
        centre, span = self._id("geom", "centre"), np.zeros(6)
        geoms = np.nonzero(self.geom_to_thing == index)[0]
        return min(float(mujoco.mj_geomDistance(self.model, self.data, centre, int(g), 20.0, span)) for g in geoms)

    def free_distances(self, bearings_rad: NDArray[np.float64], cap_m: float = 4.0) -> NDArray[np.float64]:
        """Distance (m) from under the camera to the first obstacle along each bearing, at the robot's heights."""
        pose, forward = self.pose(), self.robot.camera_forward_m
        origin = np.array([pose.x_m + forward * np.cos(pose.yaw_rad), pose.y_m + forward * np.sin(pose.yaw_rad), 0.0])
        out, geom = np.full(len(bearings_rad), cap_m), np.zeros(1, dtype=np.int32)
        for i, bearing in enumerate(bearings_rad + pose.yaw_rad):
            ray = np.array([np.cos(bearing), np.sin(bearing), 0.0])
            for height in RAY_HEIGHTS_M:
                origin[2] = height
                hit = mujoco.mj_ray(self.model, self.data, origin, ray, None, 1, self._robot_body, geom)
                if 0 <= hit < out[i]:
                    out[i] = hit
        return out
