// The tables of scores. Labels reach the page as text only: no markup is made from data.

export const SHOWN = 12; // labels of a set that are listed at first

export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// 0.912, and 3.2e-6 where decimals would hide which is larger
export function number(score) {
  if (score >= 0.9995 && score < 1) return ">0.999";
  if (score === 0 || score >= 0.001) return score.toFixed(3);
  return score.toExponential(1);
}

export function bySet(predictions) {
  const sets = new Map();
  for (const score of predictions) {
    if (!sets.has(score.set)) sets.set(score.set, []);
    sets.get(score.set).push(score);
  }
  return sets;
}

// At the labels' own thresholds the tags are the server's. At one for all: a label below a negative one
// is no tag, and of an exclusive set only the best label can be one.
export function tagsOf(ranked, threshold, { negative = [], exclusive = false } = {}) {
  if (threshold === null) return new Set(ranked.filter((score) => score.tag));
  const isNegative = (score) => negative.includes(score.label);
  const bar = Math.max(-Infinity, ...ranked.filter(isNegative).map((score) => score.logit));
  const able = ranked.filter((score) => !isNegative(score) && score.logit >= bar);
  const best = ranked.find((score) => !isNegative(score));
  return new Set(able.filter((score) => score.score >= threshold && (!exclusive || score === best)));
}

function row(score, isTag, isNegative) {
  const head = element("th", "", element("bdi", "", score.label));
  head.scope = "row";
  if (isNegative) head.append(element("span", "unseen", " (never a tag)"));
  const bar = element("span", "drawn");
  bar.style.setProperty("--part", score.score);
  return element(
    "tr",
    [isTag && "tag", isNegative && "negative"].filter(Boolean).join(" "),
    head,
    element("td", "graph", bar),
    element("td", "value", number(score.score)),
    element("td", "value softmax", number(score.softmax)),
    element("td", "is", isTag ? "✓" : "", element("span", "unseen", isTag ? " tag" : "no tag")),
  );
}

function title(text, className = "value") {
  if (!text) return element("td", className);
  const cell = element("th", className, text);
  cell.scope = "col";
  return cell;
}

export function table(name, ranked, tags, { negative = [], threshold, caption, most }) {
  const rows = ranked.slice(0, most).map((score) => row(score, tags.has(score), negative.includes(score.label)));
  const titles = [title("label", ""), title("", "graph"), title("score"), title("softmax"), title("", "is")];
  const made = element(
    "table",
    threshold === null ? "" : "limited",
    element("caption", caption ? "" : "unseen", element("bdi", "", caption || "Scores of the labels")),
    element("thead", "", element("tr", "", ...titles)),
    element("tbody", "", ...rows),
  );
  if (threshold !== null) made.style.setProperty("--limit", threshold);
  return made;
}
