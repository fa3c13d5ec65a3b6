import types
from collections import OrderedDict

import pytest

from fastdiffusers.errors import PluginError
from fastdiffusers.patching import patch


class Part:
    shared = "class value"

    def __init__(self):
        self.a, self.b, self.c = 1, 2, 3

    @property
    def computed(self):
        return self.a

    def method(self):
        return "method"


class Slotted:
    __slots__ = ("x", "y")

    def __init__(self):
        self.x = 1


class FakeLayer:
    """Keeps sub-layers, parameters and buffers as a Paddle layer does, refusing other types in their places."""

    def __init__(self):
        for name in ("_parameters", "_sub_layers", "_buffers"):
            vars(self)[name] = OrderedDict()
        vars(self)["_non_persistable_buffer_names_set"] = set()

    def __getattr__(self, name):
        for kind in ("_parameters", "_sub_layers", "_buffers"):
            if name in vars(self)[kind]:
                return vars(self)[kind][name]
        raise AttributeError(name)

    def __setattr__(self, name, value):
        if isinstance(value, FakeLayer):
            vars(self).pop(name, None)
            self._sub_layers[name] = value
        elif name in self._sub_layers:
            raise TypeError(f"{name} should be a layer")
        else:
            vars(self)[name] = value


def test_value_and_position_come_back():
    part = Part()
    before = list(vars(part).items())
    undo = patch(part, "a", 10)
    assert part.a == 10
    del part.b
    undo_c = patch(part, "c", 30)
    part.b = 2
    undo_c()
    undo()
    assert sorted(vars(part)) == ["a", "b", "c"] and part.c == 3 and part.a == 1
    undo_new = patch(part, "new", 1)
    undo_new()
    assert "new" not in vars(part)
    assert list(vars(Part()).items()) == before


def test_an_entry_that_was_removed_meanwhile_returns_to_its_place():
    part = Part()
    undo = patch(part, "b", 20)
    del part.b
    undo()
    assert list(vars(part).items()) == [("a", 1), ("b", 2), ("c", 3)]


def test_what_the_class_provides_is_shadowed_and_freed():
    part = Part()
    undos = [patch(part, "shared", "mine"), patch(part, "method", lambda: "mine")]
    assert part.shared == "mine" and part.method() == "mine" and Part.shared == "class value"
    for undo in reversed(undos):
        undo()
    assert list(vars(part)) == ["a", "b", "c"] and part.method() == "method"


def test_slots():
    part = Slotted()
    undos = [patch(part, "x", 2), patch(part, "y", 3)]
    assert (part.x, part.y) == (2, 3)
    for undo in undos:
        undo()
    assert part.x == 1 and not hasattr(part, "y")
    with pytest.raises(PluginError, match="cannot set Slotted"):
        patch(part, "z", 1)


@pytest.mark.parametrize(
    ("owner", "name", "words"),
    [
        (Part, "a", "the class Part"),
        (types, "a", "shared code"),
        (test_slots, "a", "shared code"),
        (Part().method, "a", "shared code"),
        (Part(), "computed", "it is a property"),
        (Part(), "__call__", "special methods"),
        (3, "a", "cannot set int.a"),
    ],
)
def test_what_is_not_one_objects_own_is_refused(owner, name, words):
    with pytest.raises(PluginError, match=words):
        patch(owner, name, 1)


def layer_state(layer):
    return [list(vars(layer))] + [
        list(vars(layer)[kind].items()) for kind in ("_parameters", "_sub_layers", "_buffers")
    ]


def test_a_sublayer_may_be_replaced_by_a_layer_or_a_function():
    layer = FakeLayer()
    for name in "abc":
        setattr(layer, name, FakeLayer())
    layer.plain = 1
    before, other = layer_state(layer), FakeLayer()
    undo = patch(layer, "b", other)
    assert layer.b is other and list(layer._sub_layers) == ["a", "b", "c"]
    undo()
    assert layer_state(layer) == before
    undo = patch(layer, "b", len)
    assert layer.b is len and "b" not in layer._sub_layers
    undo()
    assert layer_state(layer) == before
    undo = patch(layer, "plain", other)
    assert layer.plain is other and "plain" not in vars(layer)
    undo()
    assert layer_state(layer) == before and layer.plain == 1


class Stubborn(Part):
    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if value == "bad":
            raise ValueError("no\nthanks")


def test_a_failed_set_is_undone():
    part = Stubborn()
    with pytest.raises(PluginError, match=r"^cannot set Stubborn\.b: no thanks$"):
        patch(part, "b", "bad")
    assert list(vars(part).items()) == [("a", 1), ("b", 2), ("c", 3)]


@pytest.fixture(scope="module")
def paddle():
    from fastdiffusers.environment import prepare

    prepare()
    import paddle

    return paddle


def paddle_state(layer):
    sets = sorted(layer._non_persistable_buffer_names_set)
    kinds = ("_parameters", "_sub_layers", "_buffers")
    return [list(vars(layer)), sets] + [[(k, id(v)) for k, v in vars(layer)[kind].items()] for kind in kinds]


def test_paddle_layers_of_every_sort(paddle):
    class Net(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.first = paddle.nn.Linear(2, 2)
            self.second = paddle.nn.Linear(2, 2)
            self.third = paddle.nn.Linear(2, 2)
            self.scale = self.create_parameter([1])
            self.last = self.create_parameter([1])
            self.register_buffer("kept", paddle.ones([1]))
            self.register_buffer("passing", paddle.ones([1]), persistable=False)
            self.setting = 1

        def forward(self, x):
            return self.second(self.first(x)) * self.scale

    net, x = Net(), paddle.ones([1, 2])
    before, out = paddle_state(net), net(x).numpy()
    parameter = net.create_parameter([1])
    patches = [
        ("second", paddle.nn.Linear(2, 2)),
        ("second", lambda y: y + 1),
        ("second", None),
        ("scale", parameter),
        ("scale", paddle.full([1], 5.0)),
        ("scale", 2.0),
        ("kept", paddle.zeros([1])),
        ("kept", parameter),
        ("passing", 3),
        ("setting", paddle.nn.Linear(2, 2)),
        ("setting", paddle.ones([1])),
        ("setting", parameter),
        ("fresh", paddle.ones([1])),
        ("fresh", paddle.nn.Linear(2, 2)),
        ("forward", lambda y: y),
    ]
    for name, value in patches:
        undo = patch(net, name, value)
        assert getattr(net, name) is value, name
        undo()
        assert paddle_state(net) == before, name
    undos = [patch(net, name, value) for name, value in patches]
    assert net(x) is x
    for undo in reversed(undos):
        undo()
    assert paddle_state(net) == before
    assert (net(x).numpy() == out).all()


def test_layer_lists_of_paddle(paddle):
    blocks = paddle.nn.LayerList([paddle.nn.Linear(2, 2) for _ in range(3)])
    before = paddle_state(blocks)
    undo = patch(blocks, "1", paddle.nn.Identity())
    assert type(blocks[1]).__name__ == "Identity" and len(blocks) == 3
    undo()
    assert paddle_state(blocks) == before
