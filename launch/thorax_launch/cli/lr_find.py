"""Find a learning rate for a recipe and images here: a plot and a suggestion, in a hundred steps.

examples:
    python launch/lr-find.py demo
    python launch/lr-find.py pneumonia-resnet18 --train IMAGES/train --set batch_size=64
"""

from __future__ import annotations

from pathlib import Path

from thorax_launch.cli import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 after an error, 2 a wrong command line, 130 stopped."""
    p = flags.script(__doc__)
    p.add_argument("recipe", help="a name in launch/recipes, or a path to a YAML file")
    flags.add_channels(p)
    p.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a hyperparameter; may be repeated"
    )
    p.add_argument("--steps", type=int, default=100, metavar="N", help="of training (default: 100, at least 20)")
    p.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder of all local jobs (default: runs)"
    )
    args = p.parse_args(arguments)

    def work() -> int:
        from thorax.config import TrainingConfig  # late: --help is instant
        from thorax.lr_find import lr_find
        from thorax_launch.hyperparameters import from_settings
        from thorax_launch.local.channels import channels_of
        from thorax_launch.paths import relative
        from thorax_launch.recipe import Recipe

        recipe = Recipe.load(args.recipe)
        config = TrainingConfig.parse(recipe.merged(from_settings(args.set)))
        channels = channels_of(recipe, args.runs, flags.local_channels(flags.channels(args)))
        output = args.runs / "lr-find" / recipe.name
        curve = lr_find(config, channels, output, args.steps)
        try:
            print(f"suggested: --set learning_rate={curve.steepest:.6f}  (the loss falls fastest there)")
            print(f"lowest:    {curve.lowest:.6f}, where it is about to rise; the recipe has {config.learning_rate:g}")
        finally:  # also where it shows why there is nothing to suggest
            print(f"plot:      {relative(output / 'output' / 'data' / 'rates.png')}", flush=True)
        return 0

    return flags.guarded(work)
