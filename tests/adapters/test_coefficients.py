"""alpha and the matrix it becomes: three parametrisations, dropout, strength."""

from __future__ import annotations

import pytest
import torch

from coeffdream.adapters.coefficients import SubspaceCoefficients

HEADS = 6
RATE = 0.3
EYE = torch.eye(HEADS)


def made(parametrisation: str = "residual", *, dropout: float = 0.0, layer: int = 0) -> SubspaceCoefficients:
    coefficients = SubspaceCoefficients(HEADS, dropout=dropout, parametrisation=parametrisation)
    coefficients.initialise(0, layer)
    return coefficients


def test_residual_starts_at_zero():
    """Eq. 11: alpha' = I + alpha, alpha = 0; the identity is the base's own and never stored."""
    coefficients = made()
    assert coefficients.residual
    assert not coefficients.alpha.any()
    assert not coefficients().any()


def test_direct_identity_starts_at_the_identity():
    """Table 5a: alpha is the whole matrix."""
    coefficients = made("direct-identity")
    assert not coefficients.residual
    assert torch.equal(coefficients(), EYE)


def test_direct_random_starts_random_but_reproducible():
    """Table 5a; each layer its own draw, each run the same."""
    assert torch.equal(made("direct-random")(), made("direct-random")())
    assert not torch.equal(made("direct-random", layer=0)(), made("direct-random", layer=1)())
    wide = SubspaceCoefficients(64, dropout=0.0, parametrisation="direct-random")
    wide.initialise(0, 0)
    assert wide.alpha.std().item() == pytest.approx(64**-0.5, rel=0.1)


def test_alpha_is_float32_and_unconstrained():
    """Rows may be negative and need not sum to one: the point of the method."""
    coefficients = made()
    assert coefficients.alpha.dtype == torch.float32
    values = torch.linspace(-3, 3, HEADS * HEADS).view(HEADS, HEADS)
    with torch.no_grad():
        coefficients.alpha.copy_(values)
    assert torch.equal(coefficients(), values)


@pytest.mark.parametrize("parametrisation", ["residual", "direct-identity", "direct-random"])
def test_groups_mix_among_themselves(parametrisation):
    """H^2/G coefficients, each group as if it were all the heads, in training too, and nothing beside the blocks."""
    coefficients = SubspaceCoefficients(HEADS, dropout=RATE, parametrisation=parametrisation, groups=3)
    coefficients.initialise(0, 0)
    start = torch.zeros(HEADS, HEADS) if coefficients.residual else EYE
    if parametrisation != "direct-random":
        assert torch.equal(coefficients(), start)
    with torch.no_grad():
        coefficients.alpha.copy_(torch.arange(1.0, 13).view(3, 2, 2))
    coefficients.train().keep = coefficients.drawn_mask(0, 0, 0)
    assert not coefficients.keep.all()
    for mixing, kept in ((coefficients(), coefficients.keep), (coefficients.eval()(), torch.ones(3, 2, 2))):
        blocks = [mixing[at : at + 2, at : at + 2] for at in (0, 2, 4)]
        assert torch.equal(torch.stack(blocks), coefficients.alpha * kept)
        assert (mixing != 0).sum() == (kept != 0).sum()
    learned = mixing if coefficients.residual else mixing - EYE
    assert torch.equal(coefficients.learned, learned)


@pytest.mark.parametrize("parametrisation", ["residual", "direct-identity", "direct-random"])
def test_dropout_keeps_the_expectation(parametrisation):
    """Eq. 12: what is kept grows by 1/(1-p), so that the mean over steps is alpha itself."""
    coefficients = made(parametrisation, dropout=RATE).train()
    with torch.no_grad():
        coefficients.alpha.fill_(1.0)
    steps = 4000
    total = torch.zeros(HEADS, HEADS)
    for step in range(steps):
        coefficients.keep.copy_(coefficients.drawn_mask(0, step, 0))
        total += coefficients().detach()
    standard_error = (RATE / (1 - RATE) / steps) ** 0.5
    assert (total / steps - 1).abs().max() < 5 * standard_error


def test_dropout_is_elementwise_and_constant_within_a_step():
    """A forward recomputed by gradient checkpointing must see the mask of the first one."""
    coefficients = made(dropout=RATE).train()
    with torch.no_grad():
        coefficients.alpha.fill_(1.0)
    coefficients.keep.copy_(coefficients.drawn_mask(0, 7, 2))
    first = coefficients().detach()
    assert torch.equal(coefficients(), first)
    assert {round(value, 5) for value in first.flatten().tolist()} == {0.0, round(1 / (1 - RATE), 5)}
    assert first.ne(0).any(dim=0).sum() > 1  # neither whole rows nor whole columns
    assert first.eq(0).any()


def test_dropout_is_a_function_of_seed_step_and_layer():
    """A resumed run draws what the unbroken one drew; layers do not share a mask."""

    def mask(*address: int) -> torch.Tensor:
        return made(dropout=0.5).drawn_mask(*address)

    assert torch.equal(mask(0, 3, 1), mask(0, 3, 1))
    for other in [(1, 3, 1), (0, 4, 1), (0, 3, 2)]:
        assert not torch.equal(mask(0, 3, 1), mask(*other))


def test_there_is_no_dropout_in_evaluation():
    """Samples drawn in the middle of training see all of alpha."""
    coefficients = made(dropout=0.9).train()
    with torch.no_grad():
        coefficients.alpha.fill_(1.0)
    coefficients.keep.copy_(coefficients.drawn_mask(0, 0, 0))
    assert coefficients().eq(0).any()
    assert coefficients.eval()().eq(1).all()


def test_the_mask_is_not_part_of_the_state():
    """Only alpha is saved."""
    assert list(made().state_dict()) == ["alpha"]


@pytest.mark.parametrize("parametrisation", ["residual", "direct-identity", "direct-random"])
@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0, 2.0])
def test_strength_goes_from_the_base_to_what_was_learned(parametrisation, strength):
    """alpha' = I + s (alpha' - I) for all three; 0 is the identity, 1 what was learned."""
    coefficients = made(parametrisation)
    with torch.no_grad():
        coefficients.alpha += torch.linspace(-1, 1, HEADS * HEADS).view(HEADS, HEADS)
        full = coefficients() + (EYE if coefficients.residual else 0)
        coefficients.strength = strength
        scaled = coefficients() + (EYE if coefficients.residual else 0)
    torch.testing.assert_close(scaled, EYE + strength * (full - EYE))
