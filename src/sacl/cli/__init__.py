"""The `sacl` command. Verbs are in the modules beside this one; only here anything is printed.

Exit codes: 0 done, 2 the user's input or a full disk is at fault, 130 interrupted by Ctrl-C or SIGTERM, 1 anything
else.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

import sacl
from sacl.cli import convert, data, interrupt, models, ray, report, robustness, serve, show, study, train
from sacl.errors import SaclError

app = typer.Typer(
    name="sacl",
    help="Emotion recognition in conversations: SACL-LSTM, its experiments, and its use on your own conversations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(short_help="Train on the sample corpus, and show the table.")(train.demo)
app.add_typer(data.app, name="data")
app.command(cls=ray.RayCommand)(data.encode)
app.command(name="train", cls=ray.RayCommand, short_help="Train a recipe, seed by seed, and score it.")(train.train)
app.command(short_help="Score the models of a run again, from their files.")(train.evaluate)
app.command(cls=ray.RayCommand, short_help="Name the emotion of every utterance of a file.")(models.predict)
app.command(short_help="Answer over HTTP, and show a page.")(serve.serve)
app.command(cls=ray.RayCommand, short_help="Train a recipe without parts of its objective.")(study.ablate)
app.command(cls=ray.RayCommand, short_help="Train combinations of settings; validation ranks them.")(study.sweep)
app.command(short_help="Attack trained models, and damage what they read.")(robustness.robustness)
app.command(short_help="Whether runs differ by more than chance.")(report.compare)
app.command(short_help="Tables and figures of runs, or one HTML file.")(report.report)
app.command(short_help="Score somebody else's predictions.")(report.score)
app.command(name="import", short_help="Turn a released checkpoint into a model.")(convert.import_checkpoint)
data.app.command(name="import")(convert.import_pickle)


@app.callback(invoke_without_command=True)
def _main(version: bool = typer.Option(False, "--version", help="Show the version and exit.", is_eager=True)) -> None:
    if version:
        print(sacl.__version__)
        raise typer.Exit


def main() -> NoReturn:
    """Runs the command; what the user can mend is told in one line, without a traceback."""
    interrupt.listen()
    # Threads that spin while they wait make two of them slower than one where the machine has other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        try:
            # Typer catches Ctrl-C itself, and returns 130.
            code = app(prog_name="sacl", standalone_mode=False) or 0
        except BaseException:
            if interrupt.was_told():
                raise KeyboardInterrupt from None
            raise
        if code == 130:
            raise KeyboardInterrupt
        sys.stdout.flush()
    except SaclError as error:
        print(f"sacl: {show.printable(show.shortened(' '.join(str(error).split())))}", file=sys.stderr)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        print(f"sacl: {interrupt.line(sys.argv[1:])}", file=sys.stderr)
        code = 130
    except (BrokenPipeError, SystemExit):
        # Whoever read our output has seen enough, which Typer and Rich take for a failure (SystemExit); Python would
        # complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        # A full disk, most likely. Python would try to write what is left when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = f" ({error.filename})" if error.filename else ""
        print(f"sacl: {error.strerror or error}{where}. Make room, or name another place", file=sys.stderr)
        code = 2
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        message = str(error.format_message())  # the whole help, where no verb is given
        shown = message if "\n" in message else f"sacl: {message.rstrip('.')}. See `sacl --help`"
        print(shown, file=sys.stderr)
        code = 2
    sys.exit(code)
