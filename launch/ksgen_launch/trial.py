"""A robot in the simulator that does what was imagined, filmed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ksgen_launch.show import announce
from ksgen_models.errors import KSGenError

if TYPE_CHECKING:
    from ksgen_agent import Imagination
    from ksgen_agent.report.page import ReportFilm
    from ksgen_envs.film import Film
    from ksgen_models.types import KeyStep

_SIDE, _EVERY = 208, 12  # of each picture, pixels, and actions from one to the next


class Trial:
    """One scene, a robot that does key steps in it, and a film of that. A context manager.

    Args:
        env_id, scene: of the scene, one of `ksgen_envs.TASKS` and its seed; the instruction is the task as such
            ("assemble shelf").
    """

    def __init__(self, env_id: str, scene: int) -> None:
        from ksgen_envs.goal_env.environment import WorkbenchEnv
        from ksgen_envs.workbench import Workbench

        self._env = WorkbenchEnv(env_id, continuing=True)
        offered = Workbench(env_id, scene).instructions()
        as_such = next(index for index, instruction in enumerate(offered) if not instruction.explicit)
        self._env.reset(options={"scene_seed": scene, "instruction": as_such})
        self._film: Film | None = None
        self._said: list[str] = []

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self._env.close()

    @property
    def picture(self) -> NDArray[np.uint8]:
        """(H, W, 3) what the camera sees now, the robot out of its sight."""
        return self._env.picture()

    def do(self, steps: Sequence[KeyStep]) -> None:
        """Let the robot do key steps from wherever the scene has got to, one after the other."""
        from ksgen_envs.film import film

        with announce("The robot does what was imagined"):
            filmed = film(self._env, steps, every=_EVERY, side=_SIDE, hand="imagined")
        self._film = filmed if self._film is None else self._film.then(filmed)
        self._said.append(str(self._film))

    def go_on(self, imagine: Callable[[NDArray[np.uint8]], Imagination]) -> str:
        """Let what is missing be imagined from what the camera sees now, and let the robot do it.

        Args:
            imagine: from a frame (H, W, 3).

        Returns:
            Why nothing more was done: nothing is missing, or something was knocked over and the models know no such
            scene; empty where something was.
        """
        try:
            missing = imagine(self.picture)
        except KSGenError as exc:
            return str(exc)
        self.do(missing.steps)
        return ""

    def report_film(self) -> ReportFilm:
        """What has been filmed; its caption is what the simulator says of it, after each time that things were done."""
        from ksgen_agent.report.page import ReportFilm
        from ksgen_envs.film import FPS
        from ksgen_envs.goal_env.environment import CONTROL_HZ

        assert self._film is not None, "nothing has been done yet"
        return ReportFilm(
            title="A robot does what was imagined",
            caption=f"{'; after looking again, '.join(self._said)}: so says the simulator. "
            f"Shown at {FPS * _EVERY / CONTROL_HZ:.0f} times its speed.",
            frames=self._film.frames,
            fps=FPS,
        )
