"""The arguments of every command, and what they say that is more than one word."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras_stitch
from keras_stitch import directory_layout as layout
from keras_stitch.errors import StitchError, reason
from keras_stitch.files import read_files
from keras_stitch.files.parse_text import from_yaml

# The commands that pass what follows -- on.
_SNAKEMAKE = ("run", "predict")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What a command line says: ``command``, its options, and ``snakemake``, which follows ``--``.

    Raises:
        SystemExit: After ``--help``, ``--version``, or a mistake, which is then on the standard error.
    """
    parser, given = make_parser(), list(arguments)
    own = given[: given.index("--")] if "--" in given else given
    for text in own:
        if re.fullmatch(r"--?[\w-]+=--|-\w--", text):  # argparse would take the value for none
            parser.error(f"argument {text[:-2]}: expected one argument")
    options = parser.parse_args(own)
    options.snakemake = given[len(own) + 1 :]
    if any(re.search("[\0\ud800-\udc7f\udd00-\udfff]", text) for text in given):
        parser.error("an argument holds a character that the system has in none")
    if options.snakemake and options.command not in _SNAKEMAKE:
        parser.error(f"only run and predict pass options on to Snakemake: {' '.join(options.snakemake)}")
    return options


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands, in the order of ``--help``."""
    parser = argparse.ArgumentParser("keras-stitch", description=keras_stitch.__doc__)
    parser.add_argument("--version", action="version", version=f"keras-stitch {keras_stitch.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for add in (_inspect, _build, _save, _plot, _plan, _verify, _run, _predict, _export, _push, _demo):
        add(commands)
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    added.add_argument("--debug", action="store_true", help="show the traceback of a mistake")
    return added


def _inspect(commands: Any) -> None:
    inspect = _command(commands, "inspect", "Show what is in saved models: ports, shapes, layers.")
    inspect.add_argument("files", nargs="+", metavar="FILE", help="or an address: hf://user/repo, https://..., doi:...")
    inspect.add_argument("--sha256", metavar="DIGITS", help="what a file has to have; https:// needs this or --md5")
    inspect.add_argument("--md5", metavar="DIGITS", help="the same, where its author states only that")
    inspect.add_argument("--arch", metavar="JSON", help="the architecture of a weights-only file")
    inspect.add_argument("--stateless", action="store_true", help="make the stateful layers of old files stateless")
    inspect.add_argument("--signature", metavar="NAME", help="a function of a SavedModel, to be taken as it is")
    inspect.add_argument("--saved-backend", metavar="NAME", help="tensorflow or theano, if an old file does not say it")
    _add_custom_objects(inspect)


def _build(commands: Any) -> None:
    build = _command(commands, "build", "Build the stitched model and save it, ready for Keras.")
    _add_spec(build)
    build.add_argument("-o", "--output", required=True, metavar="FILE", help="a .keras or .h5 file")
    build.add_argument("--overwrite", action="store_true", help="replace an existing file")


def _save(commands: Any) -> None:
    save = _command(commands, "save", "Write the Kipoi directory: model, merged dataloader, model card.")
    _add_spec(save)
    save.add_argument("-o", "--output", required=True, metavar="DIRECTORY")
    loader = "the Kipoi directory or import path whose dataloader makes a graph input; repeatable"
    _add_pairs(save, "-d", "--dataloader", metavar="INPUT=LOADER", help=loader)
    save.add_argument("--targets", metavar="FILE", help="a table file with targets for the examples")
    example = "the value of a dataloader argument for `kipoi test`; files are copied; repeatable"
    _add_pairs(save, "-e", "--example", metavar="ARGUMENT=VALUE", help=example)
    save.add_argument("--info", metavar="YAML", help="a file with authors, doc, license and so on, as Kipoi's info")
    save.add_argument("--hosting", metavar="URL", help="where the weights and examples will lie")
    save.add_argument("--format", default="keras", metavar="keras|h5", help="of the weights (default: keras)")
    save.add_argument(
        "--card", default="kipoi", metavar="kipoi|huggingface", help="who reads the model card (default: kipoi)"
    )
    save.add_argument("--overwrite", action="store_true", help="replace an existing directory")
    ids = "refuse parts whose rows have no ids or genomic ranges in common"
    save.add_argument("--require-ids", action="store_true", help=ids)


def _plot(commands: Any) -> None:
    plot = _command(commands, "plot", "Draw the graph.")
    _add_spec(plot)
    plot.add_argument("-o", "--output", required=True, metavar="FILE", help="an .svg or .png file")


def _plan(commands: Any) -> None:
    _add_spec(_command(commands, "plan", "Show what is in the graph, where each submodel runs, and why."))


def _verify(commands: Any) -> None:
    text = "Hold the stitched model against its parts run separately; exit status 1 where they differ."
    verify = _command(commands, "verify", text)
    _add_spec(verify)
    verify.add_argument("--rows", type=int, default=10, metavar="N", help="number of random rows (default: 10)")
    verify.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random rows (default: 0)")
    verify.add_argument("--data", metavar="NPZ", help="inputs of your own: a file with one array for each graph input")


def _run(commands: Any) -> None:
    text = "Run a directory whole: its workflow by Snakemake, then `kipoi predict`; all results in one folder."
    run = _command(commands, "run", text)
    run.add_argument("directory", metavar="DIRECTORY")
    run.add_argument("-o", "--output", default="results", metavar="FOLDER", help="of all results (default: results)")
    _add_predicting(run)


def _predict(commands: Any) -> None:
    predict = _command(commands, "predict", "Predict with any generated directory, whatever the placements in it.")
    predict.add_argument("directory", metavar="DIRECTORY")
    predict.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="its ending says the kind: .h5, .tsv, .bed, .parquet"
    )
    predict.add_argument(
        "--results", metavar="FOLDER", help="of what a workflow makes (default: <output>_results beside the output)"
    )
    _add_predicting(predict)


def _export(commands: Any) -> None:
    text = "Export the model of a generated directory as ONNX or SavedModel, compared with Keras before it is in place."
    export = _command(commands, "export", text)
    export.add_argument("source", metavar="DIRECTORY", help="or a .keras or .h5 file")
    export.add_argument(
        "-o",
        "--output",
        metavar="FILE|FOLDER",
        help="an .onnx file, or a folder for a SavedModel (default: <name>.onnx, or <name>_saved_model)",
    )
    export.add_argument("--format", metavar="onnx|saved_model", help="by default, what the ending of -o says, or onnx")
    export.add_argument("--overwrite", action="store_true", help="replace a file, or the folder of an earlier export")
    _add_custom_objects(export)


def _push(commands: Any) -> None:
    push = _command(
        commands, "push", "Upload a generated directory to the Hugging Face Hub, and print its address there."
    )
    push.add_argument("directory", metavar="DIRECTORY")
    push.add_argument("address", metavar="hf://user/repo", help="perhaps with @branch; a new repository is made")
    push.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    push.add_argument("--message", metavar="TEXT", help="of the commit")


def _demo(commands: Any) -> None:
    demo = _command(commands, "demo", "Stitch four small models and write, test and train the result.")
    demo.add_argument("-o", "--output", default="demo_output", metavar="DIRECTORY")


def _add_spec(command: argparse.ArgumentParser) -> None:
    command.add_argument("spec", metavar=layout.RECORD)
    _add_custom_objects(command)


def _add_custom_objects(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--custom-objects",
        action="append",
        metavar="FILE|MODULE",
        help="layers that Keras does not have: a Python file with a dict OBJECTS, a module, or module:Name; repeatable",
    )


def _add_pairs(command: argparse.ArgumentParser, *flags: str, metavar: str, help: str) -> None:
    """An option that may be given again and again."""
    command.add_argument(*flags, action="append", default=[], metavar=metavar, help=help)


def _add_predicting(command: argparse.ArgumentParser) -> None:
    argument = "an argument of the dataloaders, wherever it is taken; repeatable; without any, those of the examples"
    _add_pairs(command, "-a", "--arg", metavar="NAME=VALUE", help=argument)
    command.add_argument("--dataloader_args", metavar="JSON", help="all of them, as kipoi predict takes them")
    command.add_argument("--batch_size", type=int, metavar="N", help="rows that run at once (default: 32)")
    command.add_argument("-n", "--num_workers", type=int, metavar="N", help="processes that read (default: none)")
    command.add_argument("--cores", type=int, metavar="N", help="of a workflow; jobs at a time on a cluster")
    command.add_argument(
        "--profile", default="local", metavar="NAME", help="of Snakemake: local, slurm or a folder (default: local)"
    )
    _add_pairs(command, "--config", metavar="KEY=VALUE", help="a setting of the workflow, such as chunks=4")
    command.add_argument("--dry-run", action="store_true", help="only show what the workflow would do")
    command.epilog = "What follows -- is passed on to Snakemake."


# -- options that are more than one word, or name a file ---------------------------------------------------------------
def read_pairs(given: Sequence[str], option: str) -> dict[str, str]:
    """The dict that an option says which is given as ``NAME=VALUE``, again and again; ``option`` is for errors.

    Raises:
        StitchError: When one is no pair, or a name is there twice.
    """
    pairs: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise StitchError(f"Cannot read {option} {text!r}.", expected="NAME=VALUE")
        if key in pairs:
            raise StitchError(f"{option} {key!r} is given twice.")
        pairs[key] = value
    return pairs


def read_info(path: str | None) -> dict[str, object] | None:
    """The mapping in the YAML file of ``--info``, or ``None`` without one.

    Raises:
        StitchError: When it is not there, or holds no mapping.
    """
    if path is None:
        return None
    try:
        info = from_yaml(read_files.read_text(Path(path)))
    except OSError as error:
        raise StitchError(f"--info '{path}' cannot be read: {error.strerror}.") from error
    except ValueError as error:  # of the encoding, or of the text
        raise StitchError(f"--info '{path}' is not valid YAML: {reason(error)}.") from error
    if not isinstance(info, dict):
        raise StitchError(f"--info '{path}' is no mapping.", expected="authors: ..., doc: ..., license: ...")
    return info
