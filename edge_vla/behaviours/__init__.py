"""What the pilot does for each goal: one file per behaviour, registered here.

A behaviour is pure: (state, inputs, plan) to (state, action).
"""

from __future__ import annotations

from collections.abc import Callable

from edge_vla.behaviours.act import act
from edge_vla.behaviours.follow import follow
from edge_vla.behaviours.look import look_for
from edge_vla.behaviours.obey import obey
from edge_vla.behaviours.seek import seek
from edge_vla.behaviours.state import Inputs, Plan, State
from edge_vla.behaviours.tell import stand, tell
from edge_vla.behaviours.wander import wander
from edge_vla.goals import Goal
from edge_vla.types import RobotAction

Behaviour = Callable[[State, Inputs, Plan], tuple[State, RobotAction]]

BEHAVIOURS: dict[Goal, Behaviour] = {
    Goal.FIND_OBJECT: seek,
    Goal.NAVIGATE: seek,
    Goal.FOLLOW: follow,
    Goal.LOOK: look_for,
    Goal.AVOID: wander,
    Goal.COMMAND: obey,
    Goal.DESCRIBE_SCENE: tell,
    Goal.IDENTIFY_MAIN_OBJECT: tell,
    Goal.SAVE_IMAGE: stand,
    Goal.STOP: stand,
}


def behaviour_of(plan: Plan) -> Behaviour:
    """The goal's own, or a policy's, which carries out what it is handed whatever the goal."""
    return act if plan.instruction else BEHAVIOURS[plan.goal]
