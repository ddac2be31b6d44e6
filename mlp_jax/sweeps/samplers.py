"""Which configuration comes next, which trial stops early, which parameter mattered: choosing, without storage.

Grid and random are a few lines here: trial number n is the n-th element of a sequence that the seed alone decides, so
that no worker ever needs to know what another has tried. Bayesian search is Optuna's tree-structured Parzen estimator.
"""

import hashlib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from mlp_jax.sweeps.space import Distribution, Hyperband, Space

if TYPE_CHECKING:
    import optuna

Params = dict[str, Any]
FEWEST = 5  # trials; fewer say nothing of importance
MISSES = 10_000  # draws in a row that bring nothing new, after which uneven choices count as exhausted


@dataclass(frozen=True)
class Trial:
    """A trial: what it varies and, once it has ended, what came of it. Its test accuracy is kept elsewhere."""

    number: int
    params: Params
    status: str = "running"  # then finished, pruned or diverged
    value: float = 0.0  # the metric, once it has ended
    at_brackets: dict[int, float] = field(default_factory=dict)  # the metric at those epochs that stop trials early
    result: dict[str, Any] = field(default_factory=dict)  # anything else that was told


def sequence(space: Space, seed: int) -> Callable[[int], Params | None]:
    """n -> the parameters of trial n of a grid or random search, None past the last; none comes twice."""
    if space.method == "grid" or all(distribution.even for distribution in space.parameters.values()):
        size = space.size or 0
        place = (lambda n: n) if space.method == "grid" else (lambda n: permute(n, size, seed))
        return lambda n: at(space, place(n)) if n < size else None
    if space.size is None:
        return lambda n: _draw(space, seed, n)
    draws = _distinct(space, seed)
    found: list[Params] = []

    def nth(n: int) -> Params | None:
        found.extend(islice(draws, max(0, n + 1 - len(found))))
        return found[n] if n < len(found) else None

    return nth


def at(space: Space, index: int) -> Params:
    """The configuration with this index in a grid whose last parameter varies fastest."""
    params = {}
    for name, distribution in reversed(space.parameters.items()):
        index, digit = divmod(index, distribution.size or 1)
        params[name] = distribution.at(digit)
    return {name: params[name] for name in space.parameters}


def permute(index: int, size: int, seed: int) -> int:
    """The image of an index under a permutation of range(size) that the seed chooses; needs no memory.

    A Feistel network of four rounds over the next power of 4, walked on until it falls below size.
    M. Luby, C. Rackoff, SIAM J. Comput. 17 (1988); J. Black, P. Rogaway, CT-RSA (2002).
    """
    bits = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
    mask = (1 << bits) - 1
    while True:
        left, right = index >> bits, index & mask
        for turn in range(4):
            text = f"{seed}/{turn}/{right}".encode()
            left, right = right, left ^ int.from_bytes(hashlib.shake_128(text).digest(bits // 8 + 1)) & mask
        index = left << bits | right
        if index < size:
            return index


def _draw(space: Space, seed: int, number: int) -> Params:
    uniform = random.Random(f"{seed}/{number}")
    return {name: distribution.draw(uniform.random()) for name, distribution in space.parameters.items()}


def _distinct(space: Space, seed: int) -> Iterator[Params]:
    seen: set[tuple[Any, ...]] = set()
    misses = 0
    for params in map(partial(_draw, space, seed), count()):
        misses = misses + 1 if key(params) in seen else 0
        if not misses:
            seen.add(key(params))
            yield params
        if misses == MISSES or len(seen) == space.size:
            return


def key(params: Params) -> tuple[Any, ...]:
    """Parameters as a member of a set."""
    return tuple(params.values())


def bayes(space: Space, seed: int, trials: Sequence[Trial], count: int, worker: int = 0) -> list[Params]:
    """The next `count` configurations by TPE, fewer where the space has no more; a function of its arguments.

    J. Bergstra et al., Algorithms for Hyper-Parameter Optimization, NIPS (2011). Trials that run, those proposed in the
    same call among them, count as poor ("constant liar"), so that a batch spreads. Until 10 have ended, random.
    """
    import optuna

    distributions = optuna_distributions(space)
    stream = hashlib.shake_128(f"{seed}/{len(trials)}/{worker}".encode()).digest(4)
    study = _memory_study(space, trials, optuna.samplers.TPESampler(seed=int.from_bytes(stream)))
    seen = {key(trial.params) for trial in trials}
    proposed: list[Params] = []
    while len(proposed) < count:
        trial = study.ask(distributions)
        params = unseen(space, snapped(space, trial.params), seen, seed)
        if params is None:
            break
        if params != trial.params:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)  # the liar has to know the place really taken
            study.add_trial(frozen(Trial(len(trials) + len(proposed), params), distributions))
        seen.add(key(params))
        proposed.append(params)
    return proposed


def unseen(space: Space, params: Params, seen: set[tuple[Any, ...]], seed: int) -> Params | None:
    """These parameters or, where they are taken, ones that are not: one parameter changed, else the next index."""
    if key(params) not in seen or space.size is None:
        return params
    shuffle = random.Random(f"{seed}/{len(seen)}").shuffle
    names = list(space.parameters)
    shuffle(names)
    for name in names:
        values = [space.parameters[name].at(i) for i in range(min(space.parameters[name].size or 0, 1000))]
        shuffle(values)
        for value in values:
            if key(params | {name: value}) not in seen:
                return params | {name: value}
    configurations = (at(space, permute(index, space.size, seed)) for index in range(space.size))
    return next((params for params in configurations if key(params) not in seen), None)


def should_stop(early: Hyperband, goal: str, history: Sequence[float], earlier: Iterable[dict[int, float]]) -> bool:
    """Whether a trial with this metric after each epoch ends now; `earlier` holds the others' at their brackets.

    It goes on if it is no worse than the (1/eta)-quantile of all values at this bracket, its own among them: by its
    best so far, or, `strict`, by its value now.
    """
    epoch = len(history)
    if epoch not in early.brackets:
        return False
    sign = -1.0 if goal == "maximize" else 1.0
    losses = [sign * value if math.isfinite(value) else math.inf for value in history]
    others = [sign * values[epoch] for values in earlier if math.isfinite(values.get(epoch, math.nan))]
    ranked = sorted([*others, losses[-1]])
    return (losses[-1] if early.strict else min(losses)) > ranked[int(len(ranked) / early.eta)]


def worst_value(goal: str, values: Iterable[float]) -> float:
    """What a diverged trial is told as: the worst finite value; without one, what any accuracy or loss beats."""
    finite = [value for value in values if math.isfinite(value)]
    if goal == "maximize":
        return min(finite, default=0.0)
    return max(finite, default=1e6)


def importance(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """parameter -> its share of the metric's variance over the finished trials; zeros where nothing varies.

    F. Hutter, H. Hoos, K. Leyton-Brown, An Efficient Approach for Assessing Hyperparameter Importance, ICML (2014).
    """
    import optuna

    shares = dict.fromkeys(space.parameters, 0.0)
    ended = [trial for trial in trials if trial.status in ("finished", "diverged")]
    varying = [name for name in shares if len({trial.params[name] for trial in ended}) > 1]
    study = _memory_study(space, ended, None)
    values = {trial.value for trial in study.get_trials(deepcopy=False)}
    if not varying or len(values) < 2 or len(ended) < FEWEST:
        return shares
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=varying)
    return shares | {name: float(share) for name, share in found.items() if math.isfinite(share)}


def optuna_distributions(space: Space) -> "dict[str, optuna.distributions.BaseDistribution]":
    """The distributions of all parameters as Optuna knows them."""
    return {name: _optuna_distribution(distribution) for name, distribution in space.parameters.items()}


def _optuna_distribution(distribution: Distribution) -> "optuna.distributions.BaseDistribution":
    """A quantised logarithmic distribution, which Optuna lacks, loses its quanta; `snapped` gives them back."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if distribution.choices:
        return CategoricalDistribution(distribution.choices)
    if not distribution.step:
        return FloatDistribution(distribution.low, distribution.high, log=distribution.log)
    low, high = distribution.snap(distribution.low), distribution.snap(distribution.high)
    if distribution.log:
        return FloatDistribution(low, high, log=True)
    if distribution.whole:
        return IntDistribution(low, high, step=int(distribution.step))
    return FloatDistribution(low, high, step=distribution.step)


def snapped(space: Space, params: Params) -> Params:
    """Parameters that Optuna gives, as the space has them: in its order, each an allowed value."""
    return {name: params[name] if d.choices else d.snap(params[name]) for name, d in space.parameters.items()}


def frozen(
    trial: Trial, distributions: dict[str, Any], attributes: dict[str, Any] | None = None
) -> "optuna.trial.FrozenTrial":
    """The trial as Optuna has it, to be added to a study of these `optuna_distributions`."""
    from optuna.trial import TrialState, create_trial

    states = {"running": TrialState.RUNNING, "pruned": TrialState.PRUNED}
    return create_trial(
        state=states.get(trial.status, TrialState.COMPLETE),
        value=None if trial.status == "running" else trial.value,
        params=trial.params,
        distributions=distributions,
        intermediate_values=trial.at_brackets,
        user_attrs=attributes,
    )


def _memory_study(space: Space, trials: Sequence[Trial], sampler: Any) -> "optuna.Study":
    """The trials in memory, by number; a diverged one has the worst value of all, whenever it was told."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=optuna.study.StudyDirection[space.goal.upper()], sampler=sampler)
    worst = worst_value(space.goal, (trial.value for trial in trials if trial.status == "finished"))
    distributions = optuna_distributions(space)
    for trial in sorted(trials, key=lambda trial: trial.number):
        trial = replace(trial, value=worst) if trial.status == "diverged" else trial
        study.add_trial(frozen(trial, distributions))
    return study
