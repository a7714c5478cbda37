// The page asks as any client does: TF Serving's :predict, with a signature for encoded records that the model has.
const $ = (id) => document.getElementById(id);
const pen = $("canvas").getContext("2d");
const [IMAGE, TEXT] = ["image_bytes", "text"]; // the signatures that it knows how to ask
let models = [];
let last = null; // what was asked about last, for another model: {signature, value}
let shown = null; // the image that is in sight
let turn = 0; // answers may come in another order than the questions

const headers = () => ($("key").value ? { Authorization: `Bearer ${$("key").value}` } : {});

async function json(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers() });
  const found = await response.json().catch(() => ({ error: "no JSON came back" }));
  if (response.status === 401) $("locked").hidden = false;
  if (!response.ok) throw new Error(`${response.status}: ${found.error}`);
  return found;
}

const model = () => models[$("model").value];
const takes = (signature) => model()?.encoded.includes(signature) ?? false;

async function loadModels() {
  const chosen = $("model").value;
  models = await json("models.json");
  $("model").replaceChildren(...models.map((one, i) => {
    const labels = one.labels.length ? ` (${one.labels.join(", ")})` : "";
    return new Option(`${one.name}, version ${one.version}${labels}, ${one.engine}`, i);
  }));
  if (chosen && models[chosen]) $("model").value = chosen;
  offer();
}

// What the chosen model can be asked with.
function offer() {
  $("images").hidden = Boolean(model()) && !takes(IMAGE);
  $("texts").hidden = !takes(TEXT);
  if (last && takes(last.signature)) return;
  const nothing = "This model takes neither images nor texts.";
  $("status").textContent = !$("images").hidden ? "No image yet." : !$("texts").hidden ? "No text yet." : nothing;
}

const base64 = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

function best(row) {
  if (row.present) {
    const marked = row.classes.map((label, i) => [row.present[i] ? `${label} \u2713` : label, row.scores[i]]);
    return marked.filter((_, i) => row.present[i] || i < 5);
  }
  if (row.classes) return row.classes.map((label, i) => [label, row.scores[i]]);
  const shares = Array.isArray(row) ? row : row.probabilities ?? [];
  return shares.map((share, i) => [String(i), share]).sort((a, b) => b[1] - a[1]).slice(0, 5);
}

function part(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

function swatch(code) {
  const made = part("span", "swatch");
  made.style.backgroundColor = code;
  return made;
}

function item([label, share], colours) {
  const li = document.createElement("li");
  const [name, track, bar] = [part("span", "label", label), part("div", "track"), part("div", "bar")];
  if (colours.has(label)) name.prepend(swatch(colours.get(label)));
  bar.style.width = `${100 * share}%`;
  track.append(bar);
  li.append(name, part("span", "share", `${(100 * share).toFixed(1)} %`), track);
  return li;
}

function named([label, code]) {
  const li = document.createElement("li");
  li.append(swatch(code), part("span", "label", label));
  return li;
}

// Label and colour of a line such as "cat #ff0000".
function colour(line) {
  return /^(.*) (#(?:[0-9a-f]{2}){3,4})$/i.exec(line)?.slice(1) ?? [line, "transparent"];
}

function show(row) {
  const [rows, masked] = [best(row), Boolean(row.overlay_bytes) && last.value instanceof Blob];
  const colours = new Map(masked ? (row.legend ?? []).map(colour) : []);
  $("top").replaceChildren(...rows.map((one) => item(one, colours)));
  if (masked) {
    if (shown !== last.value) preview(last.value, "The drawing");
    const told = new Set(rows.map(([label]) => label));
    $("legend").replaceChildren(...[...colours].filter(([label]) => !told.has(label)).map(named));
    $("mask").alt = `Where the model sees ${[...colours.keys()].join(", ") || "something"}`;
    $("mask").src = `data:image/png;base64,${row.overlay_bytes.b64}`;
    $("mask").hidden = $("fading").hidden = false;
  } else if (!$("top").children.length) {
    throw new Error(`the model answers with ${Object.keys(row).join(", ")}, which cannot be shown here`);
  }
}

function wipe() {
  $("top").replaceChildren();
  $("legend").replaceChildren();
  $("mask").hidden = $("fading").hidden = true;
}

function fail(error) {
  $("error").textContent = error.message;
  $("error").hidden = false;
  wipe();
  $("status").textContent = "No answer.";
}

async function ask(signature, value) {
  const mine = ++turn;
  last = { signature, value };
  $("error").hidden = true;
  $("mask").hidden = true;
  $("status").textContent = "Asking...";
  try {
    if (!models.length) await loadModels();
    const { name, version } = model() ?? {};
    if (!name) throw new Error("there is no model");
    if (!takes(signature)) throw new Error(`${name} has no signature ${signature}`);
    const instance = value instanceof Blob ? { b64: await base64(value) } : value;
    const body = JSON.stringify({ signature_name: signature, instances: [instance] });
    const path = `v1/models/${encodeURIComponent(name)}/versions/${version}:predict`;
    const start = performance.now();
    const found = await json(path, { method: "POST", body });
    if (mine !== turn) return;
    const took = (performance.now() - start).toFixed(0);
    wipe();
    show(found.predictions[0]);
    $("status").textContent = `${name}, version ${version}: ${took} ms`;
  } catch (error) {
    if (mine !== turn) return;
    fail(error);
    await loadModels().catch(() => {}); // the version may have gone
  }
}

function preview(blob, name) {
  if (shown) URL.revokeObjectURL($("shown").src);
  shown = blob;
  $("shown").src = URL.createObjectURL(blob);
  $("shown").alt = name;
  $("shown").hidden = false;
}

function take(files) {
  const file = [...files].find((one) => one.type.startsWith("image/")) ?? files[0];
  if (!file) return;
  preview(file, file.name);
  ask(IMAGE, file);
}

// The same question to another model, if it is one for it.
function again() {
  offer();
  if (last && takes(last.signature)) return ask(last.signature, last.value);
  turn++;
  $("error").hidden = true;
  wipe();
}

function clear() {
  pen.fillStyle = $("dark").checked ? "#000" : "#fff";
  pen.fillRect(0, 0, 280, 280);
}

function draw(event) {
  if (!(event.buttons & 1)) return;
  const { left, top, width } = $("canvas").getBoundingClientRect();
  const [x, y] = [event.clientX - left, event.clientY - top].map((value) => (value * 280) / width);
  pen.strokeStyle = $("dark").checked ? "#fff" : "#000";
  pen.lineWidth = 18;
  pen.lineCap = pen.lineJoin = "round";
  if (event.type === "pointerdown") {
    $("canvas").setPointerCapture(event.pointerId);
    pen.beginPath();
    pen.moveTo(x, y);
  }
  pen.lineTo(x, y);
  pen.stroke();
}

function fade() {
  $("mask").style.opacity = $("strength").value / 100;
}

// Words may be dropped into the text.
const words = (event) => event.target === $("text") && !event.dataTransfer.types.includes("Files");

for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    if (words(event)) return;
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  if (words(event)) return;
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { take($("file").files); $("file").value = ""; });
$("writing").addEventListener("submit", (event) => { event.preventDefault(); ask(TEXT, $("text").value); });
$("strength").addEventListener("input", fade);
$("model").addEventListener("change", again);
$("key").addEventListener("change", () => loadModels().then(again).catch(fail));
$("canvas").addEventListener("pointerdown", draw);
$("canvas").addEventListener("pointermove", draw);
$("canvas").addEventListener("pointerup", () => $("canvas").toBlob((blob) => ask(IMAGE, blob)));
$("clear").addEventListener("click", clear);
$("dark").addEventListener("change", clear);
clear();
fade();
loadModels().catch(fail);
