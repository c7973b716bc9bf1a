"""The command line: parses, delegates, and turns a user's mistake into one message and exit status 2."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import keras_stitch
from keras_stitch.errors import SaveError, StitchError, reason
from keras_stitch.terminal import steps


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; ``sys.argv`` by default.

    Returns:
        The exit status: 0, 1 where ``verify`` finds a difference, or 2 after a mistake of the user's.
    """
    parser, given = _parser(), list(sys.argv[1:] if arguments is None else arguments)
    # What follows -- is Snakemake's.
    own = given[: given.index("--")] if "--" in given else given
    options = parser.parse_args(own)
    options.snakemake = given[len(own) + 1 :]
    if options.snakemake and options.run not in (_run, _predict):
        parser.error(f"only run and predict pass options on to Snakemake: {' '.join(options.snakemake)}")
    # TensorFlow's banner is of no use to anyone here; who wants it sets the variable.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        status = options.run(options)
    except KeyboardInterrupt:
        print("keras-stitch: stopped; nothing is left half-written.", file=sys.stderr)
        return 130
    except StitchError as error:
        if options.debug:
            traceback.print_exc()
        else:
            print(f"keras-stitch: {error}", file=sys.stderr)
        return 2
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("keras-stitch", description=keras_stitch.__doc__)
    parser.add_argument("--version", action="version", version=f"keras-stitch {keras_stitch.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.add_argument("--debug", action="store_true", help="show the traceback of a mistake")
        added.set_defaults(run=run)
        return added

    inspect = command("inspect", _inspect, "Show what is in saved models: ports, shapes, layers.")
    inspect.add_argument("files", nargs="+", metavar="FILE")
    inspect.add_argument("--arch", metavar="JSON", help="the architecture of a weights-only file")
    _add_custom_objects(inspect)

    build = command("build", _build, "Build the stitched model and save it, ready for Keras.")
    build.add_argument("spec", metavar="stitch.yaml")
    _add_custom_objects(build)
    build.add_argument("-o", "--output", required=True, metavar="FILE", help="a .keras or .h5 file")
    build.add_argument("--overwrite", action="store_true", help="replace an existing file")

    save = command("save", _save, "Write the Kipoi directory: model, merged dataloader, model card.")
    save.add_argument("spec", metavar="stitch.yaml")
    _add_custom_objects(save)
    save.add_argument("-o", "--output", required=True, metavar="DIRECTORY")
    save.add_argument(
        "-d",
        "--dataloader",
        action="append",
        default=[],
        metavar="INPUT=LOADER",
        help="the Kipoi directory or import path whose dataloader makes a graph input; repeatable",
    )
    save.add_argument("--targets", metavar="FILE", help="an NPY, TSV, CSV or HDF5 file with targets for the examples")
    save.add_argument(
        "-e",
        "--example",
        action="append",
        default=[],
        metavar="ARGUMENT=VALUE",
        help="the value of a dataloader argument for `kipoi test`; files are copied; repeatable",
    )
    save.add_argument("--info", metavar="YAML", help="a file with authors, doc, license and so on, as Kipoi's info")
    save.add_argument("--hosting", metavar="URL", help="where the weights and examples will lie")
    save.add_argument("--format", default="keras", metavar="keras|h5", help="of the weights (default: keras)")
    save.add_argument("--overwrite", action="store_true", help="replace an existing directory")

    plot = command("plot", _plot, "Draw the graph.")
    plot.add_argument("spec", metavar="stitch.yaml")
    _add_custom_objects(plot)
    plot.add_argument("-o", "--output", required=True, metavar="FILE", help="an .svg or .png file")

    plan = command("plan", _plan, "Show what is in the graph, where each submodel runs, and why.")
    plan.add_argument("spec", metavar="stitch.yaml")
    _add_custom_objects(plan)

    verify = command(
        "verify", _verify, "Hold the stitched model against its parts run separately; exit status 1 where they differ."
    )
    verify.add_argument("spec", metavar="stitch.yaml")
    _add_custom_objects(verify)
    verify.add_argument("--rows", type=int, default=10, metavar="N", help="random rows (default: 10)")
    verify.add_argument("--seed", type=int, default=0, metavar="N", help="of the random rows (default: 0)")
    verify.add_argument("--data", metavar="NPZ", help="inputs of your own: a file with one array for each graph input")

    run = command(
        "run",
        _run,
        "Run a directory whole: its workflow by Snakemake, then `kipoi predict`; all results in one folder.",
    )
    run.add_argument("directory", metavar="DIRECTORY")
    run.add_argument("-o", "--output", default="results", metavar="FOLDER", help="of all results (default: results)")
    _add_predicting(run)

    predict = command("predict", _predict, "Predict with any generated directory, whatever the placements in it.")
    predict.add_argument("directory", metavar="DIRECTORY")
    predict.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="its ending says the kind: .h5, .tsv, .bed, .parquet"
    )
    predict.add_argument(
        "--results", metavar="FOLDER", help="of what a workflow makes (default: <output>_results beside the output)"
    )
    _add_predicting(predict)

    export = command(
        "export",
        _export,
        "Export the model of a generated directory as ONNX or SavedModel, compared with Keras before it is in place.",
    )
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

    demo = command("demo", _demo, "Stitch four small models and write, test and train the result.")
    demo.add_argument("-o", "--output", default="demo_output", metavar="DIRECTORY")
    return parser


def _add_custom_objects(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--custom-objects",
        action="append",
        metavar="FILE|MODULE",
        help="layers that Keras does not have: a Python file with a dict OBJECTS, a module, or module:Name; repeatable",
    )


def _add_predicting(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-a",
        "--arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the dataloaders, wherever it is taken; repeatable; without any, those of the examples",
    )
    command.add_argument("--dataloader_args", metavar="JSON", help="all of them, as kipoi predict takes them")
    command.add_argument("--batch_size", type=int, metavar="N", help="rows that run at once (default: 32)")
    command.add_argument("-n", "--num_workers", type=int, metavar="N", help="processes that read (default: none)")
    command.add_argument("--cores", type=int, metavar="N", help="of a workflow; jobs at a time on a cluster")
    command.add_argument(
        "--profile", default="local", metavar="NAME", help="of Snakemake: local, slurm or a folder (default: local)"
    )
    command.add_argument(
        "--config", action="append", default=[], metavar="KEY=VALUE", help="a setting of the workflow, such as chunks=4"
    )
    command.add_argument("--dry-run", action="store_true", help="only show what the workflow would do")
    command.epilog = "What follows -- is passed on to Snakemake."


def _inspect(options: argparse.Namespace) -> None:
    from keras_stitch.sources.inspect_file import inspect_file

    for file in options.files:
        with steps() as step:
            step(f"loading {file}")
            report = inspect_file(file, arch=options.arch, custom_objects=options.custom_objects)
        print(report)


def _build(options: argparse.Namespace) -> None:
    from keras_stitch.models.save_keras import format_of, save_model

    output = Path(options.output)
    format_of(output)
    if output.exists() and not options.overwrite:
        raise SaveError(f"'{output}' exists.", fix="Give another name, or --overwrite.")
    with steps() as step:
        step(f"loading the models of {options.spec}")
        graph = _graph(options)
        step("building the stitched model")
        model = graph.build()
        step(f"saving {output}")
        save_model(model, output)
    print(graph.summary())
    print(f"\nwritten: {output}")


def _save(options: argparse.Namespace) -> None:
    # What can be wrong on the command line is found before any model is loaded.
    dataloaders, examples = _pairs(options.dataloader, "-d"), _pairs(options.example, "-e")
    info = _info(options.info)
    with steps() as step:
        step(f"loading the models of {options.spec}")
        graph = _graph(options)
        directory = graph.save(
            options.output,
            dataloaders=dataloaders,
            targets=options.targets,
            examples=examples,
            info=info,
            hosting=options.hosting,
            format=options.format,
            overwrite=options.overwrite,
            progress=step,
        )
    print(f"written: {directory}\ntry it: cd {directory} && kipoi test .")


def _plot(options: argparse.Namespace) -> None:
    with steps() as step:
        step(f"loading the models of {options.spec}")
        graph = _graph(options)
        step("drawing")
        path = graph.plot(options.output)
    print(f"written: {path}")


def _plan(options: argparse.Namespace) -> None:
    with steps() as step:
        step(f"loading the models of {options.spec}")
        graph = _graph(options)
        summary, plan = graph.summary(), graph.plan()
    print(f"{summary}\n\n{plan}")


def _verify(options: argparse.Namespace) -> int:
    from keras_stitch.models.sample_rows import read_data
    from keras_stitch.verify.verify import check_recorded

    data = None if options.data is None else read_data(Path(options.data))
    with steps() as step, check_recorded(Path(options.spec)):
        step(f"loading the models of {options.spec}")
        graph = _graph(options)
        certificate = graph.verify(data, rows=options.rows, seed=options.seed, progress=step)
    print(certificate)
    return 0 if certificate.passed else 1


def _run(options: argparse.Namespace) -> None:
    folder = Path(options.output)
    name = Path(options.directory).resolve().name
    _predict_with(options, folder / f"{name}.h5", folder)


def _predict(options: argparse.Namespace) -> None:
    _predict_with(options, Path(options.output), None if options.results is None else Path(options.results))


def _predict_with(options: argparse.Namespace, output: Path, results: Path | None) -> None:
    from keras_stitch.workflow.predict_directory import predict, read_arguments

    arguments = read_arguments(options.arg, options.dataloader_args)
    settings = _pairs(options.config, "--config")
    workflow = {"settings": settings, "cores": options.cores, "profile": options.profile}
    workflow["options"] = [*options.snakemake, *(["--dry-run"] if options.dry_run else [])]
    file = predict(
        Path(options.directory),
        output,
        arguments=arguments,
        results=results,
        batch_size=options.batch_size,
        workers=options.num_workers,
        workflow=workflow,
    )
    if not options.dry_run:
        print(f"written: {file}")


def _export(options: argparse.Namespace) -> None:
    from keras_stitch.export.export_model import export_model

    with steps() as step:
        exported = export_model(
            options.source,
            options.output,
            format=options.format,
            custom_objects=options.custom_objects,
            overwrite=options.overwrite,
            progress=step,
        )
    print(f"{exported}\n\nwritten: {exported.path}")


def _demo(options: argparse.Namespace) -> None:
    from keras_stitch.demo.run_demo import run_demo

    run_demo(Path(options.output))


def _graph(options: argparse.Namespace) -> keras_stitch.Graph:
    return keras_stitch.Graph.from_yaml(options.spec, custom_objects=options.custom_objects)


def _pairs(given: Sequence[str], option: str) -> dict[str, str]:
    pairs = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise StitchError(f"Cannot read {option} {text!r}.", expected="NAME=VALUE")
        if key in pairs:
            raise StitchError(f"{option} {key!r} is given twice.")
        pairs[key] = value
    return pairs


def _info(path: str | None) -> dict[str, object] | None:
    if path is None:
        return None
    import yaml

    try:
        info = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StitchError(f"--info '{path}' cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise StitchError(f"--info '{path}' is not valid YAML: {reason(error)}.") from error
    if not isinstance(info, dict):
        raise StitchError(f"--info '{path}' is no mapping.", expected="authors: ..., doc: ..., license: ...")
    return info


if __name__ == "__main__":
    sys.exit(main())
