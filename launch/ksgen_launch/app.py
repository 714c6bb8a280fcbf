"""The typer application: one line for each command."""

from __future__ import annotations

from typing import Annotated

import typer

from ksgen_launch.commands import (
    assets,
    bench,
    curate,
    demo,
    doctor,
    evaluate,
    export,
    generate,
    generate_demos,
    imagine,
    keys,
    learn,
    serve,
    top,
    train,
    verify,
    view,
)

app = typer.Typer(
    name="ksgen-agent",
    help="Imagine a task, key step by key step, before a robot does it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def options(
    # Shown here for --help; `ksgen_launch.main` takes it from anywhere on the line.
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=lambda asked: _show_version(asked), help="Show it.")
    ] = False,
) -> None:
    """Imagine a task, key step by key step, before a robot does it."""


app.command("demo")(demo.demo)
app.command("imagine")(imagine.imagine)
app.command("assets")(assets.assets)
app.command("generate")(generate.generate)
app.command("generate-demos")(generate_demos.generate_demos)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("view")(view.view)
app.command("curate")(curate.curate)
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(learn.app, name="learn")
app.add_typer(bench.app, name="bench")
app.command("serve")(serve.serve)
app.command("top")(top.top)
app.add_typer(keys.app, name="keys")
app.command("doctor")(doctor.doctor)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("ksgen-agent"))
        raise typer.Exit()
