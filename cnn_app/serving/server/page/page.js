// The page asks as any client does: TF Serving's :predict with the signature image_bytes.
const $ = (id) => document.getElementById(id);
const pen = $("canvas").getContext("2d");
let models = [];
let last = null; // the image that was asked about last, for another model
let turn = 0; // answers may come in another order than the questions

const headers = () => ($("key").value ? { Authorization: `Bearer ${$("key").value}` } : {});

async function json(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers() });
  const found = await response.json().catch(() => ({ error: "no JSON came back" }));
  if (response.status === 401) $("locked").hidden = false;
  if (!response.ok) throw new Error(`${response.status}: ${found.error}`);
  return found;
}

async function loadModels() {
  const chosen = $("model").value;
  models = await json("models.json");
  $("model").replaceChildren(...models.map((model, i) => {
    const labels = model.labels.length ? ` (${model.labels.join(", ")})` : "";
    return new Option(`${model.name}, version ${model.version}${labels}, ${model.engine}`, i);
  }));
  if (chosen && models[chosen]) $("model").value = chosen;
}

const base64 = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

function best(row) {
  if (row.classes) return row.classes.map((label, i) => [label, row.scores[i]]);
  const shares = Array.isArray(row) ? row : row.probabilities;
  return shares.map((share, i) => [String(i), share]).sort((a, b) => b[1] - a[1]).slice(0, 5);
}

function item([label, share]) {
  const li = document.createElement("li");
  for (const [name, text] of [["label", label], ["share", `${(100 * share).toFixed(1)} %`], ["track", ""]]) {
    const part = document.createElement(name === "track" ? "div" : "span");
    part.className = name;
    part.textContent = text;
    li.append(part);
  }
  const bar = document.createElement("div");
  bar.className = "bar";
  bar.style.width = `${100 * share}%`;
  li.lastChild.append(bar);
  return li;
}

function fail(error) {
  $("error").textContent = error.message;
  $("error").hidden = false;
  $("top").replaceChildren();
  $("status").textContent = "No answer.";
}

async function ask(blob) {
  const mine = ++turn;
  last = blob;
  $("error").hidden = true;
  $("status").textContent = "Asking...";
  try {
    if (!models.length) await loadModels();
    const model = models[$("model").value];
    if (!model) throw new Error("there is no model");
    const body = JSON.stringify({ signature_name: "image_bytes", instances: [{ b64: await base64(blob) }] });
    const path = `v1/models/${encodeURIComponent(model.name)}/versions/${model.version}:predict`;
    const start = performance.now();
    const found = await json(path, { method: "POST", body });
    if (mine !== turn) return;
    const took = (performance.now() - start).toFixed(0);
    $("top").replaceChildren(...best(found.predictions[0]).map(item));
    $("status").textContent = `${model.name}, version ${model.version}: ${took} ms`;
  } catch (error) {
    if (mine !== turn) return;
    fail(error);
    await loadModels().catch(() => {}); // the version may have gone
  }
}

function take(files) {
  const file = [...files].find((one) => one.type.startsWith("image/")) ?? files[0];
  if (!file) return;
  if ($("shown").src) URL.revokeObjectURL($("shown").src);
  $("shown").src = URL.createObjectURL(file);
  $("shown").alt = file.name;
  $("shown").hidden = false;
  ask(file);
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

for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { take($("file").files); $("file").value = ""; });
$("model").addEventListener("change", () => last && ask(last));
$("key").addEventListener("change", () => loadModels().then(() => last && ask(last)).catch(fail));
$("canvas").addEventListener("pointerdown", draw);
$("canvas").addEventListener("pointermove", draw);
$("canvas").addEventListener("pointerup", () => $("canvas").toBlob(ask));
$("clear").addEventListener("click", clear);
$("dark").addEventListener("change", clear);
clear();
loadModels().catch(fail);
