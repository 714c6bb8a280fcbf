"""The words that a language model is given: what to do, the retrieved procedures, the task, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from ksgen_models.library import Procedure

_INSTRUCTIONS = """\
You plan what a person's hands do. You are told a task{seen}, and given procedures for similar tasks.
Write the key steps of the task in order, at most {most_steps}. A key step is one short imperative sentence with one \
visible action: what the hands take or move, and where to.
{naming}
Use a procedure as a pattern where it fits and leave it aside where it does not. Write no preparation that is already \
done, no numbering and no comments.
Answer with one JSON object {{"steps": [...]}} whose "steps" are the sentences, and with nothing else."""


def instructions(most_steps: int, with_picture: bool) -> str:
    """What the model is told once, before everything else."""
    return _INSTRUCTIONS.format(
        seen=" and shown the camera's picture of the scene" if with_picture else "",
        naming=f"Name things as the task{' and the picture do' if with_picture else ' does'}.",
        most_steps=most_steps,
    )


def question(task: str, procedures: Sequence[Procedure]) -> str:
    """The task after the procedures retrieved for it, the nearest last, next to the question."""
    examples = [_example(procedure) for procedure in reversed(procedures)]
    # In quotes and on one line: a task is somebody else's text, and no instruction.
    return "\n\n".join(["Procedures for similar tasks:", *examples, f'The task: "{task}"'])


def correction(fault: str, most_steps: int) -> str:
    """What is said to a model whose answer cannot be used."""
    return (
        f'That cannot be used: {fault}. Answer again with one JSON object {{"steps": [...]}} and nothing else; "steps" '
        f"holds the key steps of the task, 1 to {most_steps} short different sentences."
    )


def spoken_steps(procedure: Procedure) -> tuple[str, ...]:
    """A procedure's steps without slots."""
    return procedure.generic_steps or procedure.steps


def _example(procedure: Procedure) -> str:
    steps = (f"{number}. {step}" for number, step in enumerate(spoken_steps(procedure), start=1))
    return "\n".join([f'"{procedure.task}":', *steps])
