// What the page is made of: answers, colours, thumbnails, facts.
const FEW = 12; // labels that are shown at once

export function part(tag, name, ...content) {
  const made = document.createElement(tag);
  made.className = name;
  made.append(...content);
  return made;
}

// Entities of a tagged text, or its words where tags are of another kind, with the mean of their scores.
function spans({ tags, scores, starts, ends, text }) {
  const [letters, found] = [[...text], []]; // places are those of characters
  tags.forEach((tag, i) => {
    if (!tag || tag === "O") return;
    const [, side, kind] = /^([BI])-(.+)$/s.exec(tag) ?? ["", "B", tag];
    if (side === "B") found.push({ kind, start: starts[i], scores: [] });
    const last = found[found.length - 1];
    last.scores.push(scores[i]);
    last.label = `${letters.slice(last.start, ends[i]).join("")}: ${last.kind}`;
  });
  return found.map((one) => [one.label, one.scores.reduce((sum, score) => sum + score) / one.scores.length]);
}

// Labels and shares of an answer, the best first; of a text in its order.
export function best(row) {
  if (row.tags && row.text !== undefined) return spans(row);
  if (row.present) {
    const marked = row.classes.map((label, i) => [row.present[i] ? `${label} \u2713` : label, row.scores[i]]);
    return marked.filter((_, i) => row.present[i] || i < 5);
  }
  if (row.caption !== undefined) {
    const said = row.scores.filter((score) => score); // of the words, and of the end
    return [[row.caption, Math.exp(said.reduce((sum, score) => sum + score, 0) / said.length)]];
  }
  if (row.classes) return row.classes.map((label, i) => [label, row.scores[i]]);
  const shares = Array.isArray(row) ? row : row.probabilities ?? [];
  return shares.map((share, i) => [String(i), share]).sort((a, b) => b[1] - a[1]).slice(0, 5);
}

export const percent = (share) => `${(100 * share).toFixed(1)} %`;

function swatch(code) {
  const made = part("span", "swatch");
  made.style.backgroundColor = code;
  return made;
}

export function item([label, share], colours) {
  const [name, bar] = [part("span", "label", label), part("div", "bar")];
  if (colours.has(label)) name.prepend(swatch(colours.get(label)));
  bar.style.width = `${100 * share}%`;
  return part("li", "", name, part("span", "share", percent(share)), part("div", "track", bar));
}

export const named = ([label, code]) => part("li", "", swatch(code), part("span", "label", label));

// Label and colour of a line such as "cat #ff0000".
export function colour(line) {
  return /^(.*) (#(?:[0-9a-f]{2}){3,4})$/i.exec(line)?.slice(1) ?? [line, "transparent"];
}

// An image of several, as a choice among them; `tell` says what was answered.
export function thumbnail(name, chosen) {
  const [input, canvas, best] = [part("input", ""), part("canvas", ""), part("span", "best")];
  Object.assign(input, { type: "radio", name: "shown", onchange: chosen });
  canvas.width = canvas.height = 96;
  canvas.setAttribute("aria-hidden", "true");
  const element = part("label", "thumb", input, canvas, part("span", "name", name), " ", best);
  const tell = (label, share = "", error = "", unlike = false) => {
    best.replaceChildren(part("span", "label", label), " ", part("span", "share", share));
    if (unlike) best.append(" ", part("span", "unlike", "unlike"));
    element.classList.toggle("failed", Boolean(error));
    element.title = `${name}: ${error || `${label} ${share}${unlike ? ", unlike the training data" : ""}`}`;
  };
  return { element, input, canvas, tell };
}

function classes(labels) {
  if (labels.length <= FEW) return `${labels.length}: ${labels.join(", ")}`;
  const list = part("ol", "", ...labels.map((one) => part("li", "", one)));
  return part("details", "", part("summary", "", `${labels.length}, by name`), list);
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e6 ? 3 : 1)} MB`;

// What models.json says of a model, as terms and descriptions.
export function facts(model) {
  const labels = model.labels.length ? ` (${model.labels.join(", ")})` : "";
  const rows = [
    ["Name", model.name],
    ["Version", `${model.version}${labels}`],
    ["Task", model.task],
    ["Engine", model.engine],
    ["Input", model.input?.note],
    ["Size", model.bytes && megabytes(model.bytes)],
    ["Classes", model.classes.length && classes(model.classes)],
  ];
  return rows.filter(([, told]) => told).flatMap(([term, told]) => [part("dt", "", term), part("dd", "", told)]);
}
