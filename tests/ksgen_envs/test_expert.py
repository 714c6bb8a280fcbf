"""The robot can do every task by contact, and the controller goes where waypoints say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco")
gymnasium = pytest.importorskip("gymnasium")

from ksgen_envs import TASKS  # noqa: E402
from ksgen_envs.executors.controller import WaypointController, leave  # noqa: E402
from ksgen_envs.executors.expert import Expert, main, perform, wilson  # noqa: E402
from ksgen_envs.executors.planning import plan_step  # noqa: E402
from ksgen_envs.executors.waypoints import Waypoints  # noqa: E402
from ksgen_envs.goal_env.environment import WorkbenchEnv  # noqa: E402
from ksgen_envs.robot.gripper import read_state  # noqa: E402
from ksgen_envs.robot.model import HOME, MAX_YAW, TIP  # noqa: E402
from ksgen_envs.stills import demonstrate_stills  # noqa: E402
from ksgen_models.errors import InvalidInput  # noqa: E402

SCENE = 1_000_041
STACK, DRAWER, LAMP = "KSGen/StackBlocks-v0", "KSGen/StoreInDrawer-v0", "KSGen/SwitchOnLamp-v0"


def started(env_id, **options):
    env = WorkbenchEnv(env_id, image_size=64)
    observation, _ = env.reset(options={"scene_seed": SCENE, **options})
    return env, read_state(observation["observation"])


def follow(env, waypoints, state, limit=600):
    """Drive along the path; the state at its end and how many actions it took."""
    controller = WaypointController(waypoints, state)
    for count in range(limit):
        action = controller.act(state)
        if controller.done:
            return state, count
        state = read_state(env.step(action)[0]["observation"])
    raise AssertionError("the controller never came to an end")


def path(*places, yaws=None, apertures=0.05, holding=False):
    count = len(places)
    return Waypoints(
        times=np.arange(count) * 0.5,
        positions=np.array(places, np.float64),
        yaws=np.zeros(count) if yaws is None else np.array(yaws, np.float64),
        apertures=np.full(count, apertures),
        holding=np.full(count, holding),
    )


@pytest.mark.parametrize("env_id", TASKS)
def test_the_expert_does_every_task(env_id):
    env = gymnasium.make(f"ksgen_envs:{env_id}")
    expert = Expert(env)
    observation, info = env.reset(options={"scene_seed": SCENE})
    key_steps, reached, over = [info["key_step"]], [], False
    while not over:
        observation, reward, terminated, truncated, info = env.step(expert.act(observation))
        assert (reward == 0.0) == info["step_success"]
        reached += [info["key_step"]] if info["step_success"] else []
        key_steps.append(info["key_step"])
        over = terminated or truncated
    assert info["is_success"], info["description"]
    assert terminated
    assert sorted(set(key_steps)) == sorted(set(reached)) == list(range(info["key_steps"]))
    assert key_steps == sorted(key_steps)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", TASKS)
def test_the_expert_does_nearly_every_scene(env_id):
    env = gymnasium.make(env_id)
    outcomes = [perform(env, seed) for seed in range(1_000_200, 1_000_225)]
    assert sum(outcome.success for outcome in outcomes) >= 24, [outcome for outcome in outcomes if not outcome.success]


def test_the_expert_does_another_instruction():
    env = gymnasium.make(LAMP)
    outcome = perform(env, SCENE, instruction=1)
    assert outcome.success
    assert outcome.steps_done == outcome.key_steps == 2


def test_what_is_held_does_not_slip_or_turn():
    env, state = started(STACK)
    whole = plan_step(env, env.key_step, state)
    held = np.flatnonzero(whole.holding)
    keep = slice(0, int(held[0]) + 2)  # until just after it is lifted
    lifted = Waypoints(*(getattr(whole, name)[keep] for name in ("times", "positions", "yaws", "apertures", "holding")))
    state, _ = follow(env, lifted, state)
    body = env.data.body(env.key_step.body)
    before, rotation = body.xpos - state.position, body.xmat.copy()
    assert body.xpos[2] > 0.05
    for turn in np.repeat([1.0, -1.0, 0.0], 25):
        state = read_state(env.step(np.array([turn, -turn, 0.0, 0.0, 1.0]))[0]["observation"])
    body = env.data.body(env.key_step.body)
    assert np.abs(body.xpos - state.position - before).max() < 0.001
    assert np.abs(body.xmat - rotation).max() < 0.02


def test_a_closed_drawer_is_not_opened_from_afar_and_a_thing_not_moved_untouched():
    env, state = started(DRAWER)
    before = env.bench.object_poses(env.model, env.data)
    follow(env, path(state.position, (0, -0.20, 0.25), (0.1, 0.1, 0.25), (-0.1, 0.1, 0.25)), state)
    assert np.abs(env.bench.object_poses(env.model, env.data) - before).max() < 0.002


def test_the_table_stops_the_robot():
    env, state = started(LAMP)
    low = (0.25, -0.2, 0.05)
    state, _ = follow(env, path(state.position, (0.25, -0.2, 0.15), low), state)
    for _ in range(40):
        state = read_state(env.step(np.array([0, 0, -1, 0, 1.0]))[0]["observation"])
    assert TIP - 0.001 < state.position[2] < TIP + 0.002


def test_the_controller_goes_where_waypoints_say_however_fast_they_were_drawn():
    env, state = started(LAMP)
    end = np.array([0.2, -0.1, 0.3])
    waypoints = path(state.position, (-0.2, -0.1, 0.25), end, yaws=[0, 0.8, -0.6], apertures=0.04)
    hasty = replace(waypoints, times=np.array([0.0, 0.05, 0.1]))
    near = []
    for drawn in (waypoints, hasty):
        state, steps = follow(env, drawn, state)
        assert np.linalg.norm(state.position - end) < 0.004
        assert abs(state.yaw + 0.6) < 0.03
        assert abs(state.aperture - 0.04) < 0.002
        near.append(steps)
        state, _ = follow(env, path(state.position, np.array(HOME)), state)
    assert near[1] < near[0]


@pytest.mark.parametrize("turns", [-3, -1, 0, 2, 5])
def test_half_turns_make_no_difference(turns):
    env, state = started(LAMP)
    up = (0.0, -0.4, 0.2)
    state, _ = follow(env, path(state.position, up, yaws=[0.5 + turns * np.pi, 0.7 + turns * np.pi]), state)
    assert abs(state.yaw - 0.7) < 0.03
    assert abs(state.yaw) < MAX_YAW


def test_the_controller_gives_up_where_something_is_in_the_way():
    env, state = started(DRAWER)
    cabinet = env.data.body("cabinet").xpos
    inside = (cabinet[0], cabinet[1] + 0.02, 0.02)
    state, _ = follow(env, path(state.position, (cabinet[0], cabinet[1] + 0.02, 0.15), inside, apertures=0.0), state)
    assert state.position[2] > 0.06


def test_leaving_clears_the_picture():
    env, state = started(STACK)
    over = (0.0, 0.0, 0.28)
    state, _ = follow(env, path(state.position, (0, -0.3, 0.28), over), state)
    assert not np.array_equal(env.picture(), demonstrate_stills(STACK, SCENE, image_size=64).frame)
    follow(env, leave(state), state)
    shown = demonstrate_stills(STACK, SCENE, image_size=64).frame
    # Things have sunk by a fraction of a millimetre since.
    assert (np.abs(env.picture().astype(int) - shown).max(axis=-1) > 40).mean() < 0.002
    env.close()


@pytest.mark.parametrize(
    "broken",
    [
        {"times": np.array([0.0, 0.0])},
        {"times": np.array([1.0, 0.5])},
        {"positions": np.zeros((2, 2))},
        {"yaws": np.array([0.0, np.nan])},
        {"holding": np.zeros(3, bool)},
        {name: np.empty((0, 3) if name == "positions" else 0) for name in Waypoints.__dataclass_fields__},
    ],
)
def test_paths_that_cannot_be_followed_are_refused(broken):
    _, state = started(LAMP)
    good = path((0, 0, 0.2), (0, 0, 0.3))
    with pytest.raises(InvalidInput, match="waypoints"):
        WaypointController(replace(good, **broken), state)


def test_the_expert_refuses_other_environments():
    with pytest.raises(InvalidInput, match="Workbench"):
        Expert(gymnasium.make("CartPole-v1"))


def test_the_command_says_how_well_it_went(capsys):
    main(["--scenes", "1", "--task", LAMP, "--first", str(SCENE)])
    assert "1/1 = 100.0%" in capsys.readouterr().out
    low, high = wilson(49, 50)
    assert 0.89 < low < 0.98 < high < 1.0
