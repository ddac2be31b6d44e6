"""A right submission in two forms, written for the tests from the equations: plain functions, and the skeleton's class.

Plain functions come in four conventions. Every known mistake is planted by replacing lines of the source.
"""

from pathlib import Path

MATH = '''
import numpy as np

LEAK = 0.01


def sigmoid(z):
    z = np.asarray(z, dtype=np.float64)
    out = np.empty_like(z)
    pos = z >= 0
    out[pos] = 1 / (1 + np.exp(-z[pos]))
    e = np.exp(z[~pos])
    out[~pos] = e / (1 + e)
    return out


def tanh(z):
    return np.tanh(z)


def relu(z):
    return np.maximum(z, 0)


def identity(z):
    return z


def d_sigmoid(z):
    s = sigmoid(z)
    return s * (1 - s)


def d_tanh(z):
    return 1 - np.tanh(z) ** 2


def d_relu(z):
    return (z > 0) * 1.0


def d_identity(z):
    return np.ones_like(z)


F = {"sigmoid": sigmoid, "tanh": tanh, "relu": relu, "identity": identity}
DF = {"sigmoid": d_sigmoid, "tanh": d_tanh, "relu": d_relu, "identity": d_identity}


def slope(f, df, z):
    return df(z)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def delta_softmax(z):
    return softmax(z)


def loss_delta(loss, z, y):
    p = delta_softmax(z)
    k = y.shape[1]
    if loss == "cross_entropy":
        delta = p - y
    else:
        q = p
        d = 2 * (q - y) / k
        delta = p * (d - (d * p).sum(axis=1, keepdims=True))
    return delta / len(y)


def xavier(n_in, n_out):
    limit = np.sqrt(6 / (n_in + n_out))
    return np.random.uniform(-limit, limit, (n_in, n_out))


def he(n_in, n_out):
    return np.random.randn(n_in, n_out) * np.sqrt(2 / n_in)


def random_init(n_in, n_out):
    return np.random.randn(n_in, n_out) * 0.01


def dropout(a, rate):
    return a * (np.random.rand(*a.shape) >= rate) / (1 - rate)


def train_val_split(x, y, fraction, seed):
    order = np.random.RandomState(seed).permutation(len(x))
    n = int(len(x) * fraction)
    return x[order[n:]], x[order[:n]], y[order[n:]], y[order[:n]]


def precision(y_true, y_pred):
    c = np.zeros((4, 4))
    np.add.at(c, (y_true, y_pred), 1)
    return np.mean(np.diag(c) / c.sum(axis=0))


def accuracy(y_true, y_pred):
    return np.mean(y_true == y_pred)


def step_of(name, state, g, t, eta, mu, beta, beta1, beta2, eps):
    """What is added to the parameters; state is a dictionary of arrays."""
    zero = np.zeros_like(g)
    if name == "sgd":
        step = g
    elif name == "momentum":
        old = state.get("u", zero)
        u = mu * old + g
        state["u"] = u
        step = u
    elif name == "nesterov":
        old = state.get("u", zero)
        u = mu * old + g
        state["u"] = u
        step = g + mu * u
    elif name == "rmsprop":
        old = state.get("v", zero)
        v = beta * old + (1 - beta) * g ** 2
        state["v"] = v
        step = g / (np.sqrt(v) + eps)
    elif name == "adam":
        m = beta1 * state.get("m", zero) + (1 - beta1) * g
        v = beta2 * state.get("v", zero) + (1 - beta2) * g ** 2
        state["m"], state["v"] = m, v
        m_hat = m / (1 - beta1 ** t)
        v_hat = v / (1 - beta2 ** t)
        step = m_hat / (np.sqrt(v_hat) + eps)
    else:
        m = beta1 * state.get("m", zero) + (1 - beta1) * g
        v = beta2 * state.get("v", zero) + (1 - beta2) * g ** 2
        state["m"], state["v"] = m, v
        ahead = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1 ** t)
        v_hat = v / (1 - beta2 ** t)
        step = ahead / (np.sqrt(v_hat) + eps)
    return -eta * step
'''

# The network of the plain form, in rows and (in, out); the conventions wrap it.
PLAIN = (
    MATH
    + """

def _forward(params, x, activation):
    f, h, inputs, zs = F[activation], x, [], []
    for l, (w, b) in enumerate(params):
        inputs.append(h)
        z = h @ w + b
        zs.append(z)
        if l < len(params) - 1:
            h = f(z)
    return z, inputs, zs


def _loss(loss, z, y):
    p = softmax(z)
    if loss == "cross_entropy":
        return -np.sum(y * np.log(p)) / len(y)
    return np.mean((p - y) ** 2)


def _gradients(params, x, y, activation, loss, weight_decay):
    f, df = F[activation], DF[activation]
    z, inputs, zs = _forward(params, x, activation)
    delta = loss_delta(loss, z, y)
    n, grads = len(params), []
    for l in range(n - 1, -1, -1):
        w, b = params[l]
        h = inputs[l]
        m = len(x)
        dw = h.T @ delta
        db = delta.sum(axis=0)
        dw, db = dw + weight_decay * w, db
        grads.append((dw, db))
        if l > 0:
            above = params[l][0]
            delta = (delta @ above.T) * slope(f, df, zs[l - 1])
    return grads[::-1]


def update(w, g, state, t, optimizer, lr, mu, beta, beta1, beta2, eps):
    state = state or {}
    return w + step_of(optimizer, state, g, t, lr, mu, beta, beta1, beta2, eps), state
"""
)

CONVENTIONS = {
    "pairs, rows, logits, one-hot": """

def forward(params, x, activation):
    return _forward(params, x, activation)[0]


def gradients(params, x, y, activation, loss, weight_decay=0.0):
    return _gradients(params, x, y, activation, loss, weight_decay)


def cross_entropy(z, y):
    return _loss("cross_entropy", z, y)


def mse(z, y):
    return _loss("mse", z, y)
""",
    "dictionary, columns, (out, in), integers": """

def _pairs(params):
    n = len(params) // 2
    return [(params[f"W{i}"].T, params[f"b{i}"][:, 0]) for i in range(1, n + 1)]


def forward_propagation(X, parameters, act):
    return _forward(_pairs(parameters), X.T, act)[0].T


def backward_propagation(X, labels, parameters, act, loss_type, lambd=0):
    k = parameters[f"W{len(parameters) // 2}"].shape[0]
    y = np.eye(k)[labels]
    grads = {}
    for i, (dw, db) in enumerate(_gradients(_pairs(parameters), X.T, y, act, loss_type, lambd), 1):
        grads[f"dW{i}"], grads[f"db{i}"] = dw.T, db[:, None]
    return grads


def cross_entropy_loss(labels, logits):
    return _loss("cross_entropy", logits.T, np.eye(len(logits))[labels])


def mean_squared_error(labels, logits):
    return _loss("mse", logits.T, np.eye(len(logits))[labels])
""",
    "two lists, (1, n), probabilities, last first": """

def forward(weights, biases, x, activation):
    h, acts = _forward([(w, b[0]) for w, b in zip(weights, biases)], x, activation)[0], []
    return softmax(h), acts


def backward(weights, biases, x, y, activation, loss, l2=0.0):
    grads = _gradients([(w, b[0]) for w, b in zip(weights, biases)], x, y, activation, loss, l2)
    return [g[0] for g in grads[::-1]], [g[1][None, :] for g in grads[::-1]]


def cross_entropy(p, y):
    return _loss("cross_entropy", np.log(p), y)


def mse(y_true, y_pred):
    return _loss("mse", np.log(y_pred), y_true)
""",
    "layers, rows, (out, in), sums": """

def forward(x, layers, activation):
    return _forward([(l["W"].T, l["b"]) for l in layers], x, activation)[0]


def compute_gradients(layers, x, y, activation, criterion, wd=0.0):
    params = [(l["W"].T, l["b"]) for l in layers]
    y = np.eye(len(layers[-1]["b"]))[y]
    grads = _gradients(params, x, y, activation, criterion, wd / len(y))
    return _loss(criterion, _forward(params, x, activation)[0], y), [
        {"W": len(y) * dw.T, "b": len(y) * db} for dw, db in grads
    ]


def cross_entropy(logits, labels):
    return len(logits) * _loss("cross_entropy", logits, np.eye(logits.shape[1])[labels])


def mse(logits, labels):
    return len(logits) * _loss("mse", logits, np.eye(logits.shape[1])[labels])
""",
}

SKELETON = {
    "math.py": MATH,
    "neural_layer.py": """
import numpy as np
from .mathematics import he, random_init, xavier


class NeuralLayer:
    def __init__(self, n_in, n_out, weight_init):
        make = {"xavier": xavier, "random": random_init, "he": he}[weight_init]
        self.W, self.b = make(n_in, n_out), np.zeros((1, n_out))
        self.grad_W, self.grad_b = None, None
""",
    "neural_network.py": """
import numpy as np
import wandb
from .mathematics import F, DF, loss_delta, slope, softmax, step_of
from .neural_layer import NeuralLayer
from .objective_functions import cross_entropy, mean_squared_error

OPTIMIZERS = {name: name for name in ("sgd", "momentum", "rmsprop", "adam", "nadam")}
OPTIMIZERS["nag"] = "nesterov"


class NeuralNetwork:
    def __init__(self, cli_args):
        sizes = [784, *cli_args.hidden_size, 10]
        self.layers = [NeuralLayer(i, o, cli_args.weight_init) for i, o in zip(sizes, sizes[1:])]
        self.activation, self.loss = cli_args.activation, cli_args.loss
        self.f, self.df = F[self.activation], DF[self.activation]
        if self.loss not in ("cross_entropy", "mean_squared_error"):
            raise ValueError(self.loss)
        self.optimizer_name = OPTIMIZERS[cli_args.optimizer]
        self.lr, self.weight_decay = cli_args.learning_rate, cli_args.weight_decay
        self.t, self.state = 0, {}

    def forward(self, X):
        params = [(layer.W, layer.b) for layer in self.layers]
        f, h, self.inputs, self.zs = self.f, X, [], []
        for l, (w, b) in enumerate(params):
            self.inputs.append(h)
            z = h @ w + b
            self.zs.append(z)
            if l < len(params) - 1:
                h = f(z)
        return z

    def backward(self, y_true, y_pred):
        loss = "cross_entropy" if self.loss == "cross_entropy" else "mse"
        y, z, f, df = y_true, y_pred, self.f, self.df
        delta = loss_delta(loss, z, y)
        params = [(layer.W, layer.b) for layer in self.layers]
        n, grad_W, grad_b = len(params), [], []
        for l in range(n - 1, -1, -1):
            w, b = params[l]
            h = self.inputs[l]
            m = len(y)
            dw = h.T @ delta
            db = delta.sum(axis=0)
            dw, db = dw + self.weight_decay * w, db
            db = np.reshape(db, b.shape)
            self.layers[l].grad_W, self.layers[l].grad_b = dw, db
            grad_W.append(dw)
            grad_b.append(db)
            if l > 0:
                above = params[l][0]
                delta = (delta @ above.T) * slope(f, df, self.zs[l - 1])
        return grad_W, grad_b

    def update_weights(self):
        self.t += 1
        for i, layer in enumerate(self.layers):
            for j, name in enumerate("Wb"):
                state = self.state.setdefault((i, j), {})
                t = self.t
                g = getattr(layer, "grad_" + name)
                step = step_of(self.optimizer_name, state, g, t, self.lr, 0.9, 0.9, 0.9, 0.999, 1e-8)
                setattr(layer, name, getattr(layer, name) + step)

    def get_weights(self):
        d = {}
        for i, layer in enumerate(self.layers):
            d[f"W{i}"], d[f"b{i}"] = layer.W.copy(), layer.b.copy()
        return d

    def set_weights(self, weight_dict):
        for i, layer in enumerate(self.layers):
            layer.W, layer.b = weight_dict[f"W{i}"].copy(), weight_dict[f"b{i}"].copy()
""",
    "objective_functions.py": """
import numpy as np
from .mathematics import softmax


def cross_entropy(logits, y):
    p = softmax(logits)
    return -np.sum(y * np.log(p)) / len(y)


def mean_squared_error(logits, y):
    p = softmax(logits)
    return np.mean((p - y) ** 2)
""",
}
SKELETON["mathematics.py"] = SKELETON.pop("math.py")

Edit = tuple[str, str]
DELTA = "    return delta / len(y)\n"
SLOPE = "    return df(z)\n"
DW, DB = "dw = h.T @ delta\n", "db = delta.sum(axis=0)\n"
DECAYED_PLAIN, DECAYED_CLASS = "dw + weight_decay * w, db\n", "dw + self.weight_decay * w, db\n"
MSE = "        delta = p * (d - (d * p).sum(axis=1, keepdims=True))\n"
SOFTMAX = "def delta_softmax(z):\n    return softmax(z)\n"
SECOND = '        v = beta2 * state.get("v", zero) + (1 - beta2) * g ** 2\n'
RETURN_STEP = "    return -eta * step\n"


def _of(name: str, text: str, old: str, new: str) -> list[Edit]:
    """A replacement inside the branch of one optimizer alone."""
    heads = {"sgd": 'if name == "sgd"', "nadam": "    else:\n        m ="}
    head = heads.get(name, f'elif name == "{name}"')
    start = text.index(head)
    end = text.find("    el", start + len(head))
    branch = text[start : end if end > 0 else text.index(RETURN_STEP)]
    assert old in branch, (name, old)
    return [(branch, branch.replace(old, new))]


def mutations() -> dict[str, list[tuple[str, list[Edit]]]]:
    """Mistake -> (what it is planted into, edits): the ways to plant it. The first word says where it is looked for."""
    m: dict[str, list[tuple[str, list[Edit]]]] = {
        "softmax_in_forward": [("class forward", [("        return z\n", "        return softmax(z)\n")])],
        "activation_on_output": [
            (
                "forward",
                [
                    ("if l < len(params) - 1:\n", "if True:\n"),
                    ("return z, inputs, zs", "return h, inputs, zs"),
                    ("        return z\n", "        return h\n"),
                ],
            )
        ],
        "activation_missing": [("forward", [("h = f(z)", "h = z")])],
        "activation_missing_first": [("forward", [("h = f(z)", "h = f(z) if l else z")])],
        "activation_missing_last": [("forward", [("h = f(z)", "h = f(z) if l < len(params) - 2 else z")])],
        "activation_twice": [("forward", [("h = f(z)", "h = f(f(z))")])],
        "bias_missing": [("forward", [("z = h @ w + b", "z = h @ w")])],
        "bias_missing_output": [("forward", [("z = h @ w + b", "z = h @ w + b * (l < len(params) - 1)")])],
        "bias_subtracted": [("forward", [("z = h @ w + b", "z = h @ w - b")])],
        "sigmoid_for_tanh": [
            ("forward", [("def tanh(z):\n    return np.tanh(z)", "def tanh(z):\n    return sigmoid(z)")])
        ],
        "relu_leaks": [("forward", [("np.maximum(z, 0)", "np.maximum(z, 0.01 * z)")])],
        "sigmoid_sign": [("forward", [("    pos = z >= 0\n", "    z = -z\n    pos = z >= 0\n")])],
        "mse_of_logits": [("mse of logits", [("np.mean((p - y) ** 2)", "np.mean((LOGITS - y) ** 2)")])],
        "loss_over_classes": [("cross_entropy", [("-np.sum(y * np.log(p)) / len(y)", "-np.mean(y * np.log(p))")])],
        "loss_softmax_twice": [
            ("cross_entropy", [("-np.sum(y * np.log(p)) / len(y)", "-np.sum(y * np.log(softmax(p))) / len(y)")])
        ],
        "loss_sign": [
            ("cross_entropy", [("-np.sum(y * np.log(p))", "np.sum(y * np.log(p))")]),
            ("mse", [("np.mean((p - y) ** 2)", "-np.mean((p - y) ** 2)")]),
        ],
        "loss_log10": [("cross_entropy", [("np.log(p)) / len(y)", "np.log10(p)) / len(y)")])],
        "batch_twice": [
            ("gradients", [(DELTA, "    return delta / len(y) / len(y)\n")]),
            ("gradients", [(DW, "dw = h.T @ delta / m\n"), (DB, "db = delta.mean(axis=0)\n")]),
        ],
        "batch_not": [("gradients", [(DELTA, "    return delta\n")])],
        "biases_not_divided": [("gradients", [(DELTA, "    return delta\n"), (DW, "dw = h.T @ delta / m\n")])],
        "weights_not_divided": [("gradients", [(DELTA, "    return delta\n"), (DB, "db = delta.mean(axis=0)\n")])],
        "biases_divided_twice": [("gradients", [(DB, "db = delta.mean(axis=0)\n")])],
        "weights_divided_twice": [("gradients", [(DW, "dw = h.T @ delta / m\n")])],
        "divided_by_all_entries": [("gradients", [(DELTA, "    return delta / y.size\n")])],
        "divided_by_classes": [("gradients", [(DELTA, "    return delta / y.shape[1]\n")])],
        "last_example_only": [("gradients", [(DW, "dw = np.outer(h[-1], delta[-1])\n"), (DB, "db = delta[-1]\n")])],
        "first_example_only": [("gradients", [(DW, "dw = np.outer(h[0], delta[0])\n"), (DB, "db = delta[0]\n")])],
        "biases_of_last_example": [("gradients", [(DB, "db = delta[-1]\n")])],
        "biases_summed_over_units": [("gradients", [(DB, "db = np.full(delta.shape[1], delta.sum())\n")])],
        "cross_entropy_delta_under_mse": [("gradients of mse", [(MSE, "        delta = p - y\n")])],
        "jacobian_diagonal": [("gradients of mse", [(MSE, "        delta = d * p * (1 - p)\n")])],
        "jacobian_missing": [("gradients of mse", [(MSE, "        delta = d\n")])],
        "jacobian_of_p": [
            ("gradients of mse", [(MSE, "        delta = p * (d * p - (d * p).sum(axis=1, keepdims=True))\n")])
        ],
        "mse_without_two": [("gradients of mse", [("d = 2 * (q - y) / k", "d = (q - y) / k")])],
        "mse_without_classes": [("gradients of mse", [("d = 2 * (q - y) / k", "d = 2 * (q - y)")])],
        "mse_without_two_and_classes": [("gradients of mse", [("d = 2 * (q - y) / k", "d = q - y")])],
        "mse_delta_of_logits": [("gradients of mse", [("q = p\n", "q = z\n"), (MSE, "        delta = d\n")])],
        "delta_of_logits": [("gradients of cross_entropy", [("        delta = p - y\n", "        delta = z - y\n")])],
        "cross_entropy_through_diagonal": [
            ("gradients of cross_entropy", [("        delta = p - y\n", "        delta = (p - y) * p * (1 - p)\n")])
        ],
        "cross_entropy_by_probabilities": [
            ("gradients of cross_entropy", [("        delta = p - y\n", "        delta = -y / p\n")])
        ],
        "softmax_twice": [("gradients", [(SOFTMAX, SOFTMAX.replace("softmax(z)\n", "softmax(softmax(z))\n"))])],
        "softmax_over_batch": [
            ("gradients", [(SOFTMAX, "def delta_softmax(z):\n    return np.exp(z) / np.exp(z).sum(axis=0)\n")])
        ],
        "softmax_over_everything": [
            ("gradients", [(SOFTMAX, "def delta_softmax(z):\n    return np.exp(z) / np.exp(z).sum()\n")])
        ],
        "delta_sign": [("gradients", [(DELTA, "    return -delta / len(y)\n")])],
        "labels_shifted": [
            ("gradients", [("    p = delta_softmax(z)\n", f"    p, y = delta_softmax(z), np.roll(y, {s}, axis=1)\n")])
            for s in (1, -1)
        ],
        "derivative_of_activation": [("gradients", [(SLOPE, "    return df(f(z))\n")])],
        "derivative_formula_at_z": [
            ("gradients", [("    s = sigmoid(z)\n", "    s = z\n"), ("1 - np.tanh(z) ** 2", "1 - z ** 2")])
        ],
        "derivative_missing": [("gradients", [(SLOPE, "    return np.ones_like(z)\n")])],
        "derivative_missing_first": [
            (
                "gradients",
                [
                    (" * slope(f, df, zs[l - 1])", " * (slope(f, df, zs[l - 1]) if l > 1 else 1)"),
                    (" * slope(f, df, self.zs[l - 1])", " * (slope(f, df, self.zs[l - 1]) if l > 1 else 1)"),
                ],
            )
        ],
        "derivative_missing_last": [
            (
                "gradients",
                [
                    (" * slope(f, df, zs[l - 1])", " * (slope(f, df, zs[l - 1]) if l < n - 1 else 1)"),
                    (" * slope(f, df, self.zs[l - 1])", " * (slope(f, df, self.zs[l - 1]) if l < n - 1 else 1)"),
                ],
            )
        ],
        "derivative_twice": [("gradients", [(SLOPE, "    return df(z) ** 2\n")])],
        "derivative_of_sigmoid": [("gradients", [(SLOPE, "    return f(z) * (1 - f(z))\n")])],
        "derivative_times_z": [("gradients", [(SLOPE, "    return z * df(z)\n")])],
        "derivative_is_activation": [("gradients", [(SLOPE, "    return f(z)\n")])],
        "tanh_derivative_not_squared": [("gradients", [("1 - np.tanh(z) ** 2", "1 - np.tanh(z)")])],
        "inputs_from_pre_activation": [
            (
                "gradients",
                [
                    ("h = inputs[l]", "h = zs[l - 1] if l else inputs[0]"),
                    ("h = self.inputs[l]", "h = self.zs[l - 1] if l else self.inputs[0]"),
                ],
            )
        ],
        "inputs_of_wrong_layer": [
            (
                "gradients",
                [
                    ("h = inputs[l]", "h = inputs[min(l + 1, n - 1)]"),
                    ("h = self.inputs[l]", "h = self.inputs[min(l + 1, n - 1)]"),
                ],
            )
        ],
        "weights_not_transposed": [("gradients", [("delta @ above.T", "delta @ above")])],
        "weights_of_wrong_layer": [("gradients", [("above = params[l][0]", "above = params[l - 1][0]")])],
        "first_layer_not_reached": [
            (
                "gradients",
                [(DW, "dw = h.T @ delta * (l > 0 or n == 1)\n"), (DB, "db = delta.sum(axis=0) * (l > 0 or n == 1)\n")],
            )
        ],
        "only_last_layer": [
            ("gradients", [(DW, "dw = h.T @ delta * (l == n - 1)\n"), (DB, "db = delta.sum(axis=0) * (l == n - 1)\n")])
        ],
        "biases_without_gradient": [("gradients", [(DB, "db = np.zeros(delta.shape[1])\n")])],
        "layers_reversed": [("class what backward", [("return grad_W, grad_b", "return grad_W[::-1], grad_b[::-1]")])],
        "gradient_transposed": [
            ("class what backward", [("            grad_W.append(dw)\n", "            grad_W.append(dw.T)\n")])
        ],
        "gradients_not_returned": [("class what backward", [("return grad_W, grad_b", "return None")])],
        "gradients_not_on_layers": [
            (
                "class grad_W",
                [
                    (
                        "self.layers[l].grad_W, self.layers[l].grad_b = dw, db",
                        "self.layers[l].g1, self.layers[l].g2 = dw, db",
                    ),
                    ('"grad_" + name', '"g" + str(j + 1)'),
                ],
            )
        ],
        "xavier_is_he": [("init xavier", [("limit = np.sqrt(6 / (n_in + n_out))", "limit = np.sqrt(6 / n_in)")])],
        "xavier_fan_in": [("init xavier", [("limit = np.sqrt(6 / (n_in + n_out))", "limit = np.sqrt(3 / n_in)")])],
        "xavier_fan_out": [("init xavier", [("limit = np.sqrt(6 / (n_in + n_out))", "limit = np.sqrt(3 / n_out)")])],
        "xavier_limit_as_deviation": [
            (
                "init xavier",
                [("np.random.uniform(-limit, limit, (n_in, n_out))", "np.random.randn(n_in, n_out) * limit")],
            )
        ],
        "xavier_deviation_as_limit": [("init xavier", [("limit = np.sqrt(6 /", "limit = np.sqrt(2 /")])],
        "xavier_normal": [
            (
                "init xavier",
                [
                    (
                        "np.random.uniform(-limit, limit, (n_in, n_out))",
                        "np.random.randn(n_in, n_out) * np.sqrt(2 / (n_in + n_out))",
                    )
                ],
            )
        ],
        "he_is_xavier": [("init he", [("np.sqrt(2 / n_in)", "np.sqrt(2 / (n_in + n_out))")])],
        "he_fan_out": [("init he", [("np.sqrt(2 / n_in)", "np.sqrt(2 / n_out)")])],
        "random_unscaled": [("init random", [("np.random.randn(n_in, n_out) * 0.01", "np.random.randn(n_in, n_out)")])],
        "random_positive": [("init random", [("np.random.randn(n_in, n_out) * 0.01", "np.random.rand(n_in, n_out)")])],
        "weights_constant": [("init random", [("np.random.randn(n_in, n_out) * 0.01", "np.zeros((n_in, n_out))")])],
        "layers_alike": [
            (
                "init random",
                [
                    (
                        "return np.random.randn(n_in, n_out) * 0.01",
                        "return np.random.RandomState(0).randn(n_in, n_out) * 0.01",
                    )
                ],
            )
        ],
        "dropout_not_scaled": [("plain dropout", [(" >= rate) / (1 - rate)", " >= rate)")])],
        "dropout_rate_is_keep": [("plain dropout", [(" >= rate) / (1 - rate)", " < rate) / rate")])],
        "dropout_divided_by_rate": [("plain dropout", [(" >= rate) / (1 - rate)", " >= rate) / rate")])],
        "split_overlaps": [("plain split", [("x[order[n:]], x[order[:n]], y[order[n:]]", "x, x[order[:n]], y")])],
        "split_labels_apart": [("plain split", [("y[order[n:]], y[order[:n]]", "y[n:], y[:n]")])],
        "split_loses_rows": [
            (
                "plain split",
                [("x[order[n:]], x[order[:n]], y[order[n:]]", "x[order[n + 1:]], x[order[:n]], y[order[n + 1:]]")],
            )
        ],
        "metric_averages_swapped": [("plain precision", [("c.sum(axis=0)", "c.sum(axis=1)")])],
    }
    for name, terms in {
        "decay_missing": "dw, db\n",
        "decay_doubled": "dw + 2 * LAMBDA * w, db\n",
        "decay_halved": "dw + 0.5 * LAMBDA * w, db\n",
        "decay_over_batch": "dw + LAMBDA * w / m, db\n",
        "decay_sign": "dw - LAMBDA * w, db\n",
        "decay_on_biases": "dw + LAMBDA * w, db + LAMBDA * b\n",
        "decay_of_sign": "dw + LAMBDA * np.sign(w), db\n",
    }.items():
        edits = [
            (DECAYED_PLAIN, terms.replace("LAMBDA", "weight_decay")),
            (DECAYED_CLASS, terms.replace("LAMBDA", "self.weight_decay")),
        ]
        m[name] = [("weight decay", edits)]

    def branch(mistake: str, old: str, new: str, *optimizers: str) -> None:
        m.setdefault(mistake, []).extend((name, _of(name, MATH, old, new)) for name in optimizers)

    root, _square = "np.sqrt(v_hat) + eps", "(1 - beta2) * g ** 2"
    for name in ("momentum", "nesterov", "rmsprop", "adam", "nadam"):
        m.setdefault("falls_back_to_sgd", []).append(
            (name, [(RETURN_STEP, f'    return -eta * (g if name == "{name}" else step)\n')])
        )
    for name in ("sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam"):
        m.setdefault("update_sign", []).append(
            (name, [(RETURN_STEP, f'    return (eta if name == "{name}" else -eta) * step\n')])
        )
        m.setdefault("learning_rate_twice", []).append(
            (name, [(RETURN_STEP, f'    return -eta * step * (eta if name == "{name}" else 1)\n')])
        )
    both = ("momentum", "nesterov")
    branch("momentum_average", "u = mu * old + g", "u = mu * old + (1 - mu) * g", *both)
    branch("momentum_swapped", "u = mu * old + g", "u = (1 - mu) * old + mu * g", *both)
    branch("momentum_sign", "u = mu * old + g", "u = g - mu * old", *both)
    branch("velocity_late", "step = u", "step = old", "momentum")
    branch("nesterov_is_momentum", "step = g + mu * u", "step = u", "nesterov")
    branch("nesterov_old_velocity", "step = g + mu * u", "step = u + mu * old", "nesterov")
    branch("nesterov_twice", "step = g + mu * u", "step = u + mu * u", "nesterov")
    branch("nesterov_undamped", "step = g + mu * u", "step = mu * old + (1 + mu) * g", "nesterov")
    branch("nesterov_mixed", "step = g + mu * u", "step = mu * old + (1 - mu) * u", "nesterov")
    branch("nesterov_without_gradient", "step = g + mu * u", "step = mu * u", "nesterov")
    moments = ("adam", "nadam")
    for mistake, new in {
        "eps_inside_root": "np.sqrt({} + eps)",
        "eps_missing": "np.sqrt({})",
        "root_missing": "{} + eps",
    }.items():
        branch(mistake, "np.sqrt(v) + eps", new.format("v"), "rmsprop")
        branch(mistake, root, new.format("v_hat"), *moments)
    for mistake, rms, adam in (
        ("square_not_averaged", "v = beta * old + g ** 2", 'v = beta2 * state.get("v", zero) + g ** 2'),
        ("square_summed", "v = old + g ** 2", 'v = state.get("v", zero) + g ** 2'),
        (
            "square_swapped",
            "v = (1 - beta) * old + beta * g ** 2",
            'v = (1 - beta2) * state.get("v", zero) + beta2 * g ** 2',
        ),
        (
            "square_of_mean_missing",
            "v = beta * old + (1 - beta) * g",
            'v = beta2 * state.get("v", zero) + (1 - beta2) * g',
        ),
    ):
        branch(mistake, "v = beta * old + (1 - beta) * g ** 2", rms, "rmsprop")
        branch(mistake, 'v = beta2 * state.get("v", zero) + (1 - beta2) * g ** 2', adam, *moments)
    branch("rmsprop_corrected", "np.sqrt(v) + eps", "np.sqrt(v / (1 - beta ** t)) + eps", "rmsprop")
    branch("rmsprop_late", "np.sqrt(v) + eps", "np.sqrt(old) + eps", "rmsprop")
    v_hat = "v_hat = v / (1 - beta2 ** t)"
    m_hat, ahead = (
        "m_hat = m / (1 - beta1 ** t)",
        "ahead = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1 ** t)",
    )
    bare = "ahead = beta1 * m + (1 - beta1) * g"
    branch("correction_of_v_missing", v_hat, "v_hat = v", *moments)
    branch("correction_of_m_missing", m_hat, "m_hat = m", "adam")
    branch("correction_of_m_missing", ahead, bare, "nadam")
    branch("correction_missing", f"{m_hat}\n        {v_hat}", "m_hat, v_hat = m, v", "adam")
    branch("correction_missing", f"{ahead}\n        {v_hat}", f"{bare}\n        v_hat = v", "nadam")
    first = "m = beta1 * state"
    for mistake, new in {"t_from_0": "t - 1", "t_from_2": "t + 1", "t_by_epoch": "1"}.items():
        branch(mistake, first, f"t = {new}\n        {first}", *moments)
    m["t_by_tensor"] = [
        (f"class {name}", [("t = self.t\n", f't = self.t if self.optimizer_name != "{name}" else {new}\n')])
        for name in moments
        for new in ("(self.t - 1) * 2 * len(self.layers) + 2 * i + j + 1", "(self.t - 1) * len(self.layers) + i + 1")
    ]
    branch("betas_swapped", first, f"beta1, beta2 = beta2, beta1\n        {first}", *moments)
    branch("mean_not_averaged", "+ (1 - beta1) * g\n", "+ g\n", "adam")
    m["mean_not_averaged"].append(
        ("nadam", _of("nadam", MATH, 'state.get("m", zero) + (1 - beta1) * g\n', 'state.get("m", zero) + g\n'))
    )
    branch("adam_without_mean", m_hat, "m_hat = g", "adam")
    branch("moments_forgotten", 'state["v"] = v', "pass", "rmsprop")
    branch("moments_forgotten", 'state["m"], state["v"] = m, v', "pass", *moments)
    branch("moments_forgotten", 'state["u"] = u', "pass", "nesterov")
    branch("nadam_is_adam", ahead, "ahead = m / (1 - beta1 ** t)", "nadam")
    branch("nadam_gradient_uncorrected", ahead, "ahead = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g", "nadam")
    branch("nadam_gradient_uncorrected", ahead, "ahead = beta1 * m / (1 - beta1 ** t) + (1 - beta1) * g", "nadam")
    branch("nadam_correction_of_t", ahead, "ahead = (beta1 * m + (1 - beta1) * g) / (1 - beta1 ** t)", "nadam")
    return m


def fits(item: str, form: str) -> bool:
    """Whether a mistake of MUTATIONS can be planted into a form."""
    if item.startswith("class "):
        return form == "class"
    return not (item == "mse of logits" and "probabilities" in form)  # there are none


def sources(form: str) -> dict[str, str]:
    """File name -> text of the right submission; `form` is "class" or one of CONVENTIONS."""
    if form == "class":
        return {f"src/ann/{name}": text for name, text in SKELETON.items()} | {"src/ann/__init__.py": ""}
    return {"submission.py": PLAIN + CONVENTIONS[form]}


def planted(form: str, edits: list[Edit]) -> dict[str, str] | None:
    """The sources with a mistake in them; None where none of the edits fits this form."""
    files, changed = sources(form), set()
    for old, new in edits:
        for name, text in files.items():
            here = new.replace("LOGITS", "logits" if form == "class" else "z")
            if old in text:
                files[name] = text.replace(old, here)
                changed.add(old)
    return files if changed else None


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
