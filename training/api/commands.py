"""Training, evaluating and comparing from Python, as the commands of the same names do it."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from training.api.options import configured
from training.api.results import Comparison, Evaluation, Result, TrainingRun
from training.api.seats import as_partner, is_own, own_player
from training.cli.run import Command, preview, say
from training.cli.stopping import resuming_place, stopping_on_signals
from training.config import RunConfig

Folder = str | PathLike[str]


def train(
    experiment: str | None = None,
    /,
    *,
    partner: Any = None,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> TrainingRun | None:
    """Train a policy, as `python -m training.loop` does, and return the finished run.

        run = parley.train("sotopia_sdpo", scale="smoke", seed=1, branch={"points": 4})

    Args:
        experiment: a method with its options, such as "sotopia_sdpo"; None: the default options.
        partner: whom the policy plays against: a choice such as "mixed", or an agent of your own, a
            function from a `History` to text.
        options: options by their names on the command line, such as {"branch.points": 400}.
        more: the same as keyword arguments. An option of a group is given as `branch={"points":
            400}`, a choice as `critic="value"`; `resume=FOLDER` goes on with a run.

    Returns:
        The run; None for `dry_run=True`, which prints what would be called and what it would cost.

    Raises:
        ConfigError: an option or a choice is wrong; the sentence says what to do.
        KeyboardInterrupt: it was interrupted. `resume=FOLDER` goes on with it.
    """
    given = {"experiment": experiment} if experiment is not None else {}
    with _asked(given, partner, options, more) as asked:
        config = configured(asked)

        from training.loop import COMMAND, train

        folder = _done(COMMAND, config, train)
    return TrainingRun(folder) if folder is not None else None


def evaluate(
    policy: Any = None,
    /,
    *,
    partner: Any = None,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> Evaluation | None:
    """Measure a policy on held-out scenarios, as `python -m training.evaluate` does.

        result = parley.evaluate(run.checkpoint, partner="scripted")
        result = parley.evaluate(my_agent, partner="scripted", evaluation={"scenarios": 64})

    Args:
        policy: a checkpoint, the folder of a model, "embedded", or an agent of your own, a function
            from a `History` to text; None: what the options say.
        partner, options, more: as in `train`.

    Returns:
        The evaluation; None for `dry_run=True`.

    Raises:
        ConfigError: an option or a choice is wrong.
        KeyboardInterrupt: it was interrupted. `resume=FOLDER` goes on with it.
    """
    own = policy is not None and is_own(policy)
    given = {"policy.name": policy} if policy is not None and not own else {}
    with _asked(given, partner, options, more) as asked:
        config = configured(asked)

        from training.evaluate import COMMAND, evaluate_policy

        def work(config: RunConfig) -> Path:
            return evaluate_policy(config, own_player(policy) if own else None)

        folder = _done(COMMAND, config, work)
    return Evaluation(folder) if folder is not None else None


def compare(
    *evaluations: Evaluation | TrainingRun | Folder, out: Folder | None = None
) -> Comparison:
    """Compare finished evaluations, paired on the scenarios that they share.

    Args:
        evaluations: two or more, the baseline first: results, or their folders.
        out: where comparison.json, a table and a plot are written; None: nowhere.

    Raises:
        ConfigError: fewer than two, one is not finished, or they were played with other options.
        DataError: they share no partner.
    """
    from training.evaluation.comparison import compare as compared
    from training.evaluation.comparison import write_comparison
    from training.evaluation.evaluated_policies import read_evaluations

    folders = [each.folder if isinstance(each, Result) else Path(each) for each in evaluations]
    policies = read_evaluations(folders)
    found = compared(policies, seed=int(policies[0].config["seed"]))
    if out is not None:
        write_comparison(found, Path(out))
    return Comparison(found)


@contextmanager
def _asked(
    given: Mapping[str, Any],
    partner: Any,
    options: Mapping[str, Any] | None,
    more: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """In the block all options together, with a partner of the user's own registered."""
    with ExitStack() as closing:
        asked = dict(given)
        if partner is not None and is_own(partner) and not isinstance(partner, Mapping):
            asked |= closing.enter_context(as_partner(partner))
        elif partner is not None:
            asked["partner"] = partner
        yield {**asked, **(options or {}), **more}


def _done(command: Command, config: RunConfig, work: Any) -> Path | None:
    """The folder that the work has filled; None after a dry run."""
    command.check(config)
    if config.dry_run:
        preview(command, config)
        return None
    with stopping_on_signals((signal.SIGINT,)):
        try:
            return Path(work(config))
        except KeyboardInterrupt as error:
            if (place := resuming_place(error)) is not None:
                say(f"Interrupted. Go on with the same call and resume={place!r}.", "stopped")
            raise
