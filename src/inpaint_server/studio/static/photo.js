// The photo: reading it, its mask in colour over it, and the points that correct the mask.

const LONGEST = 1400; // pixels of the view; the photo itself is sent as it is
const LONGEST_MASK = 1000;
const TINT = [64, 98, 255];

/** Read a dropped file: upright pixels, and the base64 that goes on the wire. */
export async function readPhoto(file) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const url = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = reject;
    reader.readAsDataURL(file);
  });
  return { name: file.name, bitmap, width: bitmap.width, height: bitmap.height, base64: url.slice(url.indexOf(",") + 1) };
}

/** The mask as an alpha channel and the product's box, both in pixels of the view. */
export async function readMask(photo, url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const scale = Math.min(1, LONGEST_MASK / Math.max(photo.width, photo.height));
  const [width, height] = [Math.round(photo.width * scale), Math.round(photo.height * scale)];
  const alpha = painted(width, height, (context) => context.drawImage(image, 0, 0, width, height));
  const pixels = alpha.getContext("2d").getImageData(0, 0, width, height);
  const box = { left: width, top: height, right: 0, bottom: 0 };
  for (let y = 0, i = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, i += 4) {
      const value = pixels.data[i];
      pixels.data.set([...TINT, value], i);
      if (value < 128) continue;
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x + 1);
      box.top = Math.min(box.top, y);
      box.bottom = Math.max(box.bottom, y + 1);
    }
  }
  alpha.getContext("2d").putImageData(pixels, 0, 0);
  return { alpha, box };
}

/** The product without its surroundings, cropped to its box. */
export function cutOut(photo, mask) {
  const { box, alpha } = mask;
  return painted(box.right - box.left, box.bottom - box.top, (context) => {
    context.drawImage(alpha, -box.left, -box.top);
    context.globalCompositeOperation = "source-in";
    context.drawImage(photo.bitmap, -box.left, -box.top, alpha.width, alpha.height);
  });
}

function painted(width, height, paint) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, width);
  canvas.height = Math.max(1, height);
  paint(canvas.getContext("2d", { willReadFrequently: true }));
  return canvas;
}

/** The view in which a person corrects the mask. `onPoint(x, y)` gets pixels of the photo; `onUndo()` takes one back. */
export class PhotoView {
  constructor(canvas, { onPoint, onUndo }) {
    this.canvas = canvas;
    this.onPoint = onPoint;
    this.onUndo = onUndo;
    this.cross = null;
    canvas.addEventListener("pointerdown", (event) => this.click(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.draw());
  }

  show(photo, mask, points) {
    if (photo !== this.photo) this.cross = null;
    Object.assign(this, { photo, mask, points });
    this.draw();
  }

  click(event) {
    const bounds = this.canvas.getBoundingClientRect();
    this.cross = null;
    this.set(
      ((event.clientX - bounds.left) / bounds.width) * this.photo.width,
      ((event.clientY - bounds.top) / bounds.height) * this.photo.height,
    );
  }

  set(x, y) {
    const inside = (value, size) => Math.min(size - 1, Math.max(0, Math.round(value)));
    this.onPoint(inside(x, this.photo.width), inside(y, this.photo.height));
  }

  key(event) {
    const step = (event.shiftKey ? 0.1 : 0.02) * Math.max(this.photo.width, this.photo.height);
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    this.cross ??= { x: this.photo.width / 2, y: this.photo.height / 2 };
    if (move) {
      this.cross.x = Math.min(this.photo.width - 1, Math.max(0, this.cross.x + move[0]));
      this.cross.y = Math.min(this.photo.height - 1, Math.max(0, this.cross.y + move[1]));
      this.draw();
    } else if (event.key === "Enter" || event.key === " ") this.set(this.cross.x, this.cross.y);
    else if (event.key === "Backspace" || event.key === "Delete") this.onUndo();
    else return;
    event.preventDefault();
  }

  draw() {
    if (!this.photo) return;
    const { canvas, photo } = this;
    const scale = LONGEST / Math.max(photo.width, photo.height);
    canvas.width = Math.round(photo.width * scale);
    canvas.height = Math.round(photo.height * scale);
    const context = canvas.getContext("2d");
    context.drawImage(photo.bitmap, 0, 0, canvas.width, canvas.height);
    if (this.mask) {
      context.globalAlpha = 0.5;
      context.drawImage(this.mask.alpha, 0, 0, canvas.width, canvas.height);
      context.globalAlpha = 1;
    }
    const unit = canvas.width / (canvas.clientWidth || canvas.width);
    for (const [x, y, label] of this.points) point(context, x * scale, y * scale, label, unit);
    if (this.cross && document.activeElement === canvas) cross(context, this.cross.x * scale, this.cross.y * scale, unit);
  }
}

/** A dot with a plus or a minus: distinct without colour. */
function point(context, x, y, label, unit) {
  context.lineWidth = 2 * unit;
  context.fillStyle = label ? "#12813f" : "#b3261e";
  context.strokeStyle = "#fff";
  context.beginPath();
  context.arc(x, y, 9 * unit, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
  line(context, x - 4 * unit, y, x + 4 * unit, y);
  if (label) line(context, x, y - 4 * unit, x, y + 4 * unit);
}

function cross(context, x, y, unit) {
  for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width * unit;
    line(context, x - 14 * unit, y, x + 14 * unit, y);
    line(context, x, y - 14 * unit, x, y + 14 * unit);
  }
}

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}
