"""A whole submission of the 2026 form, written for the tests in NumPy alone: train.py, inference.py, saved weights."""

from pathlib import Path

TRAIN = """
import argparse, json
import numpy as np
import wandb
from keras.datasets import fashion_mnist, mnist

def parse():
    p = argparse.ArgumentParser()
    p.add_argument("-wp", "--wandb_project", default="p")
    p.add_argument("-d", "--dataset", choices=["mnist", "fashion_mnist"], default="mnist")
    p.add_argument("-e", "--epochs", type=int, default=5)
    p.add_argument("-b", "--batch_size", type=int, default=32)
    p.add_argument("-l", "--loss", choices=["cross_entropy", "mean_squared_error"], default="cross_entropy")
    p.add_argument("-o", "--optimizer", choices=["sgd", "momentum", "nag", "rmsprop", "adam"], default="adam")
    p.add_argument("-lr", "--learning_rate", type=float, default=1e-3)
    p.add_argument("-m", "--momentum", type=float, default=0.9)
    p.add_argument("-wd", "--weight_decay", type=float, default=0.0)
    p.add_argument("-nhl", "--num_layers", type=int, default=1)
    p.add_argument("-sz", "--hidden_size", type=int, nargs="+", default=[16])
    p.add_argument("-a", "--activation", choices=["sigmoid", "tanh", "relu"], default="relu")
    p.add_argument("-w_i", "--weight_init", choices=["random", "Xavier"], default="Xavier")
    p.add_argument("--model_save_path", required=True)
    return p.parse_args()

F = {"sigmoid": lambda z: 1 / (1 + np.exp(-z)), "tanh": np.tanh, "relu": lambda z: z * (z > 0)}
D = {"sigmoid": lambda a: a * (1 - a), "tanh": lambda a: 1 - a * a, "relu": lambda a: 1.0 * (a > 0)}

def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)

def forward(ws, bs, x, name):
    hs = [x]
    for w, b in zip(ws[:-1], bs[:-1]):
        hs.append(F[name](hs[-1] @ w + b))
    return hs, hs[-1] @ ws[-1] + bs[-1]

def main():
    args = parse()
    wandb.init(project=args.wandb_project, config=vars(args))
    print("settings", args)
    (x, y), (xt, yt) = {"mnist": mnist, "fashion_mnist": fashion_mnist}[args.dataset].load_data()
    x, xt = x.reshape(len(x), -1) / 255.0, xt.reshape(len(xt), -1) / 255.0
    rng = np.random.default_rng()
    assert len(args.hidden_size) == args.num_layers
    sizes = [784, *args.hidden_size, 10]
    scale = lambda i, o: 0.01 if args.weight_init == "random" else np.sqrt(2 / (i + o))
    ws = [rng.normal(size=(i, o)) * scale(i, o) for i, o in zip(sizes, sizes[1:])]
    bs = [np.zeros(o) for o in sizes[1:]]
    params = ws + bs
    one = [np.zeros_like(p) for p in params]
    two = [np.zeros_like(p) for p in params]
    t = 0
    for epoch in range(args.epochs):
        order = rng.permutation(len(x))
        for k in range(0, len(x), args.batch_size):
            rows = order[k : k + args.batch_size]
            hs, z = forward(ws, bs, x[rows], args.activation)
            p, hot = softmax(z), np.eye(10)[y[rows]]
            delta = p - hot
            if args.loss == "mean_squared_error":
                d = 2 * (p - hot) / 10
                delta = p * (d - (d * p).sum(axis=1, keepdims=True))
            delta = delta / len(rows)
            gw, gb = [], []
            for l in reversed(range(len(ws))):
                gw.insert(0, hs[l].T @ delta + args.weight_decay * ws[l])
                gb.insert(0, delta.sum(axis=0))
                if l:
                    delta = (delta @ ws[l].T) * D[args.activation](hs[l])
            t += 1
            for q, g, u, v in zip(params, gw + gb, one, two):
                if args.optimizer in ("momentum", "nag"):
                    u[...] = args.momentum * u + g
                    g = g + args.momentum * u if args.optimizer == "nag" else u
                elif args.optimizer == "rmsprop":
                    v[...] = 0.9 * v + 0.1 * g * g
                    g = g / (np.sqrt(v) + 1e-8)
                elif args.optimizer == "adam":
                    u[...], v[...] = 0.9 * u + 0.1 * g, 0.999 * v + 0.001 * g * g
                    g = u / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
                q -= args.learning_rate * g
        accuracy = float((forward(ws, bs, xt, args.activation)[1].argmax(axis=1) == yt).mean())
        wandb.log({"epoch": epoch, "accuracy": accuracy})
    np.save(args.model_save_path, {f"{n}{i}": a for n, of in (("W", ws), ("b", bs)) for i, a in enumerate(of)})
    print(f"Test accuracy: {accuracy:.4f}")

if __name__ == "__main__":
    main()
"""

INFERENCE = """
import argparse, json
import numpy as np
from keras.datasets import mnist
from train import forward

p = argparse.ArgumentParser()
p.add_argument("--model_path", default="best_model.npy")
args = p.parse_args()
d = np.load(args.model_path, allow_pickle=True).item()
n = len(d) // 2
_, (x, y) = mnist.load_data()
activation = json.load(open("src/best_config.json"))["activation"]
z = forward([d[f"W{i}"] for i in range(n)], [d[f"b{i}"] for i in range(n)], x.reshape(len(x), -1) / 255, activation)[1]
guess = z.argmax(axis=1)
recall = np.mean([(guess[y == k] == k).mean() for k in range(10)])
print(f"Accuracy: {np.mean(guess == y):.4f}")
print(f"Recall: {recall:.4f}")
"""


def write(folder: Path, **changes: tuple[str, str]) -> Path:
    """The submission in `folder`; `train=("a", "b")` puts b in the place of a in train.py, likewise `inference`."""
    texts = {"train": TRAIN, "inference": INFERENCE}
    (folder / "src").mkdir(parents=True)
    for name, text in texts.items():
        old, new = changes.get(name, ("", ""))
        assert old in text
        (folder / "src" / f"{name}.py").write_text(text.replace(old, new, 1) if old else text)
    return folder
