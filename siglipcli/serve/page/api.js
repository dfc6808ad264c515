// What the page asks of its server. The key is kept in this tab's sessionStorage and nowhere else.

const KEY = "siglip-key";

export class Refusal extends Error {
  constructor(status, message, code = "") {
    super(message);
    this.status = status;
    this.code = code;
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
  const { message, code } = content?.error ?? {};
  throw new Refusal(response.status, message ?? `The server’s status is ${response.status}.`, code);
}

export async function model() {
  return (await ask("models")).data[0].id;
}

// [{ name, description, labels: count, negative: [label], exclusive }]
export async function labelSets() {
  return (await ask("label_sets")).data;
}

// [{ set, label, score, softmax, logit, tag }], set by set, the best first
export async function classify(file, choice, signal) {
  const body = new FormData();
  body.append("image", file, file.name || "image");
  if (choice.set) body.append("label_sets", choice.set);
  for (const label of choice.labels) body.append("labels", label);
  body.append("negatives", "true"); // a threshold that moves has to know of them
  const [result] = (await ask("classify", { method: "POST", body, signal })).data;
  if (result.error) throw new Refusal(422, result.error.message);
  return result.predictions;
}
