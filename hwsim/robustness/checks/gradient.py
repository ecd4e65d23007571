"""Does the gradient that an attack climbs exist, and does it say what the scores do?"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from hwsim.rng import Streams
from hwsim.robustness.attacks import input_gradient
from hwsim.robustness.checks.check import Check
from hwsim.robustness.checks.verdict import off_grid
from hwsim.robustness.classifier import Classifier, reseed
from hwsim.robustness.threat import Threat


def has_graph(classifier: Classifier, x: Tensor) -> Check:
    """Do the scores reach back to the pixels?"""
    scores = classifier.differentiable(x[:2].clone().requires_grad_(True))
    return Check(
        "gradient exists",
        scores.requires_grad,
        "The scores have a gradient." if scores.requires_grad else "The forward pass leaves no graph to the pixels.",
        "Gradient attacks stand still: only queries, transfer and estimated gradients say something.",
    )


def zero_gradients(
    classifier: Classifier, x: Tensor, y: Tensor, rng: torch.Generator | None = None, limit: float = 0.05
) -> Check:
    """Share of images whose input gradient of the margin is exactly zero, or not finite, and so of images near them."""
    rng = rng or torch.Generator(x.device)

    def share(images: Tensor) -> float:
        gradient, _ = input_gradient(classifier, images, y, "margin")
        return (gradient.flatten(1).abs().amax(1) == 0).double().mean().item()

    clean, between = share(x), share(off_grid(x, rng))
    return Check(
        "zero gradients",
        max(clean, between) <= limit,
        f"{clean:.1%} of the images have an input gradient of exactly zero, {between:.1%} off the data's grid.",
        "Gradient attacks stand still there: attack the pre-activation, through a surrogate that leaks, by queries.",
    )


def scores_not_states(
    classifier: Classifier, x: Tensor, rng: torch.Generator | None = None, limit: float = 0.05
) -> Check:
    """Share of images whose scores repeat exactly: a saturated, quantised or normalised output, not logits."""
    rng = rng or torch.Generator(x.device)
    tied = []
    for images in (x, off_grid(x, rng)):
        scores = classifier.logits(images)
        ranked = scores.sort(dim=1).values
        tied.append((ranked[:, 1:] == ranked[:, :-1]).any(1).double().mean().item())
    probabilities = bool((scores >= 0).all() and ((scores.sum(1) - 1).abs() < 1e-4).all())
    found = f"{tied[0]:.1%} of the images have classes of exactly equal score, {tied[1]:.1%} off the data's grid"
    return Check(
        "scores, not states",
        max(tied) <= limit and not probabilities,
        found + (", and the scores are probabilities." if probabilities else "."),
        "The loss looks at a saturated or normalised output; give attacks the pre-activation.",
    )


def same_scores(classifier: Classifier, x: Tensor, rng: torch.Generator, limit: float = 0.02) -> Check:
    """Share of images whose predicted class differs between the pass with a gradient and the one without."""
    images = torch.cat([x[::2], off_grid(x[1::2], rng)])
    with_gradient = classifier.differentiable(images.clone().requires_grad_(True)).detach().argmax(1)
    share = (with_gradient != classifier.logits(images).argmax(1)).double().mean().item()
    return Check(
        "same scores",
        share <= limit,
        f"{share:.1%} of the images are predicted otherwise in the pass with a gradient (tolerance {limit:.0%}).",
        "The attack climbs another function than the one that predicts.",
    )


def step_of(threat: Threat, x: Tensor) -> float:
    """How far, in pixel units, a sign direction goes for half of the budget; within [1/1000, .05]."""
    size = x[0].numel()
    per_pixel = {"linf": 1.0, "l2": size**-0.5, "l1": 1 / size, "l0": 1.0}[threat.norm]
    return min(max(0.5 * threat.epsilon * per_pixel, 1e-3), 0.05)


def true_gradient(
    attacked: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    rng: torch.Generator,
    *,
    directions: int = 4,
    draws: int = 8,
    limit: float = 0.9,
    slopes: tuple[float, float] = (0.7, 1.4),
) -> Check:
    """Differences of scores along random sign directions, half of the budget long, against autograd's prediction.

    On clean images and on random ones within the budget. Between the label's score and the largest other one at the
    image, the two classes held. A noisy classifier is averaged over ``draws``, each begun alike for both ends and for
    the gradient where its noise can be seeded; what noise is left is estimated from the two halves of the draws and
    taken out of the limits.
    """
    if attacked.noisy:
        x, y = x[:32], y[:32]
    half = len(x) // 2
    base = torch.cat([x[:half], threat.random_start(x[half:], rng)])
    runs = max(2, draws) if attacked.noisy else 1
    seeds = torch.randint(2**31, (runs,), generator=rng, device=rng.device).tolist()
    step, shape = step_of(threat, x), (directions, *x.shape)
    signs = 1.0 - 2.0 * torch.randint(2, shape, generator=rng, device=rng.device).to(x)
    ends = [((base + step * sign).clamp(0, 1), (base - step * sign).clamp(0, 1)) for sign in signs]
    seen = torch.stack([_scores(attacked, base, seed) for seed in seeds]).mean(0)
    wrong = seen.scatter(1, y[:, None], -torch.inf).argmax(1)

    def gap(scores: Tensor) -> Tensor:
        return scores.gather(1, wrong[:, None])[:, 0] - scores.gather(1, y[:, None])[:, 0]

    def measured(seed: int) -> Tensor:
        return torch.stack([gap(_scores(attacked, up, seed)) - gap(_scores(attacked, down, seed)) for up, down in ends])

    def predicted(seed: int) -> Tensor:
        reseed(attacked, Streams(seed))
        at = base.clone().requires_grad_(True)
        scores = attacked.differentiable(at)
        gradient = None
        if scores.requires_grad:
            (gradient,) = torch.autograd.grad(gap(scores).sum(), at, allow_unused=True)
        if gradient is None:
            return torch.zeros(directions, len(x), dtype=x.dtype, device=x.device)
        return torch.stack([((up - down) * gradient).flatten(1).sum(1) for up, down in ends])

    rises = torch.stack([measured(seed) for seed in seeds]).double().flatten(1)
    told = torch.stack([predicted(seed) for seed in seeds]).double().flatten(1)
    kept = (_reliability(rises), _reliability(told)) if attacked.noisy else (1.0, 1.0)
    a, b = rises.mean(0), told.mean(0)
    correlation, slope = _cosine(a, b), (a @ b / (b @ b)).item() if bool(b.any()) else 0.0
    found = (
        f"Scores along random directions of {step:.3g} against the gradient's prediction: correlation "
        f"{correlation:.2f}, slope {slope:.2f}"
    )
    attainable = math.sqrt(kept[0] * kept[1])
    if attacked.noisy:
        found += f" over {runs} draws, whose noise leaves {attainable:.2f} of a correlation"
    found += f" (tolerance {limit:g}, and {slopes[0]:g} to {slopes[1]:g})."
    if attainable < 0.3:
        return Check(
            "true gradient", False, found, "Noise hides whether the gradient is true: average over more draws."
        )
    passed = correlation >= limit * attainable and slopes[0] <= slope / kept[1] <= slopes[1]
    return Check("true gradient", passed, found, "The gradient does not say what the scores do: it is masked.")


def _scores(classifier: Classifier, x: Tensor, seed: int) -> Tensor:
    reseed(classifier, Streams(seed))
    return classifier.logits(x)


def _cosine(a: Tensor, b: Tensor) -> float:
    lengths = (a.norm() * b.norm()).item()
    return (a @ b).item() / lengths if lengths > 0 and math.isfinite(lengths) else 0.0


def _reliability(runs: Tensor) -> float:
    """Share of the mean's square that another set of as many draws would find again (Spearman and Brown 1910)."""
    first, second = runs[::2].mean(0), runs[1::2].mean(0)
    halves = max(_cosine(first, second), 0.0)
    return 2 * halves / (1 + halves)


def gradients_agree(classifiers: Mapping[str, Classifier], x: Tensor, y: Tensor, limit: float = 0.9) -> Check:
    """Median cosine of the input gradients of two ways to differentiate one model, on up to 16 images.

    Where a way is noisy, its own two draws agree to r only, and two ways that are the same to sqrt(r r'). The limit
    is on the cosine over that, so that read noise is not taken for disagreement.
    """
    (first, one), (second, other) = list(classifiers.items())[:2]
    x, y = x[:16], y[:16]

    def gradient(way: Classifier) -> Tensor:
        return input_gradient(way, x, y, "margin")[0].flatten(1)

    def cosine(a: Tensor, b: Tensor) -> float:
        return torch.cosine_similarity(a, b, dim=1).median().item()

    a, b = gradient(one), gradient(other)
    found = f"Median cosine between the {first} and the {second} gradient on {len(x)} images: {cosine(a, b):.3f}"
    noisy = [(name, way, seen) for name, way, seen in ((first, one, a), (second, other, b)) if way.noisy]
    if not noisy:
        meaning = "They agree only where the state settles: relax longer, and trust the lowest accuracy of all ways."
        return Check("gradients agree", cosine(a, b) >= limit, f"{found}.", meaning)
    repeats = {name: cosine(seen, gradient(way)) for name, way, seen in noisy}
    found += "".join(f"; between two draws of the {name} one: {repeat:.3f}" for name, repeat in repeats.items())
    if min(repeats.values()) <= 0.1:
        meaning = "Read noise hides whether they agree: average over more draws, and trust the lowest of all ways."
        return Check("gradients agree", False, f"{found}.", meaning)
    expected = math.sqrt(math.prod(repeats.values()))
    agree = cosine(a, b) >= limit * expected
    if agree and cosine(a, b) < limit:
        found += f", so that noise alone leaves {expected:.3f}: what is missing is read noise, not disagreement"
    meaning = "They differ by more than read noise explains: relax longer, and trust the lowest accuracy of all ways."
    return Check("gradients agree", agree, f"{found}.", meaning)


def gradient_above_noise(classifier: Classifier, x: Tensor, y: Tensor, limit: float = 0.5) -> Check:
    """Median cosine between two draws of the gradient: what an attacker who does not average climbs."""
    a, b = (input_gradient(classifier, x, y, "margin")[0].flatten(1) for _ in range(2))
    cosine = torch.cosine_similarity(a, b, dim=1).median().item()
    return Check(
        "gradient above noise",
        cosine >= limit,
        f"Median cosine between two draws of the input gradient: {cosine:.2f}.",
        "A single draw's gradient is mostly noise: average over draws (EOT), or attack the noise-free twin.",
    )
