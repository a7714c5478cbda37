// The page asks as any client does: TF Serving's :predict, with a signature for encoded records that the model has.
import { frame } from "./box.js";
import { drawing } from "./draw.js";
import { AUDIO, IMAGE, invite, plural, signatureOf, singular } from "./files.js";
import { base64, shrunk, upright, windowOf } from "./images.js";
import { best, colour, facts, item, named, percent, thumbnail } from "./parts.js";
import { asking } from "./requests.js";

const $ = (id) => document.getElementById(id);
const TEXT = "text"; // the signature that takes what is written; files.js has those of files
const [MOST, ABREAST] = [100, 3]; // images at once, and requests that are asked at a time
let models = [];
let last = null; // what was asked about last, for another model: {signature, items, left}
let chosen = null; // the item in sight: {value, name}, with `row` and `took`, or `error`, and `thumb` among several
let shown = null; // the item whose image is in sight
let turn = 0; // answers may come in another order than the questions

const headers = () => ($("key").value ? { Authorization: `Bearer ${$("key").value}` } : {});

const json = asking(headers, () => { $("locked").hidden = false; });

const model = () => models[$("model").value];
const takes = (signature) => model()?.encoded.includes(signature) ?? false;
const taken = () => signatureOf(takes) ?? IMAGE; // by which files are asked about

async function loadModels() {
  const before = $("model").value;
  models = await json("models.json");
  $("model").replaceChildren(...models.map((one, i) => {
    const labels = one.labels.length ? ` (${one.labels.join(", ")})` : "";
    return new Option(`${one.name}, version ${one.version}${labels}, ${one.engine}`, i);
  }));
  if (before && models[before]) $("model").value = before;
  offer();
}

// What the chosen model is, and can be asked with.
function offer() {
  $("images").hidden = Boolean(model()) && !takes(taken());
  $("drawing").hidden = taken() !== IMAGE;
  invite(taken(), $("file"), $("formats"), $("wanted"));
  $("texts").hidden = !takes(TEXT);
  $("about").hidden = !model();
  $("several").hidden = $("images").hidden || !last || last.items.length < 2;
  $("facts").replaceChildren(...(model() ? facts(model()) : []));
  lay();
  if (last && takes(last.signature)) return;
  const nothing = "This model takes neither files nor texts.";
  $("status").textContent = !$("images").hidden ? `No ${singular(taken())} yet.` : !$("texts").hidden ? "No text yet." : nothing;
}

function show(row) {
  const [rows, over] = [best(row), chosen.value instanceof Blob && (row.overlay_bytes ?? row.reconstruction_bytes)];
  const colours = new Map(over ? (row.legend ?? []).map(colour) : []);
  $("top").replaceChildren(...(row.tags && !rows.length ? [named(["no entity", "transparent"])] : rows.map((one) => item(one, colours))));
  $("unlike").hidden = !row.unlike;
  if (over) {
    const told = new Set(rows.map(([label]) => label));
    $("legend").replaceChildren(...[...colours].filter(([label]) => !told.has(label)).map(named));
    $("mask").alt = row.reconstruction_bytes ? "What the model makes of its code" : `Where the model sees ${[...colours.keys()].join(", ") || "something"}`;
    $("mask").src = `data:image/png;base64,${over.b64}`;
    $("mask").hidden = $("fading").hidden = false;
  } else if (row.box_pixels && chosen.value instanceof Blob) {
    const now = chosen;
    frame($("box"), $("shown"), row.box_pixels, rows[0]?.[0], () => chosen === now && shown === now);
  } else if (!rows.length && !row.tags) {
    throw new Error(`the model answers with ${Object.keys(row).join(", ")}, which cannot be shown here`);
  }
}

function wipe() {
  $("box").hidden = true;
  $("top").replaceChildren();
  $("legend").replaceChildren();
  $("mask").hidden = $("fading").hidden = $("error").hidden = $("unlike").hidden = true;
}

function fail(error) {
  wipe();
  $("error").textContent = error.message;
  $("error").hidden = false;
  $("status").textContent = "No answer.";
}

async function answered(one, signature) {
  try {
    if (!models.length) await loadModels();
    const { name, version } = model() ?? {};
    if (!name) throw new Error("there is no model");
    if (!takes(signature)) throw new Error(`${name} has no signature ${signature}`);
    const instance = one.value instanceof Blob ? { b64: await base64(one.value) } : one.value;
    const path = `v1/models/${encodeURIComponent(name)}/versions/${version}:predict`;
    const told = async (signature_name) => {
      const body = JSON.stringify({ signature_name, instances: [instance] });
      return (await json(path, { method: "POST", body })).predictions[0];
    };
    const start = performance.now();
    const row = await told(signature);
    const took = (performance.now() - start).toFixed(0);
    const familiarity = `${signature}_familiarity`;
    if (model().signatures.includes(familiarity)) row.unlike = (await told(familiarity)).unlike;
    if (row.overlay_bytes) delete row.mask; // of a hundred images it would fill the memory
    return { row, status: `${name}, version ${version}: ${took} ms` };
  } catch (error) {
    return { error };
  }
}

// One a request, so that one that is refused takes no other along.
async function ask(signature, items, left = 0) {
  const mine = ++turn;
  last = { signature, items, left };
  for (const one of items) Object.assign(one, { row: null, error: null });
  if (!items.includes(chosen)) chosen = items[0];
  strip();
  present();
  const waiting = [...items];
  async function work() {
    for (let one = waiting.shift(); one && mine === turn; one = waiting.shift()) {
      if (one.thumb) await shrink(one);
      const found = await answered(one, signature);
      if (mine !== turn) return;
      Object.assign(one, found);
      if (one.thumb) tell(one);
      if (one === chosen) present();
    }
  }
  await Promise.all(Array.from({ length: ABREAST }, work));
  if (mine !== turn) return;
  count();
  if (items.some((one) => one.error)) await loadModels().catch(() => {}); // the version may have gone
}

// The chosen item, and its answer once there is one.
function present() {
  if (chosen.value instanceof Blob) preview(chosen);
  if (chosen.error) return fail(chosen.error);
  if (chosen.row) {
    wipe();
    $("status").textContent = chosen.status;
    try { show(chosen.row); } catch (error) { fail(error); }
  } else {
    $("error").hidden = $("mask").hidden = $("box").hidden = true;
    $("status").textContent = "Asking...";
  }
}

function strip() {
  const several = last.items.length > 1 ? last.items : [];
  for (const one of several) {
    one.thumb ??= thumbnail(one.name, () => { chosen = one; wipe(); present(); });
    one.thumb.input.checked = one === chosen;
    one.thumb.tell("...");
  }
  $("strip").replaceChildren(...several.map((one) => one.thumb.element));
  $("several").hidden = !several.length;
  count();
}

const shrink = (one) => // the server says why it failed
  (one.small ??= upright(one.value).then((blob) => shrunk(blob, one.thumb.canvas)).catch(() => {}));

function tell(one) {
  if (one.error) return one.thumb.tell("failed", "", one.error.message);
  const [label, share] = best(one.row)[0] ?? ["answered"];
  one.thumb.tell(label, share === undefined ? "" : percent(share), "", one.row.unlike);
}

function count() {
  const { items, left } = last;
  const [done, bad] = ["row", "error"].map((what) => items.filter((one) => one[what]).length);
  const so = done + bad < items.length ? "asking..." : `${done} answered${bad ? `, ${bad} failed` : ""}.`;
  const rest = left ? ` ${left} more were left out: ${MOST} at once are the most.` : "";
  $("told").textContent = `${items.length} ${plural(last.signature)}: ${so}${rest}`;
}

async function preview(one) {
  if (shown === one) return;
  shown = one;
  const heard = last.signature === AUDIO;
  const blob = heard ? one.value : await upright(one.value).catch(() => one.value);
  if (shown !== one) return;
  const [now, other] = heard ? [$("heard"), $("shown")] : [$("shown"), $("heard")];
  URL.revokeObjectURL(now.src);
  Object.assign(now, { src: URL.createObjectURL(blob), hidden: false });
  [other.hidden, $("shown").alt] = [true, one.name];
}

// Mask and frame over what the model sees of the image.
function lay() {
  const { naturalWidth, naturalHeight, hidden } = $("shown");
  const seen = windowOf(model()?.input, naturalWidth, naturalHeight);
  for (const id of ["mask", "window"]) {
    for (const [side, share] of Object.entries(seen)) $(id).style[side] = `${100 * share}%`;
  }
  $("window").hidden = $("framed").hidden = hidden || (seen.width >= 1 && seen.height >= 1);
}

function take(files) {
  const items = [...files].slice(0, MOST).map((value) => ({ value, name: value.name }));
  if (items.length) ask(taken(), items, files.length - items.length);
}

// The same question to another model, if it is one for it.
function again() {
  offer();
  if (last && takes(last.signature)) return ask(last.signature, last.items, last.left);
  turn++;
  wipe();
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
$("writing").addEventListener("submit", (event) => { event.preventDefault(); ask(TEXT, [{ value: $("text").value }]); });
$("strength").addEventListener("input", fade);
$("model").addEventListener("change", again);
$("key").addEventListener("change", () => loadModels().then(again).catch(fail));
$("shown").addEventListener("load", lay);
$("shown").addEventListener("error", () => { $("shown").hidden = true; lay(); });
const clear = drawing($("canvas"), $("dark"), (value) => ask(IMAGE, [{ value, name: "The drawing" }]));
$("clear").addEventListener("click", clear);
fade();
loadModels().catch(fail);
