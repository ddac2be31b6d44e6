"""The pages in headless Chromium: what a drag, a click and a hovering mouse do, with no error and no request."""

import csv
import io
import json
import math
import shutil
import time

import pytest

from mlp_jax.reports import plots
from mlp_jax.reports.compare import compare
from mlp_jax.reports.run import Section, write_questions_report, write_run_report
from mlp_jax.reports.sweep import write_sweep_report
from tests.shared.pages import attacked_run, attacked_sweep
from tests.shared.synthetic_workdirs import CLASSES, DEFAULTS, IMPORTANCE, run_workdir, sweep_workdir, trials

pytestmark = [pytest.mark.slow, pytest.mark.browser]

ROWS = trials(60)
SCORES = [row["val/accuracy"] for row in ROWS if row["val/accuracy"] is not None]
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")

# Counts the strokes of the last painting, each of which begins by setting the canvas' width.
COUNT_STROKES = """
const width = Object.getOwnPropertyDescriptor(HTMLCanvasElement.prototype, "width");
Object.defineProperty(HTMLCanvasElement.prototype, "width", {
  get: width.get, set(value) { window.strokes = 0; width.set.call(this, value); },
});
const stroke = CanvasRenderingContext2D.prototype.stroke;
CanvasRenderingContext2D.prototype.stroke = function () { window.strokes += 1; stroke.call(this); };
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("no chromium and chromedriver on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()


class Page:
    """A page with the few things a user does on it."""

    def __init__(self, driver, path, drawn="svg", width=1200):
        self.driver, self.run = driver, driver.execute_script
        driver.set_window_size(width, 1000)
        driver.get(path.as_uri())
        deadline = time.monotonic() + 60
        while not self.run("return document.querySelector(arguments[0]) !== null", drawn):
            assert time.monotonic() < deadline, "nothing was drawn"
            time.sleep(0.05)
        self.run(COUNT_STROKES)

    def find(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def text(self, selector):
        return self.find(selector).text

    def mouse(self):
        from selenium.webdriver.common.action_chains import ActionChains

        return ActionChains(self.driver, duration=20)

    def show(self, selector, drawn=""):
        """Scrolls there, and waits for what is drawn only then."""
        self.run("arguments[0].scrollIntoView({block: 'center'})", self.find(selector))
        deadline = time.monotonic() + 60
        while drawn and not self.all(drawn):
            assert time.monotonic() < deadline, "nothing was drawn"
            time.sleep(0.05)

    def drag(self, axis, start, stop):
        """Along an axis of the parallel coordinates, from one height in 0 … 1 to another."""
        hit = f".hit[data-axis='{axis}']"
        self.show(hit)
        length = self.find(hit).rect["height"] - 12  # the area reaches past both ends of the axis
        first, last = (round((0.5 - place) * length) for place in (start, stop))
        mouse = self.mouse().move_to_element_with_offset(self.find(hit), 0, first).click_and_hold()
        halfway = (last - first) // 2
        mouse.move_by_offset(0, halfway).move_by_offset(0, last - first - halfway).release().perform()

    def kept(self):
        """The line that says how many runs are kept, the strokes drawn, and the rows listed."""
        return self.text("#brushed"), self.run("return window.strokes"), len(self.column("#"))

    def column(self, name):
        """The texts of a column of the table of all trials, from top to bottom."""
        heads = [head.text for head in self.all(".trials th") if head.is_displayed()]
        place = heads.index(name) + 1
        cells = (
            "return [...document.querySelectorAll(`.trials td:nth-child(${arguments[0]})`)].map((c) => c.textContent)"
        )
        return self.run(cells, place)

    def show_column(self, name):
        """Ticks or unticks the box of a column."""
        self.run("document.getElementById('columns').open = true")
        (label,) = [label for label in self.all("#columns label") if label.text == name]
        label.click()

    def names(self):
        """The axes of the parallel coordinates, from left to right."""
        return self.run("return [...document.querySelectorAll('.parallel .hit')].map((hit) => hit.dataset.axis)")

    def sorted_by(self, name):
        """The column after a click on its head."""
        (head,) = [button for button in self.all(".trials th button") if button.text == name]
        self.run("arguments[0].click()", head)
        return self.column(name)

    def check_quiet(self):
        """No console message, every image shown, and nothing was asked of a network."""
        assert self.driver.get_log("browser") == []
        assert self.run("return [...document.images].every((i) => i.complete && i.naturalWidth > 0)")
        fetched = self.run("return performance.getEntriesByType('resource').map((e) => e.name)")
        assert [name for name in fetched if not name.startswith("data:")] == []


@pytest.fixture(scope="module")
def sweep_path(tmp_path_factory):
    return write_sweep_report(sweep_workdir(tmp_path_factory.mktemp("sweep"), ROWS), DEFAULTS, IMPORTANCE)


@pytest.fixture
def sweep(driver, sweep_path):
    page = Page(driver, sweep_path)
    yield page
    page.check_quiet()


def test_a_drag_on_the_scores_axis_keeps_the_lines_that_pass_there(sweep):
    assert sweep.text("#brushed") == "60 of 60 runs"
    sweep.drag("validation accuracy", 1.0, 0.75)
    # The axis: its foot is for runs without a score, from 0.1 to 1 it is linear from the worst score to the best.
    places = [0.1 + 0.9 * (value - min(SCORES)) / (max(SCORES) - min(SCORES)) for value in SCORES]
    assert min(abs(place - 0.75) for place in places) > 0.002  # less than a pixel
    kept = sorted(value for value, place in zip(SCORES, places, strict=True) if place > 0.75)
    assert 5 < len(kept) < 55
    assert sweep.kept() == (f"{len(kept)} of 60 runs", len(kept) + 1, len(kept))  # all the others in one grey stroke
    assert f"best {100 * kept[-1]:.2f} %" in sweep.text("#summary")
    assert sorted(sweep.column("val/accuracy")) == sorted(f"{100 * value:.2f} %" for value in kept)
    (brush,) = sweep.all(".brush[visibility=visible]")
    assert brush.rect["height"] == pytest.approx(0.25 * (sweep.find(".hit").rect["height"] - 12), abs=3)


def test_a_drag_on_an_axis_of_choices_takes_whole_choices_and_axes_combine(sweep):
    names = ["adam", "momentum", "nadam", "nesterov", "rmsprop", "sgd"]  # from the foot to the top
    sweep.drag("optimizer", 0.02, 1.5 / 6)  # over the two lowest
    chosen = [row for row in ROWS if row["parameters"]["optimizer"] in names[:2]]
    assert sweep.text("#brushed") == f"{len(chosen)} of 60 runs"
    sweep.drag("weight_decay", 0.05, 0.6)
    left = [row for row in ROWS if row["parameters"]["weight_decay"] < 0.1]
    both = [row for row in chosen if row in left]
    assert sweep.kept() == (f"{len(both)} of 60 runs", len(both) + 1, len(both))
    assert set(sweep.column("#")) == {str(row["number"]) for row in both}
    sweep.mouse().move_to_element(sweep.find(".hit[data-axis='optimizer']")).click().perform()  # frees this axis
    assert sweep.text("#brushed") == f"{len(left)} of 60 runs"
    sweep.find("#clear").click()
    assert sweep.kept() == ("60 of 60 runs", 60, 60)


def test_pointing_at_a_line_names_its_run(sweep):
    sweep.show(".parallel")
    number, x, y = sweep.run(
        """const [a, b] = [...document.querySelectorAll(".hit")].slice(-2).map((hit) => hit.getBoundingClientRect());
        const [from, to] = data.axes.slice(-2).map((axis) => axis.places), middle = (box) => box.left + box.width / 2;
        const heights = from.map((place, i) => a.top + 6 + (1 - (place + to[i]) / 2) * (a.height - 12));
        const alone = (i) => Math.min(...heights.map((y, k) => (k === i ? Infinity : Math.abs(y - heights[i]))));
        const free = heights.map((_, i) => alone(i)), best = free.indexOf(Math.max(...free));
        return [best, (middle(a) + middle(b)) / 2, heights[best]];"""
    )
    mouse = sweep.mouse()
    mouse.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    mouse.perform()
    score = ROWS[number]["val/accuracy"]
    shown = "–" if score is None else f"{100 * score:.2f} %"
    assert sweep.text(".tip") == f"{ROWS[number]['name']}\nval/accuracy: {shown}"
    assert sweep.find(".parallel .chosen").get_attribute("d").startswith("M")


def test_axes_are_moved_hidden_and_turned_logarithmic(sweep):
    before = sweep.names()
    sweep.show(".parallel")
    first = sweep.find("[data-name='0']")
    second = sweep.find(f".hit[data-axis='{before[2]}']")
    step = second.rect["x"] - sweep.find(f".hit[data-axis='{before[0]}']").rect["x"]
    sweep.mouse().click_and_hold(first).move_by_offset(round(step / 2), 0).move_by_offset(
        round(step / 2), 0
    ).release().perform()
    assert sweep.names() == [before[1], before[2], before[0], *before[3:]]
    sweep.run("document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))")
    assert sweep.names() == [before[1], before[0], *before[2:]]
    sweep.drag("optimizer", 0.02, 1.5 / 6)
    kept = sweep.text("#brushed")
    assert kept != "60 of 60 runs"
    sweep.run("document.getElementById('axes').open = true")
    (label,) = [label for label in sweep.all("#axes label") if label.text == "optimizer"]
    label.click()  # what is hidden keeps nothing away
    assert "optimizer" not in sweep.names()
    assert sweep.text("#brushed") == "60 of 60 runs"
    place = "return data.axes.at(-1).places[arguments[0]]"
    low, high = min(SCORES), max(SCORES)
    number = next(row["number"] for row in ROWS if row["val/accuracy"] not in (None, low, high))
    value = ROWS[number]["val/accuracy"]
    assert sweep.run(place, number) == pytest.approx(0.1 + 0.9 * (value - low) / (high - low))
    sweep.find(".parallel .log").click()
    assert sweep.run(place, number) == pytest.approx(0.1 + 0.9 * math.log(value / low) / math.log(high / low))
    assert sweep.text(".parallel .log") == "log"


def test_lines_take_their_colour_from_the_chosen_axis(sweep):
    """The last line drawn is the best run's; its colour on the scale's ends, orange and blue, is known."""
    last = "return data.order.indexOf(Math.max(...data.order))"
    best = sweep.run(last)
    assert sweep.run("return color(arguments[0], 60)", best).startswith("rgba(0,114,178")
    (lost,) = [row["number"] for row in ROWS if row["status"] == "diverged"][:1]
    assert sweep.run("return color(arguments[0], 60)", lost).startswith("rgba(154,163,174")  # without a score: grey
    texts = [text.text for text in sweep.all("#ramp text")]
    assert texts
    assert all(text.endswith(" %") for text in texts)
    place = sweep.names().index("batch_size")
    sweep.run("by.value = arguments[0]; by.dispatchEvent(new Event('change'))", place)
    assert [text.text for text in sweep.all("#ramp text")] == ["16", "32", "64"]


def test_columns_are_chosen_and_saved_as_csv(sweep):
    assert "seconds" not in [head.text for head in sweep.all(".trials th")]
    sweep.show_column("seconds")
    assert sweep.column("seconds")[0] == f"{max(ROWS, key=lambda row: row['val/accuracy'] or 0)['seconds']:.4g}"
    sweep.run(
        "window.saved = []; URL.createObjectURL = (file) => { file.text().then((t) => saved.push(t)); return '#'; }"
    )
    sweep.run("document.getElementById('csv').click()")
    time.sleep(0.2)
    (text,) = sweep.run("return saved")
    rows = list(csv.DictReader(io.StringIO(text)))
    by_number = {row["number"]: row for row in ROWS}
    assert len(rows) == 60
    for row in rows:
        expected = by_number[int(row["#"])]
        assert row["name"] == expected["name"]
        assert row["val/accuracy"] == ("" if expected["val/accuracy"] is None else str(expected["val/accuracy"]))


def test_curves_follow_the_brush_and_are_named(driver, tmp_path):
    rows = [row | {"curve": [0.1, 0.2, row["val/accuracy"] or 0.1]} for row in ROWS]
    page = Page(driver, write_sweep_report(sweep_workdir(tmp_path, rows), DEFAULTS, IMPORTANCE))
    assert not page.all("[data-curves] canvas")  # far below the window
    page.show("[data-curves]", "[data-curves] canvas")
    page.mouse().move_to_element(page.find("[data-curves] svg")).perform()
    x, y = page.run(
        """const box = document.querySelector("[data-curves] svg").getBoundingClientRect();
        return [box.right - 14 - 0.02 / 1.04 * (box.width - 66), box.top + 12 + 0.05 / 1.1 * (340 - 54)];"""
    )
    mouse = page.mouse()
    mouse.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    mouse.perform()
    best = max(rows, key=lambda row: row["val/accuracy"] or 0)
    assert page.text(".tip").splitlines()[0] == best["name"]
    assert page.text(".tip").splitlines()[-1] == f"epoch 3: {100 * best['val/accuracy']:.2f} %"
    page.run("window.strokes = 0")
    page.drag("optimizer", 0.02, 0.9 / 6)
    number = int(page.text("#brushed").split()[0])
    assert 0 < number < 60
    assert page.run("return window.strokes") == number  # the curves are painted last
    page.check_quiet()


def test_heads_sort_numbers_as_numbers_and_missing_ones_last(sweep):
    ascending = [f"{100 * value:.2f} %" for value in sorted(SCORES)]
    missing = ["–"] * (60 - len(SCORES))
    assert missing
    assert sweep.column("val/accuracy") == ascending[::-1] + missing  # best first
    assert sweep.sorted_by("val/accuracy") == ascending + missing
    own = {name: sorted(row["parameters"][name] for row in ROWS) for name in ("hidden_size", "optimizer")}
    assert sweep.sorted_by("hidden_size") == [str(width) for width in own["hidden_size"][::-1]]  # 128, 64, 32
    assert sweep.sorted_by("optimizer") == own["optimizer"]
    (sorted_head,) = sweep.all(".trials th[aria-sort]")
    assert sorted_head.get_attribute("aria-sort") == "ascending"
    assert sweep.sorted_by("#") == [str(number) for number in range(60)]


def test_tables_in_the_page_sort_too(sweep):
    (head,) = [head for head in sweep.all("table.sortable th button") if head.text == "poor"]
    sweep.run("arguments[0].click()", head)
    table = head.find_element("xpath", "ancestor::table")
    counts = [int(row.text) for row in table.find_elements("css selector", "tbody td:nth-child(3)")]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) > 3


def test_pointing_at_a_run_names_it(sweep):
    sweep.show("[data-dots]")
    best = max((row for row in ROWS if row["status"] == "finished"), key=lambda row: row["metric"])
    x, y = sweep.run(
        """const path = document.querySelector("[data-dots] path[stroke-linecap]").getAttribute("d");
        const own = data.dots.history.series[0], i = own.y.indexOf(Math.max(...own.y));
        const [a, b] = path.split("M")[i + 1].split("h")[0].split(" ").map(Number);
        const svg = document.querySelector("[data-dots] svg"), box = svg.getBoundingClientRect();
        const scale = box.width / svg.viewBox.baseVal.width;
        return [box.left + a * scale, box.top + b * scale];"""
    )
    mouse = sweep.mouse()
    mouse.w3c_actions.pointer_action.move_to_location(round(x), round(y))
    mouse.perform()
    assert sweep.text(".tip") == f"{best['number']}: {best['name']}\nvalidation accuracy: {100 * best['metric']:.2f} %"


def test_thousands_of_trials_are_brushed_and_sorted(driver, tmp_path):
    rows = trials(5832)
    path = write_sweep_report(sweep_workdir(tmp_path, rows), DEFAULTS, IMPORTANCE)
    assert path.stat().st_size < 3_000_000
    page = Page(driver, path)
    page.drag("activation", 0.01, 0.3)
    relu = [row for row in rows if row["parameters"]["activation"] == "relu"]
    assert page.kept() == (f"{len(relu)} of 5832 runs", len(relu) + 1, 100)
    page.run("document.getElementById('more').click()")
    page.show_column("seconds")
    seconds = [float(value) for value in page.sorted_by("seconds")]
    assert seconds == sorted((row["seconds"] for row in relu), reverse=True)
    page.check_quiet()


def test_curves_and_matrix_answer_the_mouse(driver, tmp_path):
    folder = run_workdir(tmp_path / "run")
    page = Page(driver, write_run_report(folder, DEFAULTS))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    page.mouse().move_to_element(page.find("[data-lines='loss'] svg")).perform()
    lines = page.text(".tip").splitlines()
    row = rows[int(lines[0].split()[1]) - 1]
    assert lines[1:] == [f"training: {row['train/loss']:.4g}", f"validation: {row['val/loss']:.4g}"]

    found = json.loads((folder / "evaluation.json").read_text())
    mistake = found["mistakes"][0]
    true, taken = mistake["true"], mistake["predicted"]
    count, total = found["matrix"][true][taken], sum(found["matrix"][true])
    cell = f".cell[data-row='{true}'][data-column='{taken}']"
    page.show(cell)
    assert page.text(cell) == str(count)
    page.find("#shares").click()
    assert page.text(cell) == f"{100 * count / total:.1f}"
    page.mouse().move_to_element(page.find(cell)).click().perform()
    sentence = f"{count} of {total} images of {CLASSES[true]} were taken for {CLASSES[taken]}"
    sentence += f" ({100 * count / total:.1f} %)"
    assert page.text(".tip") == sentence
    assert page.text("#cell").startswith(sentence)
    shown = [image.get_attribute("alt") for image in page.all("#of-cell img")]
    assert shown[0] == f"image {mistake['index']}"
    assert len(shown) == count
    assert "All of them" in page.text("#cell")
    page.check_quiet()


def test_no_text_of_a_users_runs_as_code(driver, tmp_path):
    run = write_run_report(attacked_run(tmp_path / "run"), DEFAULTS)
    for path in (run, write_sweep_report(attacked_sweep(tmp_path / "sweep"), DEFAULTS, IMPORTANCE)):
        page = Page(driver, path)
        for cell in page.all(".cell.some")[:3]:
            page.mouse().move_to_element(cell).click().perform()
        assert page.run("return typeof hacked") == "undefined"
        page.check_quiet()


@pytest.fixture(scope="module")
def questions_path(tmp_path_factory):
    """A page of two questions, of which one draws and one has a table that is wider than a small window."""
    folder = tmp_path_factory.mktemp("set")
    plots.bars({"one": {"a": (0.8, 0.01)}, "two": {"a": (0.9, 0.02)}}, folder / "bars.png", "accuracy")
    wide = [{f"a column with a long name {i}": i * place for i in range(12)} for place in (2, 1, 3)]
    sections = [
        Section("A race", "Who wins?", "python main.py", ["Two leads."], [folder / "bars.png"], wide),
        Section("Samples", "What is there?", "python main.py", ["Much."], [], [{"class": "Coat", "images": 6}]),
    ]
    return write_questions_report(folder / "report.html", "Experiments", "Budget quick.", sections, {"budget": "quick"})


def test_a_page_of_questions_leads_to_its_sections(driver, questions_path):
    page = Page(driver, questions_path, "img")
    (link,) = [entry for entry in page.all("nav a") if entry.text == "Samples"]
    link.click()
    assert page.run("return 0 <= s2.getBoundingClientRect().top && s2.getBoundingClientRect().top < innerHeight")
    page.check_quiet()


def test_runs_side_by_side_have_a_colour_each_and_are_sorted(driver, tmp_path):
    runs = [run_workdir(tmp_path / f"run {seed}", seed=seed, learning_rate=0.1 * seed) for seed in range(1, 4)]
    page = Page(driver, compare(runs, tmp_path / "out"))
    assert page.sorted_by("learning_rate") == ["0.3", "0.2", "0.1"]
    assert page.column("run") == ["run 3", "run 2", "run 1"]
    page.show("[data-curves='validation loss']", "[data-curves='validation loss'] canvas")
    legend = [entry.text for entry in page.all("[data-curves='validation loss'] .legend span")]
    assert sorted(legend) == ["run 1", "run 2", "run 3"]
    page.check_quiet()
    page = Page(driver, compare([*runs, sweep_workdir(tmp_path / "s", ROWS)], tmp_path / "out"))
    page.drag("optimizer", 0.02, 0.9 / 6)
    adam = sum(row["parameters"]["optimizer"] == "adam" for row in ROWS)
    assert page.text("#brushed") == f"{adam + 3} of 63 runs"
    page.check_quiet()


@pytest.mark.parametrize("width", [500, 1200])
def test_nothing_sticks_out_of_the_window(driver, sweep_path, questions_path, tmp_path, width):
    run_path = write_run_report(run_workdir(tmp_path / "run"), DEFAULTS)
    compare_path = compare([sweep_path.parent, tmp_path / "run"], tmp_path / "compare")
    for path in (sweep_path, run_path, questions_path, compare_path):
        page = Page(driver, path, "h2", width)
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")


def test_the_words_at_the_line_of_65_percent_fit_a_phone(driver, sweep_path):
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}  # a window has 500 at least
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        page = Page(driver, sweep_path, ".reason")
        assert page.run("return document.querySelector('.reason').getBoundingClientRect().left") > 0
        assert page.text(".reason").startswith("65 %")
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
