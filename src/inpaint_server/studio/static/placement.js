// The canvas: where the product stands, moved and scaled by pointer or keys, always whole.

const SMALLEST = 0.1;
const LARGEST = 1;

/** A placement as near as possible to the requested one with the whole product inside the canvas. */
export function inside(placement, product, canvas) {
  const scale = Math.min(placement.scale, largest(product, canvas));
  const size = productSize({ ...placement, scale }, product, canvas);
  const half = size.width / canvas.width / 2;
  return {
    scale,
    x: Math.min(1 - half, Math.max(half, placement.x)),
    y: Math.min(1, Math.max(size.height / canvas.height, placement.y)),
  };
}

function largest(product, canvas) {
  const shorter = Math.min(canvas.width, canvas.height);
  const longer = Math.max(product.width, product.height);
  return Math.min(LARGEST, (canvas.width * longer) / product.width / shorter, (canvas.height * longer) / product.height / shorter);
}

function productSize(placement, product, canvas) {
  const longer = placement.scale * Math.min(canvas.width, canvas.height);
  const factor = longer / Math.max(product.width, product.height);
  return { width: product.width * factor, height: product.height * factor };
}

/** The view in which a person places the product. `onPlace(placement)` is called with every move. */
export class PlacementView {
  constructor(canvas, { onPlace }) {
    this.canvas = canvas;
    this.onPlace = onPlace;
    this.grip = null;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", () => (this.grip = null));
    canvas.addEventListener("pointercancel", () => (this.grip = null));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  show({ product, size, placement, byHand, backdrop }) {
    Object.assign(this, { product, size, placement, byHand, backdrop });
    this.draw();
  }

  place(wanted) {
    const placed = inside({ ...this.placement, ...wanted }, this.product, this.size);
    this.onPlace(Object.fromEntries(Object.entries(placed).map(([name, value]) => [name, Math.round(value * 1000) / 1000])));
  }

  /** The pointer in fractions of the canvas. */
  at(event) {
    const bounds = this.canvas.getBoundingClientRect();
    return { x: (event.clientX - bounds.left) / bounds.width, y: (event.clientY - bounds.top) / bounds.height };
  }

  press(event) {
    const at = this.at(event);
    const box = this.box();
    const near = (x, y) => Math.hypot((at.x - x) * this.canvas.clientWidth, (at.y - y) * this.canvas.clientHeight) < 24;
    const corner = near(box.right, box.top) || near(box.left, box.top);
    this.grip = { corner, at, from: this.placement };
    this.canvas.setPointerCapture(event.pointerId);
  }

  drag(event) {
    if (!this.grip) return;
    const at = this.at(event);
    const { from } = this.grip;
    if (this.grip.corner) {
      const reach = (point) =>
        Math.hypot((point.x - from.x) * this.size.width, (point.y - from.y) * this.size.height);
      const scale = (from.scale * reach(at)) / reach(this.grip.at);
      this.place({ scale: Math.min(LARGEST, Math.max(SMALLEST, scale)) });
    } else this.place({ x: from.x + at.x - this.grip.at.x, y: from.y + at.y - this.grip.at.y });
  }

  key(event) {
    const step = event.shiftKey ? 0.05 : 0.01;
    const { x, y, scale } = this.placement;
    const wanted = {
      ArrowLeft: { x: x - step },
      ArrowRight: { x: x + step },
      ArrowUp: { y: y - step },
      ArrowDown: { y: y + step },
      "+": { scale: Math.min(LARGEST, scale + 0.02) },
      "=": { scale: Math.min(LARGEST, scale + 0.02) },
      "-": { scale: Math.max(SMALLEST, scale - 0.02) },
    }[event.key];
    if (!wanted) return;
    event.preventDefault();
    this.place(wanted);
  }

  /** The product's box in fractions of the canvas. */
  box() {
    const size = productSize(this.placement, this.product, this.size);
    const [width, height] = [size.width / this.size.width, size.height / this.size.height];
    const { x, y } = this.placement;
    return { left: x - width / 2, right: x + width / 2, top: y - height, bottom: y };
  }

  draw() {
    if (!this.product) return;
    const { canvas, size } = this;
    const factor = 1000 / Math.max(size.width, size.height);
    canvas.width = Math.round(size.width * factor);
    canvas.height = Math.round(size.height * factor);
    const context = canvas.getContext("2d");
    context.fillStyle = "#c9cbd0";
    context.fillRect(0, 0, canvas.width, canvas.height);
    if (this.backdrop) context.drawImage(this.backdrop, 0, 0, canvas.width, canvas.height);
    const box = this.box();
    const [left, top] = [box.left * canvas.width, box.top * canvas.height];
    const [width, height] = [(box.right - box.left) * canvas.width, (box.bottom - box.top) * canvas.height];
    context.globalAlpha = this.byHand ? 1 : 0.45;
    context.drawImage(this.product, left, top, width, height);
    context.globalAlpha = 1;
    if (this.byHand) this.handles(context, left, top, width, height);
  }

  handles(context, left, top, width, height) {
    const unit = this.canvas.width / (this.canvas.clientWidth || this.canvas.width);
    for (const [colour, line] of [["#fff", 3], ["#3650c9", 1.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = line * unit;
      context.strokeRect(left, top, width, height);
    }
    for (const x of [left, left + width]) {
      context.beginPath();
      context.arc(x, top, 7 * unit, 0, 2 * Math.PI);
      context.fillStyle = "#fff";
      context.fill();
      context.stroke();
    }
  }
}
