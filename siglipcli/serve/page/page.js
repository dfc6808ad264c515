import { Refusal, classify, key, labelSets, model } from "./api.js";
import { SHOWN, bySet, element, number, table, tagsOf } from "./scores.js";

const at = (id) => document.getElementById(id);
const PAUSE = 200; // milliseconds without a keystroke, before labels are scored
const AGAIN = 2000; // milliseconds between two requests while the model is loading
const MOST = 50; // images in the strip

const state = {
  images: [], // { file, button }, in the order in which they came
  current: null,
  sets: new Map(), // of the server, by name
  threshold: null, // null: each label's own
  predictions: [],
  listed: SHOWN,
};

const whole = new Intl.NumberFormat("en");
const plural = (count, noun) => `${whole.format(count)} ${noun}${count === 1 ? "" : "s"}`;
const duration = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

// ---- images

function add(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/") || !file.type);
  if (!images.length) {
    if (files.length) say(new Refusal(0, "That is no image."));
    return;
  }
  const made = images.map((file) => ({ file, button: strip(file) }));
  state.images.push(...made);
  state.images.splice(0, Math.max(0, state.images.length - MOST));
  at("strip").replaceChildren(...state.images.map(({ button }) => element("li", "", button)));
  at("strip").hidden = state.images.length < 2;
  show(made[0]);
}

function strip(file) {
  const button = element("button", "", file.name.split(".").pop().slice(0, 5));
  button.type = "button";
  button.setAttribute("aria-label", file.name);
  button.title = file.name;
  button.addEventListener("click", () => show(state.images.find((image) => image.button === button)));
  small(file).then((canvas) => button.replaceChildren(canvas), () => {}); // else its ending stays
  return button;
}

async function small(file) {
  const bitmap = await createImageBitmap(file, { resizeHeight: 112, resizeQuality: "medium" });
  const canvas = element("canvas");
  canvas.width = canvas.height = 112;
  const side = Math.min(bitmap.width, bitmap.height);
  const [x, y] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
  canvas.getContext("2d").drawImage(bitmap, x, y, side, side, 0, 0, 112, 112);
  bitmap.close();
  return canvas;
}

function show(image) {
  state.current = image;
  for (const { button } of state.images) {
    button.setAttribute("aria-pressed", String(button === image.button));
  }
  URL.revokeObjectURL(at("image").src);
  at("image").src = URL.createObjectURL(image.file);
  at("image").alt = image.file.name;
  at("image").hidden = false;
  at("no-preview").hidden = true;
  at("invitation").hidden = true;
  at("drop").classList.remove("empty");
  at("name").textContent = image.file.name;
  score();
}

at("image").addEventListener("error", () => {
  at("image").hidden = true;
  at("no-preview").hidden = false;
});
at("file").addEventListener("change", () => {
  add(at("file").files);
  at("file").value = ""; // the same file can be chosen again
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) {
    event.preventDefault();
    add(event.clipboardData.files);
  }
});

let depth = 0; // enter and leave come for every element below too

function over(isOver) {
  at("drop").classList.toggle("over", isOver);
  at("drop-here").hidden = !isOver;
}

addEventListener("dragenter", () => over((depth += 1) > 0));
addEventListener("dragleave", () => over((depth = Math.max(0, depth - 1)) > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault(); // else the browser leaves the page for the image
  over((depth = 0) > 0);
  add(event.dataTransfer.files);
});

// ---- labels

function typed() {
  const labels = at("labels").value.split(/[\n,]/).map((label) => label.trim()).filter(Boolean);
  return [...new Set(labels.map((label) => label.normalize("NFC")))];
}

function choice() {
  const set = at("set").value;
  return { set, labels: set ? [] : typed() };
}

let pause = 0;

at("labels").addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(score, PAUSE);
});
at("set").addEventListener("change", () => {
  drawSet();
  score();
});

function drawSet() {
  const set = state.sets.get(at("set").value);
  at("typing").hidden = Boolean(set);
  at("about-set").hidden = !set;
  if (set) {
    const description = set.description ? `${set.description.replace(/\.$/, "")}: ` : "";
    at("about-set").textContent = `${description}${plural(set.labels, "label")}.`;
  }
}

async function readSets() {
  const sets = await labelSets();
  state.sets = new Map(sets.map((set) => [set.name, set]));
  const chosen = at("set").value;
  const options = sets.map(({ name }) => new Option(name, name));
  at("set").replaceChildren(at("set").options[0], ...options);
  at("set").value = state.sets.has(chosen) ? chosen : "";
  drawSet();
}

// ---- scores

let asking = null; // the request under way: a newer one ends it

async function score() {
  clearTimeout(pause);
  asking?.abort();
  const wanted = choice();
  if (!state.current || !(wanted.set || wanted.labels.length)) {
    state.predictions = [];
    settle();
    return;
  }
  const mine = (asking = new AbortController());
  busy(true);
  const started = performance.now();
  try {
    const predictions = await classify(state.current.file, wanted, mine.signal);
    if (mine !== asking) return;
    state.predictions = predictions;
    state.listed = SHOWN;
    settle();
    at("took").textContent = `${plural(predictions.length, "label")} in ${duration(performance.now() - started)}`;
  } catch (error) {
    if (mine !== asking || error.name === "AbortError") return;
    state.predictions = [];
    settle();
    refused(error, score);
  }
}

function refused(error, again) {
  if (error.status === 401) askKey();
  else say(error);
  if (error.code === "loading") pause = setTimeout(again, AGAIN);
}

function busy(isBusy) {
  at("tables").classList.toggle("stale", isBusy);
  at("scores").setAttribute("aria-busy", String(isBusy));
  drawWaiting();
}

function settle() {
  at("error").hidden = true;
  at("took").textContent = "";
  busy(false);
  draw();
}

function say(error) {
  if (!(error instanceof Refusal)) console.error(error);
  at("waiting").hidden = true;
  at("error").textContent = error instanceof Refusal ? error.message : "Something went wrong on this page.";
  at("error").hidden = false;
}

function draw() {
  const sets = bySet(state.predictions);
  let left = 0;
  const sentences = [];
  const tables = [...sets].map(([name, ranked]) => {
    const about = state.sets.get(name);
    const tags = tagsOf(ranked, state.threshold, about);
    left += Math.max(0, ranked.length - state.listed);
    sentences.push(sentence(ranked, tags));
    const caption = sets.size > 1 ? name : "";
    return table(name, ranked, tags, { ...about, threshold: state.threshold, caption, most: state.listed });
  });
  at("tables").replaceChildren(...tables);
  at("all").hidden = left === 0;
  at("all").textContent = `Show ${plural(left, "more label")}`;
  drawWaiting();
  announce(sentences.join(" "));
}

function drawWaiting() {
  at("waiting").hidden = state.predictions.length > 0 || !at("error").hidden;
  at("waiting").textContent = waitingFor();
}

function waitingFor() {
  if (at("scores").getAttribute("aria-busy") === "true") return "Scoring the image …";
  return state.current
    ? "Type labels, or pick a set: their scores show here."
    : "Choose an image and type labels: their scores show here.";
}

function sentence(ranked, tags) {
  const [best] = ranked;
  const names = [...tags].map((score) => score.label);
  return `Best: ${best.label}, ${number(best.score)}. ${names.length ? `Tags: ${names.join(", ")}.` : "No tag."}`;
}

let later = 0;

function announce(text) {
  clearTimeout(later); // a reader of the screen hears it once the typing or the slider rests
  later = setTimeout(() => { at("live").textContent = text; }, 600);
}

at("all").addEventListener("click", () => {
  state.listed = Infinity;
  draw();
  at("scores").focus();
});

// ---- threshold

function setThreshold(value) {
  state.threshold = value;
  const own = value === null;
  at("threshold-value").textContent = own ? "its own threshold" : String(value);
  at("threshold").setAttribute("aria-valuetext", own ? "labels’ own thresholds" : `threshold ${value}`);
  at("threshold").classList.toggle("own", own);
  at("own").hidden = own;
  draw();
}

at("threshold").addEventListener("input", () => {
  const part = 1 / (1 + Math.exp(-at("threshold").valueAsNumber));
  const value = Number(part.toFixed(part < 0.01 ? 4 : 3));
  at("exact").value = value;
  setThreshold(value);
});
at("exact").addEventListener("input", () => {
  const value = at("exact").valueAsNumber;
  if (!(value >= 0 && value <= 1)) return;
  const least = Math.min(Math.max(value, 0.001), 0.999);
  at("threshold").value = Math.log(least / (1 - least));
  setThreshold(value);
});
at("own").addEventListener("click", () => {
  at("threshold").value = at("threshold").defaultValue;
  at("exact").value = "";
  at("threshold").focus(); // the button goes out
  setThreshold(null);
});

// ---- the key

function askKey() {
  at("refused").hidden = !key.get();
  key.forget();
  if (!at("ask").open) at("ask").showModal();
  at("key").focus();
}

at("ask").querySelector("form").addEventListener("submit", () => {
  key.set(at("key").value);
  at("key").value = "";
  start();
});
at("ask").addEventListener("close", () => {
  if (!key.get()) say(new Refusal(401, "This server asks for a key. Reload the page to type one."));
});
at("forget").addEventListener("click", () => {
  key.forget();
  location.reload();
});

async function start() {
  clearTimeout(pause);
  try {
    await readSets();
    at("with-key").hidden = !key.get();
    at("model").textContent = await model();
    if (state.current) await score();
  } catch (error) {
    refused(error, start);
  }
}

at("drop").classList.add("empty");
start();
