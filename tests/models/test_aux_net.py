"""The aux net is the expansion at its depth, all of it is trained, and it starts as TLEG says."""

import copy

import pytest
import torch

from tleg_cli import plugin_manager
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.expand import expand
from tleg_cli.models.aux_net import too_shallow
from tleg_cli.models.build import build_model
from tleg_cli.models.descendant import expanded_model

BASES = ["constant", "linear", "polynomial:2", "piecewise:3", "hat:3", "cosine:3"]


@pytest.mark.parametrize("depth", [(1,), (2,), (4,), (12,)], ids=str)
@pytest.mark.parametrize("basis", BASES)
def test_an_aux_net_is_its_own_expansion(make_aux_net, images, basis, depth):
    aux_net = make_aux_net(basis, depth)
    descendant = expanded_model(aux_net.learngene(), depth).eval()
    with torch.no_grad():
        ours, theirs = aux_net(images), descendant(images)
    assert ours.std() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_it_stays_its_own_expansion_while_it_is_trained(make_aux_net, images):
    aux_net = make_aux_net(random=False).train()
    optimizer = torch.optim.AdamW(aux_net.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(aux_net(images), torch.arange(5)).backward()
        optimizer.step()
    descendant = expanded_model(aux_net.learngene(), (4,)).eval()
    with torch.no_grad():
        torch.testing.assert_close(aux_net.eval()(images), descendant(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("basis", BASES)
def test_every_theta_and_every_shared_tensor_is_trained(make_aux_net, images, basis):
    aux_net = make_aux_net(basis).train()
    torch.nn.functional.cross_entropy(aux_net(images), torch.arange(5)).backward()
    learngene = aux_net.learngene()
    for name, theta in learngene.theta.items():
        for k, gradient in enumerate(theta.grad):
            assert gradient.abs().max() > 0, f"theta_{k} of {name} gets no gradient"
    for name, tensor in learngene.shared.items():
        assert tensor.grad is not None, name
        assert tensor.grad.abs().max() > 0, name
    assert sum(p.numel() for p in aux_net.parameters()) == learngene.parameters()


def test_gradients_agree_with_finite_differences(make_aux_net, images):
    aux_net = make_aux_net().double()
    theta = aux_net.learngene().theta["blocks.*.mlp.fc1.weight"]

    def loss() -> torch.Tensor:
        return aux_net(images.double()).square().sum()

    loss().backward()
    for k in (0, 1):
        step = 1e-5
        with torch.no_grad():
            theta[k, 3, 5] += step
            above = loss()
            theta[k, 3, 5] -= 2 * step
            below = loss()
            theta[k, 3, 5] += step
        assert (above - below).item() / (2 * step) == pytest.approx(theta.grad[k, 3, 5].item(), rel=1e-4)


def test_the_start_is_that_of_the_paper(make_aux_net):
    """Weights of theta_A and theta_B drawn with a spread of 0.02; norms start at theta_B = 1, theta_A = 0; biases at 0."""
    theta = make_aux_net(random=False).learngene().theta
    for name, (theta_b, theta_a) in ((name, both.detach()) for name, both in theta.items()):
        if name.endswith(".bias"):
            assert not theta_b.any(), name
            assert not theta_a.any(), name
        elif "norm" in name:
            assert (theta_b == 1).all(), name
            assert not theta_a.any(), name
        else:
            assert theta_b.std() == pytest.approx(0.02, rel=0.2), name
            assert theta_a.std() == pytest.approx(0.02, rel=0.2), name
            assert not torch.equal(theta_a, theta_b)


def test_an_aux_net_of_one_block_has_every_theta(make_aux_net):
    """Fewer blocks than thetas: each still starts from fresh weights of its own."""
    aux_net = make_aux_net("polynomial:3", (1,), random=False)
    weights = aux_net.learngene().theta["blocks.*.attn.qkv.weight"]
    assert weights.shape[0] == 4
    assert len({tuple(weight.flatten().tolist()) for weight in weights}) == 4
    assert len(aux_net.skeleton.blocks) == 1


def test_the_same_seed_starts_the_same(make_aux_net):
    one, other = make_aux_net().state_dict(), make_aux_net().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_of_an_aux_net_restores_it(make_aux_net, images):
    aux_net, other = make_aux_net(), make_aux_net(random=False)
    with torch.no_grad():
        assert not torch.allclose(aux_net(images), other(images))
        other.load_state_dict(aux_net.state_dict(), strict=True)
        assert torch.equal(aux_net(images), other(images))


def test_a_copy_is_independent(make_aux_net, images):
    aux_net = make_aux_net()
    average = copy.deepcopy(aux_net)  # as the EMA makes one
    with torch.no_grad():
        before = average(images)
        for parameter in aux_net.parameters():
            parameter.zero_()
        assert torch.equal(average(images), before)


def test_stochastic_depth_is_on_in_training_and_off_in_evaluation(make_aux_net, images):
    aux_net = make_aux_net(drop_path_rate=0.5)
    with torch.no_grad():
        assert torch.equal(aux_net(images), aux_net(images))
        aux_net.train()
        assert not torch.equal(aux_net(images), aux_net(images))


@pytest.mark.parametrize(
    ("backbone", "options", "depth"),
    [
        ("vit", {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}, (3,)),
        (
            "swin_2_stages",
            {"img_size": 16, "patch_size": 2, "window_size": 4, "embed_dim": 8, "num_heads": (2, 4)},
            (2, 2),
        ),
    ],
    ids=["vit", "swin"],
)
def test_weight_decay_spares_what_it_spares_in_a_plain_network(make_aux_net, metadata_of, backbone, options, depth):
    from timm.optim import param_groups_weight_decay

    from tleg_cli.models.aux_net import new_aux_net

    chosen = plugin_manager.get_backbone(backbone)
    aux_net = new_aux_net(chosen, get_basis("linear"), metadata_of(depth, backbone, options, options["img_size"]))
    plain = build_model(chosen, options, depth, 10)

    def decayed(model: torch.nn.Module) -> set[str]:
        _, group = param_groups_weight_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay())
        assert group["weight_decay"] == 0.05
        wanted = {id(parameter) for parameter in group["params"]}
        return {name for name, parameter in model.named_parameters() if id(parameter) in wanted}

    ours = set()
    for name in decayed(aux_net):
        part, _, rest = name.partition(".")
        ours.add(rest.replace("/", ".").replace("#", "0") if part == "theta" else rest)
    of_first_blocks = {
        name for name in decayed(plain) if not any(part.isdigit() and part != "0" for part in inner(name))
    }
    assert ours == of_first_blocks


def inner(name: str) -> list[str]:
    """The parts of a block's name from the block's number on: layers.1.blocks.0.norm -> ['0']; [] outside of blocks."""
    _, blocks, rest = name.partition("blocks.")
    return [rest.partition(".")[0]] if blocks else []


def test_the_learngene_holds_live_parameters(make_aux_net):
    aux_net = make_aux_net()
    learngene = aux_net.learngene()
    name = "blocks.*.attn.qkv.weight"
    with torch.no_grad():
        learngene.theta[name].fill_(3)
    assert (expand(aux_net.learngene(), 2)["blocks.0.attn.qkv.weight"] == 3).all()


@pytest.mark.parametrize(
    ("basis", "depth", "stages"),
    [
        ("linear", (2, 2, 6, 2), []),
        ("linear", (1, 2, 6, 1), [0, 3]),
        ("constant", (1,), []),
        ("polynomial:2", (2, 2, 6, 2), [0, 1, 3]),
        ("polynomial:2", (3,), []),
        ("piecewise:3", (2,), [0]),
        ("hat:3", (3,), []),
    ],
)
def test_stages_that_are_too_shallow_for_the_basis_are_named(basis, depth, stages):
    """A theta that no block of the aux net contains gets no gradient, and would be noise in a deeper descendant."""
    names = [f"layers.{number}.blocks" for number in range(len(depth))]
    found = too_shallow(get_basis(basis), depth, names)
    assert [line.split()[0] for line in found] == [names[number] for number in stages]


def test_a_theta_that_is_called_too_shallow_really_gets_no_gradient(make_aux_net, images):
    aux_net = make_aux_net("linear", (1,)).train()
    assert too_shallow(aux_net.basis, (1,), ["blocks"]) == [
        "blocks has 1 block in the aux net, enough for 1 of the 2 weights of linear"
    ]
    torch.nn.functional.cross_entropy(aux_net(images), torch.arange(5)).backward()
    for theta in aux_net.learngene().theta.values():
        assert not theta.grad[1].any()
