"""Key steps are done by contact in the simulator, although what was read of them is not exact."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mujoco")
gymnasium = pytest.importorskip("gymnasium")

from ksgen_envs import TASKS, demonstrate  # noqa: E402
from ksgen_envs.executors.agreement import agreed  # noqa: E402
from ksgen_envs.executors.contact import pushes, rest_of  # noqa: E402
from ksgen_envs.executors.controller import WaypointController  # noqa: E402
from ksgen_envs.executors.execution import Execution, KeyStepExecutor  # noqa: E402
from ksgen_envs.executors.imagined import imagine_next  # noqa: E402
from ksgen_envs.executors.reading import Reading  # noqa: E402
from ksgen_envs.executors.retarget_accuracy import key_step_of  # noqa: E402
from ksgen_envs.executors.retarget_results import Attempt, SceneResult, read_results, table  # noqa: E402
from ksgen_envs.executors.retarget_success import Imagined, main  # noqa: E402
from ksgen_envs.executors.waypoints import Waypoints  # noqa: E402
from ksgen_envs.film import Film, film, write_film  # noqa: E402
from ksgen_envs.goal_env.environment import WorkbenchEnv  # noqa: E402
from ksgen_envs.robot.gripper import read_state  # noqa: E402
from ksgen_envs.robot.model import TIP  # noqa: E402
from ksgen_envs.wordings import STEP_WORDINGS  # noqa: E402
from ksgen_models.errors import InvalidInput, UnknownTask  # noqa: E402
from ksgen_models.progress import StepVerdict  # noqa: E402
from ksgen_models.scores import trust  # noqa: E402
from ksgen_models.types import HandTrack, KeyStep, RegionOfMotion  # noqa: E402
from ksgen_models.video_io import read_video  # noqa: E402

SCENE = 1_000_041
STACK, PEGS, LAMP = "KSGen/StackBlocks-v0", "KSGen/InsertPegs-v0", "KSGen/SwitchOnLamp-v0"
DRAWER = "KSGen/StoreInDrawer-v0"


def started(env_id):
    """An environment at its first key step."""
    env = WorkbenchEnv(env_id, image_size=64, continuing=True)
    env.reset(options={"scene_seed": SCENE})
    return env


def true_reading(env, rest):
    """What a perfect eye reads of the present key step, which carries something."""
    step, body = env.key_step, env.data.body(env.key_step.body)
    start = body.xpos + body.xmat.reshape(3, 3) @ step.grasp.point
    axis = body.xmat.reshape(3, 3) @ step.grasp.axis
    yaw = float(np.arctan2(axis[1], axis[0]))
    end = start + step.goal[:3] - body.xpos
    return Reading("carry", (4, 10), start, end, (yaw, yaw), step.grasp.width, 0.02, "picture", 0.1, rest)


def perfect_track(step):
    """A hand track with exact keypoints and no place in depth."""
    keypoints = step.keypoints.copy()
    valid = np.isfinite(keypoints).all(axis=(2, 3))
    return HandTrack(keypoints, keypoints.copy(), valid.astype(np.float32), valid, np.zeros_like(valid))


def test_a_guarded_way_ends_where_something_is_felt():
    env = started(STACK)
    middle = env.data.body(env.key_step.body).xpos.copy()
    top = 2 * middle[2]
    path = Waypoints(
        times=np.arange(3.0),
        positions=np.array([[*middle[:2], top + 0.05], [*middle[:2], TIP], [*middle[:2], TIP + 0.03]]),
        yaws=np.zeros(3),
        apertures=np.zeros(3),
        holding=np.zeros(3, bool),
        guarded=np.array([False, True, False]),
    )
    executor = KeyStepExecutor(env)
    state = executor.follow(path.part(0, 1), read_state(env.step(np.zeros(5))[0]["observation"]))
    heights = []
    state = KeyStepExecutor(env, watch=lambda: heights.append(read_state(env._gripper.state()).position[2])).follow(
        path, state
    )
    assert min(heights) == pytest.approx(top + TIP, abs=0.003)
    assert state.position[2] == pytest.approx(top + TIP + 0.03, abs=0.005)


def test_guards_must_be_one_for_each_place():
    env = started(STACK)
    state = read_state(env.step(np.zeros(5))[0]["observation"])
    path = Waypoints(np.zeros(1), np.zeros((1, 3)), np.zeros(1), np.zeros(1), np.zeros(1, bool), np.zeros(2, bool))
    with pytest.raises(InvalidInput, match="guarded"):
        WaypointController(path, state)


@pytest.mark.parametrize("height", [0.06, -0.03])
def test_heights_of_what_is_set_down_need_not_be_read(height):
    env = started(STACK)
    goal, executor = env.key_step, KeyStepExecutor(env)
    reading = true_reading(env, "on")
    ray = reading.release - executor.retargeter.sight.eye
    executor.carry_out(replace(reading, release=reading.release + ray * (height / ray[2])), 8.0, 16)
    assert env.holds(goal)


def worked(env, contact, beside, turned=0.0, **known):
    """What a poor eye reads of the present key step, which works something that stays where it is."""
    step, body = env.key_step, env.data.body(env.key_step.body)
    start = body.xpos + body.xmat.reshape(3, 3) @ step.grasp.point
    spot = start + np.array([*beside, 0.0])
    cos, sin = np.cos(turned), np.sin(turned)
    towards = np.array([[cos, -sin], [sin, cos]]) @ (0.0, 0.08 if known.get("pushes") else -0.08)
    yaws = (turned, turned - 1.4) if contact == "turn" else (turned, turned)
    release = spot if contact == "turn" else spot + np.array([*towards, 0.0])
    return Reading(contact, (4, 10), spot, release, yaws, step.grasp.width, 0.02, "hand", **known)


@pytest.mark.parametrize(("beside", "turned"), [((0.02, 0.0), -0.3), ((-0.02, 0.008), 0.4)])
def test_a_drawer_is_pulled_and_pushed_by_a_hand_that_was_led_beside_it(beside, turned):
    env = WorkbenchEnv(DRAWER, image_size=64, continuing=True)
    last = len(env.bench.instruction.steps) - 1
    for key_step, pushed in ((0, False), (last, True)):
        env.reset(options={"scene_seed": SCENE, "key_step": key_step})
        goal = env.key_step
        KeyStepExecutor(env).carry_out(worked(env, "slide", beside, turned, pushes=pushed), 8.0, 16)
        assert env.holds(goal)


def test_a_knob_is_turned_by_a_hand_that_was_led_beside_it():
    env = started(LAMP)
    goal = env.key_step
    KeyStepExecutor(env).carry_out(worked(env, "turn", (0.009, -0.006)), 8.0, 16)
    assert env.holds(goal)


def test_a_grasp_misjudged_in_height_is_tried_again_lower():
    env = started(STACK)
    goal, executor = env.key_step, KeyStepExecutor(env)
    reading = true_reading(env, "on")
    up = np.array([0.0, 0.0, 0.04])
    executor.carry_out(replace(reading, grasp=reading.grasp + up, release=reading.release + up), 8.0, 16)
    assert env.holds(goal)


@pytest.mark.parametrize("beside", [(0.004, -0.005), (0.003, 0.005), (-0.005, -0.005)])
def test_a_peg_beside_its_hole_is_moved_about_until_it_falls_in(beside):
    env = started(PEGS)
    goal, executor = env.key_step, KeyStepExecutor(env)
    reading = true_reading(env, "fitted")
    executor.carry_out(replace(reading, release=reading.release + np.array([*beside, 0.0])), 8.0, 16)
    assert env.holds(goal)


@pytest.mark.parametrize(
    ("kind", "rest"),
    [("stand_upright", "fitted"), ("into_hole", "fitted"), ("into_bin", "in"), ("into_drawer", "in")]
    + [(kind, "on") for kind in ("lay_lower", "lay_upper", "stack")],
)
def test_every_wording_of_a_step_says_how_things_come_to_rest(kind, rest):
    names = {"into_hole": "blue hole", "into_bin": "blue bin"}
    for words in STEP_WORDINGS[kind]:
        assert rest_of(words.format(a="left upright", b=names.get(kind, "blue block"))) == rest, words


def test_every_wording_of_a_drawers_step_says_which_way_it_goes():
    for words in STEP_WORDINGS["open_drawer"]:
        assert not pushes(words), words
    for words in STEP_WORDINGS["close_drawer"]:
        assert pushes(words), words


@pytest.fixture(scope="module")
def shown():
    """A demonstration of a knob being turned and a button being pressed."""
    return demonstrate(LAMP, SCENE)


def test_a_demonstrated_task_is_done_step_by_step(shown):
    env = WorkbenchEnv(LAMP, continuing=True)
    env.reset(options={"scene_seed": SCENE})
    executor = KeyStepExecutor(env)
    done = [
        executor.execute(key_step_of(shown, index, perfect_track(step)), env.instruction.steps[index])
        for index, step in enumerate(shown.steps)
    ]
    assert [result.success for result in done] == [True] * len(shown.steps)
    assert all(result.actions > 0 and not result.error for result in done)
    assert executor.task_done
    blank = key_step_of(shown, 0, perfect_track(shown.steps[0]))
    unseen = replace(blank.hands, valid=np.zeros_like(blank.hands.valid))
    env.reset(options={"scene_seed": SCENE})
    refused = executor.execute(replace(blank, hands=unseen))
    assert (refused.success, refused.actions) == (False, 0)
    assert refused.error.startswith("NoHandFound")


def test_a_film_shows_camera_hand_and_robot_side_by_side(shown, tmp_path):
    env = WorkbenchEnv(LAMP, image_size=64, continuing=True)
    env.reset(options={"scene_seed": SCENE})
    start = env.picture()
    step = key_step_of(shown, 0, perfect_track(shown.steps[0]))
    filmed = film(env, [step], every=20, side=64, hand="demonstrated")
    frames = filmed.frames
    assert [done.success for done in filmed.steps] == [True]
    assert not filmed.task_done  # the button has not been pressed
    assert frames.shape[1:] == (64 + 40, 3 * 64 + 8, 3)
    camera, robot = frames[:, 20:84, :64], frames[:, 20:84, -64:]
    assert (camera == start).all()
    # The robot comes into the picture and leaves it.
    seen = np.abs(robot.astype(int) - start).max(axis=(1, 2, 3))
    assert seen.max() > 60
    changed = (np.abs(robot.astype(int) - start).max(axis=-1) > 40).mean(axis=(1, 2))
    assert changed[-1] < 0.5 * changed.max()
    green = (frames[:, 84:, :, 1].astype(int) - frames[:, 84:, :, 0] > 60).any(axis=(1, 2))
    assert green.any()
    assert not green[0]  # what the simulator says of it comes at the end
    write_film(tmp_path / "film.webp", frames)
    with Image.open(tmp_path / "film.webp") as moving:
        assert getattr(moving, "n_frames", 1) > 3
        assert moving.size == frames.shape[2:0:-1]
    for name in ("film.gif", "film.mp4"):
        write_film(tmp_path / name, frames)
        written = read_video(tmp_path / name)[0]
        # Alike frames are one in a GIF.
        assert 3 < len(written) <= len(frames)
        assert written.shape[1:] == frames.shape[1:]
        assert np.abs(written[0].astype(int) - frames[0]).mean() < 8
    with pytest.raises(InvalidInput, match="gif"):
        write_film(tmp_path / "film.txt", frames)
    with pytest.raises(InvalidInput, match="64 pixels"):
        film(env, [step], side=8)
    with pytest.raises(InvalidInput, match="no key step"):
        film(env, [])


def test_only_workbench_environments_are_executed_in():
    with pytest.raises(InvalidInput, match="Workbench"):
        KeyStepExecutor(gymnasium.make("CartPole-v1"))


class Drawn:
    """An imaginer that knows given key steps, one a seed, and the tasks that it plans nothing for."""

    def __init__(self, steps, unknown=()):
        self.steps, self.unknown, self.asked = steps, unknown, []

    def imagine_stream(self, frame, task, *, seed=0, allow_out_of_domain=False):
        self.asked.append(task)
        if task in self.unknown:
            raise UnknownTask(task)
        yield from self.steps[seed]


@pytest.fixture(scope="module")
def blank():
    """A key step without scores."""
    picture = np.zeros((32, 32, 3), np.uint8)
    nothing = np.zeros((2, 2, 21, 3), np.float32)
    absent = np.zeros((2, 2), bool)
    hands = HandTrack(nothing, nothing, absent.astype(np.float32), absent, absent)
    region = RegionOfMotion(np.zeros((32, 32), np.float32), absent, absent[None], np.zeros((32, 32), np.float32))
    return KeyStep(0, "Press the button", picture, picture, np.stack([picture] * 2), 8.0, hands, region)


def scored(step, hand_rate, sentence="Press the button", index=0):
    scores = {"hand_rate": hand_rate, "goal_agreement": 0.8, "motion_inside": 0.9}
    scores |= {"bone_constancy": 0.9, "background_psnr": 38.0}
    return replace(step, index=index, description=sentence, scores=scores)


def shown_at(step, column, hand_rate, seen):
    """An imagination that ends with a white square at a column, and a hand at the same place in two frames."""
    goal = step.image.copy()
    goal[12:20, column : column + 8] = 255
    valid = np.zeros((2, 2), bool)
    valid[:, 1] = seen
    keypoints = np.where(valid[..., None, None], np.float32(column / 32), np.nan) * np.ones((2, 2, 21, 3), np.float32)
    hands = HandTrack(keypoints, keypoints.copy(), valid.astype(np.float32), valid, np.zeros_like(valid))
    return replace(scored(step, hand_rate), goal=goal, hands=hands)


def test_what_imaginations_agree_on_is_taken(blank):
    steps = [shown_at(blank, *told) for told in ((8, 0.5, True), (9, 0.7, False), (9, 0.6, True), (20, 0.9, True))]
    step = agreed(steps)
    assert step.scores["hand_rate"] == 0.7
    assert (step.goal == steps[1].goal).all()
    assert step.hands.valid[:, 1].all()
    assert step.hands.keypoints[:, 1, 4, 0] == pytest.approx(8.5 / 32)
    assert np.isnan(step.hands.keypoints[:, 0]).all()
    assert agreed(steps[3:]).goal is not None
    # Pictures of different beginnings are not laid over each other.
    other = replace(steps[0], image=steps[0].image + 9)
    assert (agreed([other, steps[3]]).goal == steps[3].goal).all()


def test_the_candidate_that_shows_hands_is_taken(blank):
    imaginer: Any = Drawn({0: [scored(blank, 0.0)], 1: [scored(blank, 0.9)], 2: [scored(blank, 0.4)]})
    best = imagine_next(imaginer, blank.image, "Push the button", task="switch on", index=0, candidates=3)
    assert best.scores["hand_rate"] == 0.9
    assert 0.0 < trust(scored(blank, 0.0).scores) < trust(best.scores) < 1.0


def test_a_sentence_that_is_no_task_is_found_in_the_tasks_plan(blank):
    plan = [scored(blank, 0.5, "Turn the knob"), scored(blank, 0.5, "Press the button", 1)]
    imaginer: Any = Drawn({0: plan}, unknown=("Push the button down",))
    ask = {"task": "switch on the lamp", "index": 1, "candidates": 1}
    assert imagine_next(imaginer, blank.image, "Push the button down", **ask).index == 1
    # A plan that begins with something else is not the key step that was asked for.
    assert imagine_next(imaginer, blank.image, "Tap the button", **ask).index == 1
    assert imaginer.asked[-2:] == ["Tap the button", "switch on the lamp"]
    with pytest.raises(UnknownTask):
        imagine_next(imaginer, blank.image, "Push the button down", task="switch on", index=2, candidates=1)


@pytest.mark.parametrize(("done", "tries"), [(0.9, 1), (0.5, 1), (0.1, 2)])
def test_a_key_step_is_tried_again_where_it_is_surely_not_done(blank, done, tries):
    sentences = ("Turn the knob", "Press the button")
    planner = SimpleNamespace(plan=lambda frame, task: SimpleNamespace(steps=sentences))
    verifier = SimpleNamespace(verify=lambda frame, steps: [StepVerdict.of(step, done, 1.0) for step in steps])
    drawn = [scored(blank, 0.5, sentence) for sentence in sentences]
    imaginer: Any = Drawn({SCENE: drawn, SCENE + 1: drawn})
    parts: Any = SimpleNamespace(planner=planner, verifier=verifier)
    env = started(LAMP)
    assert len(list(Imagined(parts, imaginer, candidates=1, tries=2).whole(env))) == 2 * tries
    parts.verifier = None
    assert len(list(Imagined(parts, imaginer, candidates=1, tries=2).whole(env))) == 2
    env.close()


def test_a_film_counts_a_key_step_once_however_often_it_is_tried():
    tries = (("Turn", False), ("Turn", True), ("Press", False), ("Press", False))
    filmed = Film(np.zeros((1, 4, 4, 3), np.uint8), tuple(Execution(name, done, 9) for name, done in tries), False)
    assert str(filmed) == "1 of 2 key steps done, the task not done"
    later = Film(np.zeros((2, 4, 4, 3), np.uint8), (Execution("Press", True, 9),), True)
    both = filmed.then(later)
    assert len(both.frames) == 3
    assert str(both) == "2 of 2 key steps done, the task done"


def test_a_film_judges_a_key_step_by_what_it_asks_for(shown):
    # The first that is filmed is the last of the instruction: the knob has not been turned.
    env = started(LAMP)
    filmed = film(env, [key_step_of(shown, 1, perfect_track(shown.steps[1]))], every=40, side=64)
    assert [done.success for done in filmed.steps] == [True]
    assert not filmed.task_done
    env.close()


def test_parts_of_a_measurement_add_up(tmp_path, capsys):
    good, bad = Attempt("a", True, "", 0.8, {"hand_rate": 0.9}), Attempt("b", False, "NoHandFound: none")
    won = SceneResult(LAMP, SCENE, (good, bad), (good,), False)
    lost = replace(won, seed=SCENE + 1, single=(good, good), task_done=True)
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    first.write_text(json.dumps(asdict(won)) + "\n")
    second.write_text(json.dumps(asdict(won)) + "\n" + json.dumps(asdict(lost)) + "\n")
    assert list(read_results([first, second])) == [won, lost]
    main(["--sum", str(first), str(second)])
    printed = capsys.readouterr().out
    assert "switch_on_lamp | 3/4 = 75%" in printed
    assert "1/2 = 50%" in printed
    assert printed.strip() == table([won, lost])


def test_final_evaluation_scenes_are_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--first", "1999999", "--scenes", "2"])
    assert "1,999,999" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("env_id", TASKS)
def test_true_demonstrations_are_measured_on_every_task(env_id, tmp_path):
    out = tmp_path / "out.jsonl"
    main(["--first", str(SCENE), "--scenes", "1", "--task", env_id, "--out", str(out)])
    (result,) = read_results([out])
    assert (result.env_id, result.seed, result.broken_off) == (env_id, SCENE, "")
    assert any(attempt.success for attempt in result.single)
    assert len(result.single) == len(result.whole)
