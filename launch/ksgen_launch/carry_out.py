"""A robot in the simulator that does what was imagined, filmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksgen_agent import Imagination

if TYPE_CHECKING:
    from ksgen_agent.report.page import ReportFilm

_SIDE, _EVERY = 208, 12  # of each picture, pixels, and actions from one to the next


def carry_out(imagination: Imagination, env_id: str, scene: int) -> ReportFilm:
    """Let the robot do the imagined key steps one after the other, from the scene's true start, without imagining anew.

    Args:
        imagination: of the task as such ("assemble shelf"), made from the scene's camera frame.
        env_id, scene: of the scene, one of `ksgen_envs.TASKS` and its seed.

    Returns:
        The film; its caption says what the simulator says of it.
    """
    from ksgen_agent.report.page import ReportFilm
    from ksgen_envs.film import FPS, film
    from ksgen_envs.goal_env.environment import CONTROL_HZ, WorkbenchEnv
    from ksgen_envs.workbench import Workbench

    env = WorkbenchEnv(env_id, continuing=True)
    try:
        offered = Workbench(env_id, scene).instructions()
        as_such = next(index for index, instruction in enumerate(offered) if not instruction.explicit)
        env.reset(options={"scene_seed": scene, "instruction": as_such})
        filmed = film(env, imagination.steps, every=_EVERY, side=_SIDE, hand="imagined")
    finally:
        env.close()
    return ReportFilm(
        title="A robot does what was imagined",
        caption=f"{filmed}: so says the simulator. Shown at {FPS * _EVERY / CONTROL_HZ:.0f} times its speed.",
        frames=filmed.frames,
        fps=FPS,
    )
