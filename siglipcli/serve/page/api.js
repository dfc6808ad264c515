// What the page asks of its server. The key is kept in this tab's sessionStorage and nowhere else.

const KEY = "siglip-key";

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

// Addresses are relative, so that the page works below a path of a reverse proxy too.
async function ask(path, options = {}) {
  const headers = key.get() ? { Authorization: `Bearer ${key.get()}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server cannot be reached. Is it still running?");
  }
  const content = await response.json().catch(() => null);
  if (response.ok && content) return content;
  throw new Refusal(response.status, messageOf(content) ?? `The server said ${response.status}.`);
}

function messageOf(content) {
  return typeof content?.error === "string" ? content.error : content?.error?.message;
}

// [{ name, description, labels: count, negative: [label], exclusive }]
export async function labelSets() {
  return (await ask("v1/label_sets")).data;
}

// { model, predictions: [{ set, label, score, softmax, logit, tag }] }
export async function classify(file, choice, signal) {
  const body = new FormData();
  body.append("image", file, file.name || "image");
  if (choice.set) body.append("label_sets", choice.set);
  for (const label of choice.labels) body.append("labels", label);
  const { model, data } = await ask("v1/classify", { method: "POST", body, signal });
  const [result] = data;
  if (result.error) throw new Refusal(422, result.error.message);
  return { model, predictions: result.predictions };
}
