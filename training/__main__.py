"""Trains and measures the demo bundle, and draws its gallery: `python -m training COMMAND`."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import diffusers.utils.logging
import torch
import transformers.utils.logging

from inpaint_server.models.bundle import DEMO
from training.demo_photos import write_photos
from training.evaluate import (
    judge_backgrounds,
    judge_lower_passes,
    judge_masks,
    judge_photos,
    judge_seams,
    load_predictor,
    write_report,
)
from training.gallery import write_gallery
from training.judge import Judge, train_both
from training.making import Making
from training.sampling import Bundle, Sampling
from training.stages import TrainingRun

ROOT = Path(__file__).parent.parent
PHOTOS = DEMO.parent / "photos"
MASKS = ROOT / "tests" / "training" / "masks"
JUDGES = ROOT / "tests" / "training" / "judges"
GALLERY = ROOT / "docs"
FIGURES = GALLERY / "demo-models.json"


def make_all(options: argparse.Namespace) -> None:
    """Draws the pictures, trains what is not yet trained, and writes the bundle."""
    _training_run(options).bundle(options.bundle)


def make_part(options: argparse.Namespace) -> None:
    """Completes one stage and those it depends on."""
    run = _training_run(options)
    stages: Mapping[str, Callable[[], object]] = {
        "pictures": lambda: [run.drawn(drawing) for drawing in (*run.making.scenes, run.making.photos)],
        "autoencoder": run.autoencoder,
        "diffusion": run.diffusion,
        "segmenter": run.sam,
    }
    stages[options.stage]()


def make_photos(_options: argparse.Namespace) -> None:
    """Draws the demo photos and their masks."""
    write_photos(PHOTOS, MASKS)


def make_judges(options: argparse.Namespace) -> None:
    """Trains the classifiers that name what a generated picture shows."""
    run = _training_run(options)
    backdrops, surfaces = train_both(run.drawn(run.making.scenes[0]), seed=1)
    JUDGES.mkdir(parents=True, exist_ok=True)
    backdrops.save(JUDGES / "backdrops.safetensors")
    surfaces.save(JUDGES / "surfaces.safetensors")


def evaluate(options: argparse.Namespace) -> None:
    """Measures the bundle and writes the figures for the model card."""
    run = _training_run(options)
    held_out = run.drawn(run.making.held_out)
    predictor, bundle = load_predictor(options.bundle), Bundle.load(options.bundle)
    judges = [Judge.load(JUDGES / f"{name}.safetensors") for name in ("backdrops", "surfaces")]
    sampling = Sampling(guidance_scale=run.making.guidance_scale)
    figures = {
        "masks": judge_masks(predictor, held_out),
        "photos": judge_photos(predictor, PHOTOS, MASKS),
        "backgrounds": judge_backgrounds(bundle, judges[0], per_word=options.per_word, sampling=sampling),
        "lower passes": judge_lower_passes(bundle, judges[1], held_out, per_word=options.per_word, sampling=sampling),
        "seams": judge_seams(bundle, held_out.first(24), sampling=sampling),
    }
    write_report(figures, FIGURES)


def segment(options: argparse.Namespace) -> None:
    """Prints the IoU of each photo in a folder that has a PNG mask of the same name in another."""
    figures = judge_photos(load_predictor(options.bundle), options.photos, options.masks)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


def gallery(options: argparse.Namespace) -> None:
    """Draws the gallery's contact sheets and writes its page."""
    write_gallery(options.bundle, PHOTOS, GALLERY)


def _training_run(options: argparse.Namespace) -> TrainingRun:
    making = Making.tiny() if options.tiny else Making.demo()
    return TrainingRun(
        making=making, folder=options.work / making.version, workers=options.threads, start=options.start
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=ROOT / "build" / "training", help="folder for pictures and checkpoints"
    )
    parser.add_argument("--bundle", type=Path, default=DEMO, help="the bundle's folder")
    parser.add_argument("--start", type=Path, help="a finished bundle to go on from, instead of from nothing")
    parser.add_argument("--threads", type=int, default=2, help="threads that train, processes that draw")
    parser.add_argument("--tiny", action="store_true", help="a minute's worth of everything, to try the commands")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run in {"all": make_all, "photos": make_photos, "judges": make_judges, "gallery": gallery}.items():
        commands.add_parser(name, help=run.__doc__).set_defaults(run=run)
    stage = commands.add_parser("stage", help=make_part.__doc__)
    stage.add_argument("stage", choices=["pictures", "autoencoder", "diffusion", "segmenter"])
    stage.set_defaults(run=make_part)
    measure = commands.add_parser("evaluate", help=evaluate.__doc__)
    measure.add_argument("--per-word", type=int, default=4, help="generated pictures for each word")
    measure.set_defaults(run=evaluate)
    masks = commands.add_parser("segment", help=segment.__doc__)
    masks.add_argument("--photos", type=Path, default=PHOTOS, help="folder of photos")
    masks.add_argument("--masks", type=Path, default=MASKS, help="folder of masks; what is not black is product")
    masks.set_defaults(run=segment)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Runs one command."""
    options = _parser().parse_args(arguments)
    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.disable_progress_bar()
        logging.set_verbosity_error()
    torch.set_num_threads(options.threads)
    options.run(options)


if __name__ == "__main__":
    main()
