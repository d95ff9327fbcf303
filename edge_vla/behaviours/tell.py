"""Goals that end with words or at once: describe_scene, identify_main_object, save_image, stop."""

from __future__ import annotations

from dataclasses import replace

from edge_vla.behaviours.state import Inputs, Phase, Plan, State, halt
from edge_vla.types import ActionType, RobotAction


def tell(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """Done with the first look; the engine's words are the result."""
    return replace(state, phase=Phase.DONE, outcome="reached", why=state.words or "nothing to say"), halt("telling", ActionType.LOOK)


def stand(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """Done, standing still."""
    return replace(state, phase=Phase.DONE, outcome="reached", why="standing still"), halt("standing still")
