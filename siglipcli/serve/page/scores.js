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
  for (const each of predictions) {
    if (!sets.has(each.set)) sets.set(each.set, []);
    sets.get(each.set).push(each);
  }
  return sets;
}

// At the labels' own thresholds the tags are the server's. At one for all: a label below a negative one
// is no tag, and of an exclusive set only the best label can be one.
export function tagsOf(ranked, threshold, { negative = [], exclusive = false } = {}) {
  if (threshold === null) return new Set(ranked.filter((each) => each.tag));
  const isNegative = (each) => negative.includes(each.label);
  const bar = Math.max(-Infinity, ...ranked.filter(isNegative).map((each) => each.logit));
  const able = ranked.filter((each) => !isNegative(each) && each.logit >= bar);
  const best = ranked.find((each) => !isNegative(each));
  return new Set(able.filter((each) => each.score >= threshold && (!exclusive || each === best)));
}

function row(each, isTag, isNegative) {
  const head = element("th", "", element("bdi", "", each.label));
  head.scope = "row";
  if (isNegative) head.append(element("span", "unseen", " (never a tag)"));
  const bar = element("span", "drawn");
  bar.style.setProperty("--part", each.score);
  return element(
    "tr",
    [isTag && "tag", isNegative && "negative"].filter(Boolean).join(" "),
    head,
    element("td", "graph", bar),
    element("td", "value", number(each.score)),
    element("td", "value softmax", number(each.softmax)),
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
  const rows = ranked.slice(0, most).map((each) => row(each, tags.has(each), negative.includes(each.label)));
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
