"""The options of the commands: each function adds some to the parser of a command."""

import argparse
from pathlib import Path


def add_experiment(command: argparse.ArgumentParser) -> None:
    """The experiment, and overrides of its keys."""
    text = "an experiment's YAML file, or a name that evoprune carries"
    command.add_argument("experiment", metavar="FILE", help=text)
    add_set(command)


def add_run(command: argparse.ArgumentParser) -> None:
    """A run's folder, and overrides."""
    add_folder(command)
    add_set(command)


def add_folder(command: argparse.ArgumentParser) -> None:
    """A run's folder."""
    command.add_argument("run", metavar="RUN", type=Path, help="folder of a run")


def add_report(command: argparse.ArgumentParser) -> None:
    """What else a report shows, and for how long it is written."""
    text = "folders of other runs, whose fronts are drawn beside this one's"
    command.add_argument("--compare", metavar="RUN", type=Path, nargs="+", default=[], help=text)
    text = "also write the search as a new Optuna journal, which optuna-dashboard shows; needs the extra optuna"
    command.add_argument("--optuna", metavar="FILE", type=Path, help=text)
    text = "write report.html again and again while the run goes on, and the whole report at its end"
    command.add_argument("--watch", action="store_true", help=text)


def add_set(command: argparse.ArgumentParser) -> None:
    """Overrides of keys."""
    command.add_argument(
        "--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[],
        help="override a key, for example --set search.generations=5",
    )  # fmt: skip


def add_out(command: argparse.ArgumentParser) -> None:
    """The run's folder."""
    command.add_argument("--out", type=Path, help="folder of the run (default: results/NAME)")


def add_copy(command: argparse.ArgumentParser) -> None:
    """A copy of the run."""
    text = "work in a copy of the run in this folder, as where RUN cannot be written to"
    command.add_argument("--out", metavar="FOLDER", type=Path, help=text)


def add_file(command: argparse.ArgumentParser) -> None:
    """A file for a search space."""
    command.add_argument("--out", dest="file", metavar="FILE", type=Path, help="write the search space to a YAML file")


def add_search(command: argparse.ArgumentParser) -> None:
    """What is searched."""
    text = "search for the sparsities of the layers, not for channels"
    command.add_argument("--weights", action="store_true", help=text)


def add_method(command: argparse.ArgumentParser) -> None:
    """Which importance."""
    text = "which channels go first: magnitude (the default) or scop"
    command.add_argument("--method", default="magnitude", help=text)


def add_target(command: argparse.ArgumentParser) -> None:
    """How far channels are pruned, in how many steps."""
    command.add_argument("--rate", metavar="SHARE", help="share of the channels that go, such as 0.45")
    command.add_argument("--flops", metavar="N", help="multiply-adds that may stay, such as 20e6 or 50%%")
    command.add_argument("--max-loss", metavar="POINTS", help="accuracy that each channel group may cost, pruned alone")
    command.add_argument("--steps", type=int, default=1, metavar="N", help="prune and train N times (default: 1)")
    text = "prune under masks and train nothing, after analyse; --rate is then the share of the multiply-adds that go"
    command.add_argument("--step", action="store_true", help=text)


def add_weights(command: argparse.ArgumentParser) -> None:
    """Single weights in place of channels."""
    command.add_argument("--weights", action="store_true", help="single weights under masks, not channels")
    command.add_argument("--scope", metavar="SCOPE", help="rank weights of all layers together (global), or by layer")


def add_sparsity(command: argparse.ArgumentParser) -> None:
    """How far single weights are pruned."""
    command.add_argument("--sparsity", metavar="SHARE", help="share of the weights that go, such as 0.8")


def add_epochs(command: argparse.ArgumentParser) -> None:
    """Epochs of fine-tuning."""
    text = "fine-tuning of each point by the other keys of retrain (default: 1; 0 for none)"
    command.add_argument("--epochs", type=float, default=1.0, metavar="N", help=text)


def add_images(command: argparse.ArgumentParser) -> None:
    """How many images are scored."""
    command.add_argument("--images", type=int, metavar="N", help="validation images to score (default: all)")


def add_model(command: argparse.ArgumentParser) -> None:
    """A saved model."""
    command.add_argument("model", metavar="MODEL", type=Path, help="folder of a saved model")
    add_data(command)


def add_models(command: argparse.ArgumentParser) -> None:
    """Saved models."""
    text = "saved models, as folders, and .onnx files"
    command.add_argument("models", metavar="MODEL", type=Path, nargs="+", help=text)
    text = "what they are compared with (default: the base network of the first one's run)"
    command.add_argument("--base", metavar="MODEL", type=Path, help=text)
    text = "folder that gets evaluation.csv, evaluation.json and evaluation.md"
    command.add_argument("--out", metavar="FOLDER", type=Path, help=text)
    add_data(command)


def add_data(command: argparse.ArgumentParser) -> None:
    """The data of an experiment."""
    text = "the experiment whose images are meant (default: that of the model's run)"
    command.add_argument("--data", metavar="FILE", help=text)
    text = "where the network is made by a file of yours, path/to/mynet.py:make_net"
    command.add_argument("--source", metavar="PATH:FUNCTION", help=text)
    add_set(command)


def add_format(command: argparse.ArgumentParser) -> None:
    """The format of an exported file."""
    command.add_argument("--format", required=True, choices=("onnx", "pt2"), help="ONNX, or a file of torch.export")
    command.add_argument("--out", metavar="FILE", type=Path, help="the file (default: in the model's folder)")
    command.add_argument("--fold", action="store_true", help="make batch norms a part of the convolutions before them")
