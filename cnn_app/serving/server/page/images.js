// Images as the server sees them: upright, and the window of them that a network takes.

// A WebP's orientation is not heeded by browsers, as that of JPEG and PNG is; the sets are those of EXIF's values.
const TRANSPOSED = [5, 6, 7, 8];
const ROWS_REVERSED = [3, 4, 7, 8];
const COLUMNS_REVERSED = [2, 3, 6, 7];
const [TAG, SHORT, ENTRY] = [0x0112, 3, 12]; // of the entry in TIFF: its number, its type, and its bytes

const text = (view, at, size) => String.fromCharCode(...Array.from({ length: size }, (_, i) => view.getUint8(at + i)));

// Where the EXIF chunk of a WebP begins, and its content (RFC 9649, section 2.3).
function exif(data) {
  const view = new DataView(data);
  for (let at = 12; at + 8 < data.byteLength; ) {
    const size = view.getUint32(at + 4, true);
    if (text(view, at, 4) === "EXIF") return [at, new DataView(data, at + 8, Math.min(size, data.byteLength - at - 8))];
    at += 8 + size + (size % 2);
  }
  return [0, new DataView(data, 0, 0)];
}

// What TIFF says in its first directory (TIFF 6.0, section 2); 1, upright, where that makes no sense.
function orientation(view) {
  try {
    const start = text(view, 0, 6) === "Exif\0\0" ? 6 : 0;
    const order = text(view, start, 2);
    const little = order === "II";
    if (!["II", "MM"].includes(order) || view.getUint16(start + 2, little) !== 42) return 1;
    const table = start + view.getUint32(start + 4, little);
    for (let i = 0; i < view.getUint16(table, little); i++) {
      const entry = table + 2 + ENTRY * i;
      if (view.getUint16(entry, little) !== TAG || view.getUint16(entry + 2, little) !== SHORT) continue;
      return view.getUint16(entry + 8, little); // none of the sets has one that makes no sense
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // it is cut off
  }
  return 1;
}

function turned(lies, value) {
  const across = TRANSPOSED.includes(value);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = across ? [lies.height, lies.width] : [lies.width, lies.height];
  const pen = canvas.getContext("2d");
  const [left, top] = [COLUMNS_REVERSED, ROWS_REVERSED].map((values) => values.includes(value));
  pen.translate(left ? canvas.width : 0, top ? canvas.height : 0);
  pen.scale(left ? -1 : 1, top ? -1 : 1);
  if (across) pen.transform(0, 1, 1, 0, 0, 0);
  pen.drawImage(lies, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve));
}

// A file that a browser shows as the server sees it: itself, or a copy.
export async function upright(blob) {
  const head = new DataView(await blob.slice(0, 12).arrayBuffer());
  if (head.byteLength < 12 || text(head, 0, 4) !== "RIFF" || text(head, 8, 4) !== "WEBP") return blob;
  const [at, content] = exif(await blob.arrayBuffer());
  const value = orientation(content);
  if (value === 1) return blob;
  const plain = new Blob([blob.slice(0, at), "none", blob.slice(at + 4)], { type: "image/webp" }); // a browser may heed it
  return turned(await createImageBitmap(plain), value);
}

export const base64 = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

// A small copy in a canvas: a hundred photos would not fit into the memory.
export async function shrunk(blob, canvas) {
  const found = await createImageBitmap(blob, { resizeHeight: canvas.height, resizeQuality: "medium" });
  canvas.width = found.width;
  canvas.getContext("2d").drawImage(found, 0, 0);
  found.close();
}

const even = (value) => (value % 1 ? 2 * Math.round(value / 2) : value); // what lies between two, as TensorFlow rounds it

// Which part of an upright image a network sees, as in inputs/framing.py, in shares of its sides: beyond it where it is padded.
export function windowOf(input, width, height) {
  if (!width || !["crop", "pad"].includes(input?.resize)) return { left: 0, top: 0, width: 1, height: 1 };
  const [target, sides] = [input.image.slice(0, 2), [height, width]];
  const crops = input.resize === "crop";
  const full = target.map((side) => Math.round(side / (crops ? input.crop_share : 1)));
  const ratio = full.map((side, i) => side / sides[i]);
  const leading = (crops ? ratio[1] > ratio[0] : ratio[1] < ratio[0]) ? 1 : 0;
  const scaled = sides.map((side) => Math.max(Math.floor((side * full[leading]) / sides[leading]), 1));
  const before = scaled.map((side, i) => even((side - target[i]) / 2));
  const [top, left] = before.map((side, i) => side / scaled[i]);
  return { left, top, width: target[1] / scaled[1], height: target[0] / scaled[0] };
}
