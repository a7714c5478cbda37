// The drawing area: a thick pen, and its colours.
const SIDE = 280;

export function drawing(canvas, dark, drawn) {
  const pen = canvas.getContext("2d");

  function clear() {
    pen.fillStyle = dark.checked ? "#000" : "#fff";
    pen.fillRect(0, 0, SIDE, SIDE);
  }

  function draw(event) {
    if (!(event.buttons & 1)) return;
    const { left, top, width } = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top].map((value) => (value * SIDE) / width);
    pen.strokeStyle = dark.checked ? "#fff" : "#000";
    pen.lineWidth = 18;
    pen.lineCap = pen.lineJoin = "round";
    if (event.type === "pointerdown") {
      canvas.setPointerCapture(event.pointerId);
      pen.beginPath();
      pen.moveTo(x, y);
    }
    pen.lineTo(x, y);
    pen.stroke();
  }

  canvas.addEventListener("pointerdown", draw);
  canvas.addEventListener("pointermove", draw);
  canvas.addEventListener("pointerup", () => canvas.toBlob(drawn));
  dark.addEventListener("change", clear);
  clear();
  return clear;
}
