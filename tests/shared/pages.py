"""Pages read back with Python's HTML parser, and pages of users who try to run code in them."""

import json
from html.parser import HTMLParser

from mlp_jax.reports.html import VOID
from tests.shared.synthetic_workdirs import run_workdir, sweep_workdir, trials

ATTACKS = [
    "</script><script>hacked = 1</script>",
    "\"><img src=x onerror='hacked = 1'>",
    "<b onmouseover=hacked=1>&lt;{{7*7}}",
    "'); hacked = 1; ('",
]


class Parsed(HTMLParser):
    """Every element with its attributes and the text inside it."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "attrs": dict(attrs), "text": ""}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag  # every element is closed, in order

    def handle_data(self, text):
        for element in self.open:
            element["text"] += text

    def all(self, tag, **attrs):
        wanted = attrs.items()
        return [e for e in self.elements if e["tag"] == tag and all(e["attrs"].get(k) == v for k, v in wanted)]

    def texts(self, tag, **attrs):
        return [element["text"] for element in self.all(tag, **attrs)]

    def lead(self):
        return self.texts("p", **{"class": "lead"})[0]

    def data(self):
        return json.loads(self.texts("script", id="data")[0])


def parse(path):
    return Parsed(path.read_text(encoding="utf-8"))


def attacked_run(folder):
    names = [f"{attack}{i}" for i, attack in enumerate(ATTACKS * 3)][:10]
    return run_workdir(folder, names, optimizer=ATTACKS[0], dataset=ATTACKS[1], wandb_entity=ATTACKS[2])


def attacked_sweep(folder):
    rows = trials(12)
    for i, row in enumerate(rows):
        row["name"] = ATTACKS[i % 4]
        row["parameters"] |= {"activation": ATTACKS[i % 3], ATTACKS[3]: i % 2}
    return sweep_workdir(folder, rows)
