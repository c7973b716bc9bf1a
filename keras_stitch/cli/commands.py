"""What each command does, which is to call what does it, and to print the answer."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import keras_stitch
from keras_stitch.cli.parser import read_info, read_pairs
from keras_stitch.files.new_files import check_target
from keras_stitch.graphs import read_stitch_yaml
from keras_stitch.start_keras import import_keras
from keras_stitch.terminal import steps


def inspect(options: argparse.Namespace) -> None:
    """Print what is in each file."""
    import_keras()
    from keras_stitch.placement.summary import describe
    from keras_stitch.sources.load_source import load

    for file in options.files:
        with steps() as step:
            step(f"loading {file}")
            given = {"arch": options.arch, "custom_objects": options.custom_objects}
            given |= {"saved_backend": options.saved_backend, "stateless": options.stateless or None}
            given["signature"] = options.signature
            given |= {"sha256": options.sha256, "md5": options.md5}
            added = load("inspected", file, **given)
        about = "" if added.part is None else str(added.part.info.get("doc") or "")
        # What a label says beside the name of the file, such as "(SavedModel of Keras)".
        more = added.submodel.source.label.removeprefix(Path(file).name)
        print(describe(added.submodel, file + more if more.startswith(" (") else file, about))


def build(options: argparse.Namespace) -> None:
    """Write the stitched model."""
    import_keras()
    from keras_stitch.models.save_keras import format_of, save_model

    output = Path(options.output)
    format_of(output)
    check_target(output, overwrite=options.overwrite)
    with steps() as step:
        graph = _graph(options, step)
        step("building the stitched model")
        model = graph.build()
        step(f"saving {output}")
        save_model(model, output, overwrite=options.overwrite)
    print(graph.summary())
    print(f"\nwritten: {output}")


def save(options: argparse.Namespace) -> None:
    """Write the Kipoi directory."""
    # What can be wrong on the command line is found before any model is loaded.
    dataloaders, examples = read_pairs(options.dataloader, "-d"), read_pairs(options.example, "-e")
    info = read_info(options.info)
    with steps() as step:
        graph = _graph(options, step)
        directory = graph.save(
            options.output,
            dataloaders=dataloaders,
            targets=options.targets,
            examples=examples,
            info=info,
            hosting=options.hosting,
            format=options.format,
            overwrite=options.overwrite,
            require_ids=options.require_ids,
            card=options.card,
            progress=step,
        )
    print(f"written: {directory}\ntry it: cd {directory} && kipoi test .")


def plot(options: argparse.Namespace) -> None:
    """Write the picture."""
    with steps() as step:
        graph = _graph(options, step)
        step("drawing")
        path = graph.plot(options.output)
    print(f"written: {path}")


def plan(options: argparse.Namespace) -> None:
    """Print the submodels, and where each runs."""
    with steps() as step:
        graph = _graph(options, step)
        summary, placed = graph.summary(), graph.plan()
    print(f"{summary}\n\n{placed}")


def verify(options: argparse.Namespace) -> int:
    """Print the certificate; 1 where it did not pass."""
    import_keras()
    from keras_stitch.models.sample_rows import read_data
    from keras_stitch.verify.verify import check_recorded

    data = None if options.data is None else read_data(Path(options.data))
    with steps() as step, check_recorded(Path(options.spec)):
        graph = _graph(options, step)
        certificate = graph.verify(data, rows=options.rows, seed=options.seed, progress=step)
    print(certificate)
    return 0 if certificate.passed else 1


def run(options: argparse.Namespace) -> None:
    """Predict with a directory, and keep all results in one folder."""
    folder = Path(options.output)
    name = Path(os.path.realpath(options.directory)).name  # Path.resolve fails on a link to itself
    _predict_with(options, folder / f"{name}.h5", folder)


def predict(options: argparse.Namespace) -> None:
    """Predict with a directory into one file."""
    _predict_with(options, Path(options.output), None if options.results is None else Path(options.results))


def _predict_with(options: argparse.Namespace, output: Path, results: Path | None) -> None:
    from keras_stitch.workflow.predict_directory import predict, read_arguments

    arguments = read_arguments(options.arg, options.dataloader_args)
    settings = read_pairs(options.config, "--config")
    passed_on = [*options.snakemake, *(["--dry-run"] if options.dry_run else [])]
    file = predict(
        Path(options.directory),
        output,
        arguments=arguments,
        results=results,
        batch_size=options.batch_size,
        workers=options.num_workers,
        workflow={"settings": settings, "cores": options.cores, "profile": options.profile, "options": passed_on},
    )
    if not options.dry_run:
        print(f"written: {file}")


def export(options: argparse.Namespace) -> None:
    """Write the model for programs without Keras."""
    import_keras()
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


def push(options: argparse.Namespace) -> None:
    """Upload a directory."""
    address = keras_stitch.push(options.directory, options.address, private=options.private, message=options.message)
    print(f"pushed: {address}")


def demo(options: argparse.Namespace) -> None:
    """Run the demo."""
    import_keras()
    from keras_stitch.demo.run_demo import run_demo

    run_demo(Path(options.output))


def _graph(options: argparse.Namespace, step: Callable[[str], None]) -> keras_stitch.Graph:
    step(f"loading the models of {options.spec}")
    # Mistakes in the file are found at once: Keras takes seconds to start.
    read_stitch_yaml.read(Path(options.spec))
    import_keras()
    return keras_stitch.Graph.from_yaml(options.spec, custom_objects=options.custom_objects)


COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    command.__name__: command
    for command in (inspect, build, save, plot, plan, verify, run, predict, export, push, demo)
}
