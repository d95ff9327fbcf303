"""The simulated robot as MJCF: a 0.25 m wide differential drive with two casters and a camera on a mast."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class RobotModel:
    """Lengths in m, angles in degrees. Wheel and track are the Waveshare UGV Rover's (spec: main type 2)."""

    track_m: float = 0.172
    wheel_radius_m: float = 0.04
    width_m: float = 0.25
    length_m: float = 0.26
    camera_height_m: float = 0.25
    camera_forward_m: float = 0.08
    camera_pitch_deg: float = 10.0  # down positive
    hfov_deg: float = 70.0
    aspect: float = 4 / 3

    @property
    def vfov_deg(self) -> float:
        """Vertical field of view of square pixels."""
        return float(np.degrees(2 * np.arctan(np.tan(np.radians(self.hfov_deg) / 2) / self.aspect)))


def camera_axes(pitch_deg: float) -> str:
    """MJCF `xyaxes` of a camera that looks along +x, pitched down: image right is -y, image up leans forward."""
    p = np.radians(pitch_deg)
    return f"0 -1 0 {np.sin(p):.6f} 0 {np.cos(p):.6f}"


def robot_xml(robot: RobotModel, slip: float = 1.0) -> str:
    """The robot's body at the origin. `slip` scales the wheels' sliding friction."""
    r, half = robot.wheel_radius_m, robot.track_m / 2
    wheels = "".join(
        f"""<body name="{side}" pos="0 {sign * half} {r}">
        <joint name="{side}" type="hinge" axis="0 1 0" damping="0.002" armature="0.0005"/>
        <geom class="robot" type="cylinder" size="{r} 0.012" euler="90 0 0" mass="0.12" rgba=".1 .1 .1 1"
          friction="{0.9 * slip:.3f} 0.005 0.0001"/></body>"""
        for side, sign in (("left", 1), ("right", -1))
    )
    casters = "".join(
        f'<geom class="robot" type="sphere" size="0.015" pos="{x} 0 0.015" mass="0.03" friction="0.01 0.001 0.0001" priority="1"/>'
        for x in (-0.1, 0.1)
    )
    return f"""<body name="robot" pos="0 0 0"><freejoint name="robot"/>
      <geom name="chassis" class="robot" type="box" size="{robot.length_m / 2} {robot.width_m / 2} 0.03" pos="0 0 0.075"
        mass="1.6" rgba=".2 .2 .25 1"/>
      <geom name="mast" class="robot" type="box" size="0.02 0.02 0.06" pos="{robot.camera_forward_m - 0.03} 0 0.165" mass="0.1"/>
      <geom name="centre" class="robot" type="sphere" size="0.001" pos="0 0 0.1" mass="0" contype="0" conaffinity="0" rgba="0 0 0 0"/>
      <camera name="eye" pos="{robot.camera_forward_m} 0 {robot.camera_height_m}" fovy="{robot.vfov_deg:.4f}"
        xyaxes="{camera_axes(robot.camera_pitch_deg)}"/>
      {wheels}{casters}</body>"""


ACTUATORS = """<velocity name="left" joint="left" kv="0.6" forcerange="-1.5 1.5"/>
    <velocity name="right" joint="right" kv="0.6" forcerange="-1.5 1.5"/>"""
