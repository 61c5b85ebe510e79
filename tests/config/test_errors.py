"""What is refused: the key's path, what came, what is allowed."""

import pytest

from evoprune import UserError

BASIS = "data: {dataset: digits}\nsearch_space: {name: resnet20}\n"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("data.datset=digits", ["unknown key data.datset", "did you mean 'dataset'"]),
        ("search.limits.flops.maximum=1", ["unknown key search.limits.flops.maximum", "did you mean 'max'"]),
        ("workers.backnd=ray", ["unknown key workers.backnd", "did you mean 'backend'"]),
        ("retrain.start=scratch", ["unknown key retrain.start", "from"]),
        ("data.dataset=cifar", ["data.dataset: got 'cifar'", "'cifar10'", "'image_folder'"]),
        ("data.crop=true", ["data.crop: got True", "integer"]),
        ("data.flip=1", ["data.flip: got 1", "true, false or alternating"]),
        ("base.lr=fast", ["base.lr: got 'fast'", "number"]),
        ("base.lr=true", ["base.lr: got True", "number"]),
        ("base.lr=0", ["base.lr: got 0", "greater than 0"]),
        ("base.batch_size=1", ["base.batch_size: got 1", "greater than or equal to 2"]),
        ("base.batch_size=2.5", ["base.batch_size: got 2.5", "integer"]),
        ("base.epochs=.inf", ["base.epochs: got inf", "finite"]),
        ("base.momentum=1", ["base.momentum: got 1", "less than 1"]),
        ("data.validation=1", ["data.validation: got 1", "fraction between 0 and 1"]),
        ("data.std=[0.5, 0]", ["data.std.1: got 0", "greater than 0"]),
        ("search.objectives=[accuracy, flop]", ["search.objectives.1: got 'flop'", "did you mean 'flops'", "latency"]),
        ("search.objectives=[accuracy]", ["search.objectives: got ['accuracy']", "at least 2"]),
        ("search.objectives=[flops, macs]", ["search.objectives: got ['flops', 'macs']", "each name once"]),
        ("search.limits={flop: {max: 1}}", ["search.limits.flop: ", "did you mean 'flops'"]),
        ("search.limits.flops.max=fast", ["search.limits.flops.max: got 'fast'", "50%"]),
        ("search.limits.flops.max=-5%", ["search.limits.flops.max: got '-5%'", "50%"]),
        ("search.limits.flops.max=.inf", ["search.limits.flops.max: got inf", "number"]),
        ("search.limits.flops=3", ["search.limits.flops is a mapping", "got 3"]),
        ("retrain.select={count: 0}", ["retrain.select: got {'count': 0}", "knees"]),
        ("report.formats=svg", ["report.formats: got 'svg'; allowed: a list of png, svg, pdf, such as [png, svg]"]),
        ("report.formats=[gif]", ["report.formats.0: got 'gif'", "'svg'"]),
        ("retrain.select=[]", ["retrain.select: got []", "knees"]),
        ("retrain.distillation.weight=2", ["retrain.distillation.weight: got 2", "less than or equal to 1"]),
        ("name=a/b", ["name: got 'a/b'", "letters, digits, `.`, `_` and `-`", "the name of the file"]),
        ("search.objectives=accuracy", ["search.objectives: got 'accuracy'", "a list, such as [a, b]"]),
        ("data.mean=[125.3]", ["data.mean.0: got 125.3", "less than or equal to 1"]),
        ("seed=-1", ["seed: got -1", "greater than or equal to 0"]),
        ("precision=fp16", ["precision: got 'fp16'", "'bf16'"]),
        ("workers.num_workers=0", ["workers.num_workers: got 0", "auto, or a whole number of at least 1"]),
        ("workers=local", ["workers is a mapping", "got 'local'"]),
    ],
)
def test_an_error_names_the_key_what_came_and_what_is_allowed(load, override, parts):
    with pytest.raises(UserError) as caught:
        load(BASIS, override)
    assert [part for part in parts if part not in str(caught.value)] == [], str(caught.value)


def test_every_wrong_key_has_a_line_that_names_the_file(load):
    with pytest.raises(UserError) as caught:
        load(BASIS + "seed: x\nbase: {lr: 0, epoch: 3}")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all("mine.yaml: " in line for line in lines)


def test_a_key_of_several_kinds_has_one_line(load):
    with pytest.raises(UserError) as caught:
        load(
            BASIS.replace("search_space: {name: resnet20}", "network: {source: 'a.py:f', arguments: {norm: {eps: 1}}}")
        )
    (line,) = str(caught.value).splitlines()
    assert "network.arguments.norm: got {'eps': 1}; allowed: " in line and line.count(", or ") >= 2


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("search.objectives=[accuracy]", r"search\.objectives: got \['accuracy'\]; allowed: a list of at least 2"),
        ("search.limits={flop: {max: 9}}", r"search\.limits\.flop: got 'flop'; did you mean 'flops\'\? allowed: acc.*"),
    ],
)
def test_what_is_allowed_is_said_once_and_plainly(load, override, line):
    with pytest.raises(UserError, match=rf": {line}$"):
        load(BASIS, override)


@pytest.mark.parametrize("source", ["resnet18", "mynet.py", "torchvision.resnet18"])
def test_a_network_from_nowhere_is_told_where_networks_come_from(load, source):
    text = BASIS.replace("search_space: {name: resnet20}", f"network: {{source: {source}}}")
    allowed = r"allowed: torchvision:NAME, timm:NAME, path/to/mynet\.py:make_net, or one of .*, resnet20, .*, vgg16_bn"
    with pytest.raises(UserError, match=rf"network\.source: got '{source}'; {allowed}$"):
        load(text)
    load(text.replace(source, "torchvision:resnet18"))
    load(text.replace(source, "mobilenet_v1"))


def test_a_key_without_end_does_not_fill_the_terminal(load):
    for override in (f"search.{'x' * 900}=1", f"search.proposal={{{'y' * 900}: 1.0}}"):
        with pytest.raises(UserError, match=r"search\.(proposal\.)?(x{50}|y{50})") as caught:
            load(BASIS, override)
        assert len(str(caught.value)) < 1000
