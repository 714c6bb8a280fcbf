"""The engines in real processes: everything is done once, deaths cost no task but the one that kills, nobody stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from generation_parts import Squares, Unopenable

from ksgen_export.jobs import Failure, run_tasks
from ksgen_models.errors import InvalidInput, KSGenError, WeightsMissing


def test_each_task_is_done_by_one_of_the_workers_that_open_the_work_once(tmp_path: Path) -> None:
    answers = dict(run_tasks(range(6), Squares(tmp_path), workers=2))
    assert {number: answer[0] for number, answer in answers.items()} == {number: number**2 for number in range(6)}
    doers = {answer[1] for answer in answers.values()}
    assert os.getpid() not in doers
    assert {f"opened-{doer}" for doer in doers} <= {path.name for path in tmp_path.glob("opened-*")}
    assert len(list(tmp_path.glob("opened-*"))) <= 2


def test_a_task_that_kills_its_workers_is_given_up_and_the_others_are_done(tmp_path: Path) -> None:
    answers = dict(run_tasks([1, -1, 13, 2], Squares(tmp_path), workers=1))
    assert isinstance(answers[-1], Failure)
    assert "died 3 times" in answers[-1].error
    assert answers[13] == Failure("ValueError: an unlucky number")
    assert [answers[number][0] for number in (1, 2)] == [1, 4]
    assert len(list(tmp_path.glob("opened-*"))) == 4


@pytest.mark.slow
def test_a_lethal_first_task_does_not_stop_the_rest_but_death_without_end_does(tmp_path: Path) -> None:
    answers = dict(run_tasks([-1, 2], Squares(tmp_path), workers=1))
    assert isinstance(answers[-1], Failure)
    assert answers[2][0] == 4
    with pytest.raises(KSGenError, match="9 workers died before any had done a task"):
        list(run_tasks([-1, -2, -3, -4], Squares(tmp_path), workers=1))


def test_a_work_that_cannot_be_opened_ends_the_run_with_its_own_error() -> None:
    with pytest.raises(WeightsMissing, match="run: ksgen-agent assets"):
        list(run_tasks([1, 2], Unopenable(), workers=1))


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"engine": "lokal"}, "did you mean local"),
        ({"workers": -1}, "workers is -1"),
        ({"cores_per_worker": 0}, "cores_per_worker is 0"),
    ],
)
def test_engines_say_what_cannot_be_used(told: dict, match: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=match):
        run_tasks([1], Squares(tmp_path), **told)


def test_no_tasks_start_no_workers(tmp_path: Path) -> None:
    assert list(run_tasks([], Squares(tmp_path))) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_workers_end_when_the_run_is_killed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\nfrom generation_parts import Squares\nfrom ksgen_export.jobs import run_tasks\n"
        f"if __name__ == '__main__':\n    list(run_tasks([100, 101], Squares(Path({str(tmp_path)!r})), workers=2))\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    told = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    run = subprocess.Popen([sys.executable, str(script)], env=told)
    limit = time.monotonic() + 120
    while len(list(tmp_path.glob("began-*"))) < 2 and time.monotonic() < limit:
        time.sleep(0.05)
    workers = [int(path.name.partition("-")[2]) for path in tmp_path.glob("opened-*")]
    run.kill()
    run.wait()
    assert len(workers) == 2
    while any(map(_is_alive, workers)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not any(map(_is_alive, workers))


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
