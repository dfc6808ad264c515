// Names and labels reach the page as text only: there is no markup made from data here.

const at = (id) => document.getElementById(id);
const about = JSON.parse(at("about").textContent);
const rows = JSON.parse(at("rows").textContent).map(
  ([name, labels, scores, marks, note = ""], index) => ({ index, name, note, labels, scores, marks, tags: [] }),
);
const negative = new Set(about.negative);
const PAGE = 96; // cards in the document, at most
const LABELS = 30; // labels listed at first
const LINES = 3; // labels shown on a card
const ANY = -1;
const UNTAGGED = -2;

const state = {
  threshold: null, // null: each label's own
  label: ANY,
  name: "",
  sort: "order",
  page: 0,
  listed: LABELS,
  find: "",
};
let shown = []; // the chosen rows, sorted
let counts = new Map(); // of tags by label, and of ANY and UNTAGGED
let order = []; // of the labels
let opened = -1; // place in `shown` of the larger view

const whole = new Intl.NumberFormat("en");
const named = new Intl.Collator(undefined, { numeric: true });

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function plural(count, one, many) {
  return `${whole.format(count)} ${count === 1 ? one : many}`;
}

// 0.912, and 3.2e-6 where decimals would hide which is larger
function number(score) {
  if (score >= 0.9995 && score < 1) return ">0.999";
  if (score === 0 || score >= 0.001) return score.toFixed(3);
  return score.toExponential(1);
}

function place(elements, parent) {
  const same =
    parent.children.length === elements.length &&
    elements.every((each, i) => parent.children[i] === each);
  if (!same) parent.replaceChildren(...elements); // else whoever has the focus keeps it
}

// ---- which labels are tags, which images are shown

function tagsOf(row) {
  const found = [];
  for (let j = 0; j < row.labels.length; j += 1) {
    const mark = row.marks[j];
    const tag =
      state.threshold === null ? mark === "t" : mark !== "-" && row.scores[j] >= state.threshold;
    if (tag) found.push(j);
  }
  return found;
}

function recount() {
  counts = new Map([[ANY, rows.length], [UNTAGGED, 0]]);
  for (const row of rows) {
    row.tags = tagsOf(row);
    const keys = row.tags.length ? row.tags.map((j) => row.labels[j]) : [UNTAGGED];
    for (const key of keys) counts.set(key, (counts.get(key) || 0) + 1);
  }
}

function scoreOf(row, label) {
  const j = row.labels.indexOf(label);
  return j < 0 ? 0 : row.scores[j];
}

const best = (row) =>
  (row.best ??= Math.max(0, ...row.scores.filter((_, j) => !negative.has(row.labels[j]))));

const orders = {
  order: (a, b) => a.index - b.index,
  name: (a, b) => named.compare(a.name, b.name) || a.index - b.index,
  best: (a, b) => best(b) - best(a) || a.index - b.index,
  worst: (a, b) => best(a) - best(b) || a.index - b.index,
  label: (a, b) => scoreOf(b, state.label) - scoreOf(a, state.label) || a.index - b.index,
};

function isChosen(row) {
  if (state.name && !`${row.name}\n${row.note}`.toLowerCase().includes(state.name)) return false;
  if (state.label === ANY) return true;
  if (state.label === UNTAGGED) return row.tags.length === 0;
  return row.tags.some((j) => row.labels[j] === state.label);
}

function choose() {
  shown = rows.filter(isChosen).sort(orders[state.sort]);
  state.page = Math.min(state.page, Math.max(0, pages() - 1));
}

const pages = () => Math.ceil(shown.length / PAGE);

// ---- thumbnails, read from the page when they come near the window

const chunks = [...document.querySelectorAll("script.thumbs")];
const read = new Map();

function thumb(index) {
  const which = Math.floor(index / about.thumbs.chunk);
  if (!chunks[which]) return null;
  if (!read.has(which)) read.set(which, JSON.parse(chunks[which].textContent));
  const data = read.get(which)[index % about.thumbs.chunk];
  return data && `data:${about.thumbs.type};base64,${data}`;
}

function fill(mat, row, alt) {
  const source = thumb(row.index);
  if (!source) {
    mat.replaceChildren(element("span", "none", "no preview"));
    return;
  }
  const image = element("img");
  image.alt = alt;
  image.decoding = "async";
  image.src = source;
  mat.replaceChildren(image);
}

const mats = new WeakMap();
const near = new IntersectionObserver(
  (entries) => entries.filter((each) => each.isIntersecting).forEach((each) => show(each.target)),
  { rootMargin: "400px 0px" },
);

function show(mat) {
  near.unobserve(mat);
  if (!mat.firstChild) fill(mat, mats.get(mat), "");
}

// ---- cards

let cards = new Map(); // those on the page, by row

function card(row) {
  const mat = element("span", "mat");
  mats.set(mat, row);
  near.observe(mat);
  const name = element("bdi", "name", row.name);
  const note = row.note ? [element("bdi", "note", row.note)] : [];
  const button = element("button", "card", mat, name, ...note, element("span", "scores"));
  button.type = "button";
  button.dataset.row = row.index;
  return element("li", "", button);
}

function line(row, j, isTag) {
  const label = element("bdi", "label", about.labels[row.labels[j]]);
  const kind = element("span", "unseen", isTag ? " tag " : " no tag ");
  return element(
    "span", isTag ? "score tag" : "score", label, kind, element("span", "value", number(row.scores[j])),
  );
}

function redrawScores(item, row) {
  const isLabel = (j) => row.labels[j] === state.label;
  const tags = [...row.tags.filter(isLabel), ...row.tags.filter((j) => !isLabel(j))];
  const key = tags.join();
  if (item.dataset.tags === key) return;
  item.dataset.tags = key;
  const lines = tags.slice(0, LINES).map((j) => line(row, j, true));
  if (!lines.length && row.labels.length) lines.push(line(row, row.scores.indexOf(Math.max(...row.scores)), false));
  const more = tags.length - LINES;
  if (more > 0) lines.push(element("span", "more", `and ${plural(more, "more tag", "more tags")}`));
  item.querySelector(".scores").replaceChildren(...lines);
}

function drawCards() {
  const visible = shown.slice(state.page * PAGE, (state.page + 1) * PAGE);
  const next = new Map(visible.map((row) => [row, cards.get(row) || card(row)]));
  for (const [row, item] of cards) {
    if (!next.has(row)) near.unobserve(item.querySelector(".mat"));
  }
  cards = next;
  for (const [row, item] of cards) redrawScores(item, row);
  place([...cards.values()], at("grid"));
  const buttons = [...at("grid").querySelectorAll("button")];
  const current = buttons.find((each) => each === document.activeElement) || buttons[0];
  for (const each of buttons) each.tabIndex = each === current ? 0 : -1;
  at("nothing").hidden = shown.length > 0;
}

// ---- labels with their counts

const labelButtons = new Map();

function labelButton(label) {
  if (!labelButtons.has(label)) {
    const name = { [ANY]: "all images", [UNTAGGED]: "no tag" }[label] ?? about.labels[label];
    const text = element("bdi", "label", name);
    if (label >= 0 && about.sets.length > 1) {
      text.append(element("small", "", ` ${about.sets[about.set_of[label]]}`));
    }
    const button = element("button", label < 0 ? "special" : "", text, element("span", "count"));
    button.type = "button";
    button.addEventListener("click", () => chooseLabel(state.label === label ? ANY : label));
    labelButtons.set(label, element("li", "", button));
  }
  return labelButtons.get(label);
}

function chooseLabel(label) {
  state.label = label;
  state.page = 0;
  const byLabel = at("sort").querySelector("[value=label]");
  byLabel.disabled = label < 0;
  if (label < 0 && state.sort === "label") {
    state.sort = at("sort").value = "order";
  }
  redraw();
}

function sortLabels() {
  const count = (label) => counts.get(label) || 0;
  order = about.labels.map((_, i) => i).filter((i) => !negative.has(i));
  order.sort((a, b) => count(b) - count(a) || a - b);
}

function drawLabels() {
  const found = state.find
    ? order.filter((i) => about.labels[i].toLowerCase().includes(state.find))
    : order;
  const chosen = state.label >= 0 && !found.slice(0, state.listed).includes(state.label);
  const list = [ANY, UNTAGGED, ...(chosen ? [state.label] : []), ...found.slice(0, state.listed)];
  const most = Math.max(1, ...order.map((i) => counts.get(i) || 0));
  for (const label of list) {
    const button = labelButton(label).firstChild;
    const count = counts.get(label) || 0;
    button.setAttribute("aria-pressed", String(state.label === label));
    button.classList.toggle("zero", count === 0);
    button.lastChild.textContent = whole.format(count);
    if (label >= 0) button.style.setProperty("--part", count / most);
  }
  place(list.map(labelButton), at("labels"));
  at("more-labels").hidden = found.length <= state.listed;
  at("chosen").textContent =
    state.label === ANY ? "" : `· ${state.label < 0 ? "no tag" : about.labels[state.label]}`;
}

// ---- what is shown in words, and pages

let later = 0;

function drawSummary() {
  const tags = shown.reduce((sum, row) => sum + row.tags.length, 0);
  const all = shown.length === rows.length;
  const images = all
    ? plural(rows.length, "image", "images")
    : `${whole.format(shown.length)} of ${plural(rows.length, "image", "images")}`;
  const text = `${images}, ${plural(tags, "tag", "tags")}`;
  at("summary").textContent = text;
  clearTimeout(later); // a reader of the screen is told once the slider rests
  later = setTimeout(() => { at("live").textContent = `${text}, ${said()}`; }, 300);
}

function said() {
  return state.threshold === null ? "labels’ own thresholds" : `threshold ${state.threshold}`;
}

function drawThreshold() {
  const own = state.threshold === null;
  at("threshold-value").textContent = own ? "labels’ own" : String(state.threshold);
  at("threshold").setAttribute("aria-valuetext", said());
  at("threshold").classList.toggle("own", own);
  at("own").disabled = own;
  at("low").hidden = own || state.threshold > about.floor;
}

function step(text, label, page, isThere) {
  const button = element("button", "plain", text);
  button.type = "button";
  button.setAttribute("aria-label", label);
  button.disabled = !isThere;
  button.addEventListener("click", () => turn(page));
  return button;
}

function drawPager() {
  for (const nav of document.querySelectorAll(".pager")) {
    const held = [...nav.children].indexOf(document.activeElement);
    nav.hidden = pages() < 2;
    nav.replaceChildren(
      step("‹", "Previous page", state.page - 1, state.page > 0),
      element("span", "", `Page ${state.page + 1} of ${pages()}`),
      step("›", "Next page", state.page + 1, state.page + 1 < pages()),
    );
    if (held >= 0) {
      const button = nav.children[held];
      (button.disabled ? nav.children[2 - held] : button).focus();
    }
  }
}

function turn(page) {
  state.page = page;
  drawCards();
  drawPager();
  at("sheet-title").scrollIntoView({ block: "start" });
}

function redraw() {
  choose();
  drawCards();
  drawLabels();
  drawSummary();
  drawThreshold();
  drawPager();
}

// ---- the larger view

function bar(share) {
  const drawn = element("span", "drawn");
  drawn.style.setProperty("--part", share);
  return drawn;
}

function scoreRow(row, j) {
  const label = row.labels[j];
  const isTag = row.tags.includes(j);
  const limit = negative.has(label) ? "never" : number(state.threshold ?? about.thresholds[label]);
  const head = element("th", "", element("bdi", "", about.labels[label]));
  head.scope = "row";
  const cells = [
    element("td", "value", number(row.scores[j])),
    element("td", "graph", bar(row.scores[j])),
    element("td", "value limit", limit),
    element("td", "is", isTag ? "✓" : "", element("span", "unseen", isTag ? " tag" : "")),
  ];
  return element("tr", isTag ? "tag" : "", head, ...cells);
}

function scoreTable(row, places, name) {
  const titles = ["label", "score", "", "threshold", ""].map((title) => {
    const cell = element(title ? "th" : "td", title && title !== "label" ? "value" : "", title);
    if (title) cell.scope = "col";
    return cell;
  });
  const body = element("tbody", "", ...places.map((j) => scoreRow(row, j)));
  const caption = element("caption", about.sets.length > 1 ? "" : "unseen", element("bdi", "", name));
  return element("table", "", caption, element("thead", "", element("tr", "", ...titles)), body);
}

// A name that was changed to be shown (control characters are spelt out with a backslash) leads nowhere.
function linked(row) {
  const name = element("bdi", "", row.name);
  if (about.base === null || row.name === "-" || row.name.includes("\\")) return name;
  const link = element("a", "", name);
  const start = row.name.startsWith("/") ? about.root : `${about.base}/`;
  link.href = start + row.name.split("/").map(encodeURIComponent).join("/");
  link.rel = "noopener";
  return link;
}

function drawView() {
  const row = shown[opened];
  const note = row.note ? [element("bdi", "note", row.note)] : [];
  at("view-name").replaceChildren(linked(row), ...note);
  fill(at("view-mat"), row, `thumbnail of ${row.name}`);
  const tables = about.sets.map((name, set) => {
    const places = row.labels.map((_, j) => j).filter((j) => about.set_of[row.labels[j]] === set);
    return places.length ? scoreTable(row, places, name) : "";
  });
  at("view-scores").replaceChildren(...tables);
  at("view-place").textContent = `${whole.format(opened + 1)} of ${whole.format(shown.length)}`;
  at("before").disabled = opened === 0;
  at("after").disabled = opened === shown.length - 1;
}

function open(index) {
  opened = index;
  drawView();
  if (!at("view").open) at("view").showModal();
  at("view-name").focus();
}

function go(by) {
  if (opened + by < 0 || opened + by >= shown.length) return;
  opened += by;
  drawView();
  if (document.activeElement.disabled || document.activeElement === document.body) at("view-name").focus();
}

function focusCard(index) {
  const page = Math.floor(index / PAGE);
  if (page !== state.page) turn(page);
  const buttons = [...at("grid").querySelectorAll("button")];
  for (const each of buttons) each.tabIndex = -1;
  const button = buttons[index - page * PAGE];
  if (!button) return;
  button.tabIndex = 0;
  button.focus();
}

// ---- what people do

const grid = at("grid");
const position = (button) => shown.indexOf(rows[button.dataset.row]);

grid.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) open(position(button));
});

grid.addEventListener("keydown", (event) => {
  const button = event.target.closest("button");
  if (!button || event.altKey || event.ctrlKey || event.metaKey) return;
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const here = position(button);
  const to = {
    ArrowLeft: here - 1, ArrowRight: here + 1, ArrowUp: here - columns, ArrowDown: here + columns,
    Home: 0, End: shown.length - 1,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  if (to >= 0 && to < shown.length) focusCard(to);
});

at("view").addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by) return;
  event.preventDefault();
  go(by);
});
at("view").addEventListener("close", () => focusCard(opened));
at("view").addEventListener("click", (event) => {
  if (event.target === at("view")) at("view").close(); // beside it
});
at("close").addEventListener("click", () => at("view").close());
at("before").addEventListener("click", () => go(-1));
at("after").addEventListener("click", () => go(1));

function setThreshold(value) {
  state.threshold = value;
  recount();
  redraw();
}

let waiting = 0;
let isPressed = false;

addEventListener("pointerdown", () => { isPressed = true; }, true);
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => { isPressed = false; }, true);
at("threshold").addEventListener("input", () => {
  const score = 1 / (1 + Math.exp(-at("threshold").valueAsNumber));
  const value = Number(score.toFixed(score < 0.01 ? 4 : 3));
  at("exact").value = value;
  cancelAnimationFrame(waiting); // one redraw a frame, however fast it is dragged
  waiting = requestAnimationFrame(() => setThreshold(value));
});
at("exact").addEventListener("input", () => {
  const value = at("exact").valueAsNumber;
  if (!(value >= 0 && value <= 1)) return;
  const least = Math.min(Math.max(value, 0.001), 0.999);
  at("threshold").value = Math.log(least / (1 - least));
  setThreshold(value);
});
for (const id of ["threshold", "exact"]) {
  at(id).addEventListener("change", () => {
    const sorted = () => { sortLabels(); drawLabels(); };
    // A press elsewhere ends the typing: what is pressed must not move away before it is a click.
    if (isPressed) addEventListener("pointerup", () => setTimeout(sorted), { once: true });
    else requestAnimationFrame(sorted); // after what waits for this frame
  });
}
at("own").addEventListener("click", () => {
  at("threshold").value = at("threshold").defaultValue;
  at("exact").value = "";
  at("threshold").focus(); // the button goes out
  setThreshold(null);
  sortLabels();
  drawLabels();
});
at("name").addEventListener("input", () => {
  state.name = at("name").value.toLowerCase();
  state.page = 0;
  redraw();
});
at("sort").addEventListener("change", () => {
  state.sort = at("sort").value;
  state.page = 0;
  redraw();
});
at("find").addEventListener("input", () => {
  state.find = at("find").value.toLowerCase();
  state.listed = LABELS;
  drawLabels();
});
at("more-labels").addEventListener("click", () => {
  state.listed += LABELS;
  drawLabels();
});
document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
addEventListener("beforeprint", () => grid.querySelectorAll(".mat").forEach(show));

at("find-field").hidden = about.labels.length <= LABELS;
at("label-panel").open = !matchMedia("(max-width: 52rem)").matches;
recount();
sortLabels();
redraw();
