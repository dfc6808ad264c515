
// ---- review: is a proposed label right? Judged by keyboard, kept in the page, saved as a small file

// The pairs of image and label that the page lists fall, label by label, into two strata: near the
// label's threshold (within NEAR in logits), where an answer tells most about it, and the rest, drawn for
// honesty. Both are drawn at random, so a judged pair stands for size / judged pairs of its stratum.
const NEAR = 1.5;
const ROUND = ["near", "near", "random"];
const logit = (p) => Math.log(Math.max(p, 1e-12) / Math.max(1 - p, 1e-12));
const review = { strata: [], order: [], done: [], current: null };

function shuffled(items, seed) {
  for (let i = items.length - 1, s = seed; i > 0; i -= 1) {
    s = (Math.imul(s, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((s / 2 ** 32) * (i + 1));
    [items[i], items[j]] = [items[j], items[i]];
  }
  return items;
}

function stratify() {
  const strata = about.labels.map(() => ({ near: [], random: [] }));
  for (const row of rows) {
    row.labels.forEach((label, j) => {
      if (negative.has(label)) return;
      const far = Math.abs(logit(row.scores[j]) - logit(about.thresholds[label])) > NEAR;
      strata[label][far ? "random" : "near"].push(row.index);
    });
  }
  review.strata = strata.map((each, label) => ({
    near: { size: each.near.length, left: shuffled(each.near, 2 * label + 1) },
    random: { size: each.random.length, left: shuffled(each.random, 2 * label + 2) },
  }));
}

const keyOf = ({ file, label, set }) => JSON.stringify([file, label, set]);

// Labels in turn, the one with the fewest verdicts first; two near its threshold, then one of the rest.
function propose() {
  const labels = state.label >= 0 ? [state.label] : about.labels.map((_, i) => i);
  const counts = new Map(labels.map((label) => [label, 0]));
  for (const each of review.done) {
    if (counts.has(each.number)) counts.set(each.number, counts.get(each.number) + 1);
  }
  const judged = new Set(review.done.map(keyOf));
  for (const label of labels.sort((a, b) => counts.get(a) - counts.get(b) || a - b)) {
    const first = ROUND[counts.get(label) % ROUND.length];
    for (const reason of [first, first === "near" ? "random" : "near"]) {
      const { left } = review.strata[label][reason];
      while (left.length) {
        const item = itemOf(rows[left.pop()], label, reason);
        if (!judged.has(keyOf(item))) return item;
      }
    }
  }
  return null;
}

function itemOf(row, label, reason) {
  const set = about.sets[about.set_of[label]];
  return { file: row.name, label: about.labels[label], set, reason, number: label, index: row.index };
}

function next() {
  review.current = propose();
  drawJudge();
}

function drawJudge() {
  const item = review.current;
  at("judge-done").hidden = item !== null;
  at("judge-item").hidden = item === null;
  for (const id of ["yes", "no", "skip"]) at(id).disabled = item === null;
  at("undo").disabled = review.done.length === 0;
  at("judge-count").textContent = plural(review.done.length, "verdict", "verdicts");
  at("reviewed").textContent = review.done.length ? `· ${whole.format(review.done.length)}` : "";
  at("save-review").disabled = review.done.length === 0;
  at("judge-question").replaceChildren("Is this “", element("bdi", "", item ? item.label : "…"), "”?");
  if (!item) return;
  const row = rows[item.index];
  fill(at("judge-mat"), row, `thumbnail of ${row.name}`);
  at("judge-name").replaceChildren(element("bdi", "", row.name));
  at("judge-score").textContent = `score ${number(scoreOf(row, item.number))}, threshold ${number(about.thresholds[item.number])}`;
}

function judge(verdict) {
  if (!review.current) return;
  review.done.push({ ...review.current, verdict });
  keep();
  next();
}

function undo() {
  const last = review.done.pop();
  if (!last) return;
  if (review.current) review.strata[review.current.number][review.current.reason].left.push(review.current.index);
  review.current = last;
  keep();
  drawJudge();
}

// The browser keeps it between visits, where it lets a file have a memory; the saved file is what counts.
const memory = `siglip-review-${about.id}`;

function keep() {
  try { localStorage.setItem(memory, JSON.stringify(review.done)); } catch { /* private window */ }
}

function recall() {
  try { review.done = JSON.parse(localStorage.getItem(memory)) || []; } catch { review.done = []; }
}

function reviewFile() {
  const judged = new Map();
  const stratum = (item) => `${item.number} ${item.reason}`;
  for (const item of review.done) judged.set(stratum(item), (judged.get(stratum(item)) || 0) + 1);
  const items = review.done.map(({ file, label, set, verdict, reason, number: which }) => ({
    file, label, set, verdict,
    weight: review.strata[which][reason].size / judged.get(`${which} ${reason}`),
    reason,
  }));
  return { version: 1, model: about.model, label_sets: about.sets, items };
}

function save(name, text, type) {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

at("review").addEventListener("click", () => {
  if (!review.current) next();
  drawJudge();
  at("judge").showModal();
  at("judge-question").focus();
});
at("judge-close").addEventListener("click", () => at("judge").close());
at("judge").addEventListener("close", () => at("review").focus());
at("yes").addEventListener("click", () => judge(true));
at("no").addEventListener("click", () => judge(false));
at("skip").addEventListener("click", next);
at("undo").addEventListener("click", undo);
at("judge").addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const act = {
    y: () => judge(true), n: () => judge(false), s: next, u: undo,
    ArrowRight: () => judge(true), ArrowLeft: () => judge(false),
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
at("save-review").addEventListener("click", () =>
  save("review.json", `${JSON.stringify(reviewFile(), null, 1)}\n`, "application/json"),
);

// ---- names and originals

at("copy").addEventListener("click", async () => {
  const text = shown.map((row) => row.name).join("\n");
  try {
    await navigator.clipboard.writeText(text);
    at("live").textContent = `${plural(shown.length, "name", "names")} copied`;
    at("copy").textContent = "Copied";
  } catch {
    save("names.txt", `${text}\n`, "text/plain");
  }
  setTimeout(() => { at("copy").textContent = "Copy names"; }, 2000);
});

stratify();
recall();
drawJudge();
