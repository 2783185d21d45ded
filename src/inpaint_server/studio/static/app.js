// The page: holds what was chosen, and hands it to the views.

import { Adverts } from "./adverts.js";
import { build, canvasSize, fields } from "./form.js";
import { PhotoView, cutOut, readMask, readPhoto } from "./photo.js";
import { PlacementView, inside } from "./placement.js";
import { about, asPython, asShell, invoke, pictureUrl } from "./wire.js";

const $ = (id) => document.getElementById(id);
const server = await about();
const state = { photo: null, mask: null, points: [], product: null, placement: { scale: 0.6, x: 0.5, y: 0.9 }, backdrop: null, native: null };

const photoView = new PhotoView($("photo"), {
  onPoint: (x, y) => points([...state.points, [x, y, Number(chosen("label"))]]),
  onUndo: () => points(state.points.slice(0, -1)),
});
const placementView = new PlacementView($("canvas"), {
  onPlace: (placement) => {
    state.placement = placement;
    document.querySelector('[name="placement"][value="hand"]').checked = true;
    drawPlacement();
    report(`Product at ${percent(placement.x)} across, ${percent(placement.y)} down, size ${percent(placement.scale)}.`);
  },
});
const adverts = new Adverts({
  onStatus: report,
  onBackdrop: async (url, answer) => {
    state.backdrop = new Image();
    state.backdrop.src = url;
    await state.backdrop.decode();
    state.native = { width: answer.width, height: answer.height };
    drawPlacement();
  },
  onKeep: (seed) => {
    $("seed").value = seed;
    report(`The next adverts begin with seed ${seed}.`);
  },
});

function report(text, isBad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", isBad);
}

function chosen(name) {
  return document.querySelector(`[name="${name}"]:checked`).value;
}

function percent(value) {
  return `${Math.round(value * 100)} %`;
}

// The photo and its mask

async function takePhoto(file) {
  if (!file) return;
  try {
    state.photo = await readPhoto(file);
  } catch {
    return report("This file cannot be read as a picture: take a PNG, JPEG or WebP.", true);
  }
  $("drop").hidden = true;
  $("correct").hidden = false;
  show("product");
  await points([]);
}

/** Use these points and fetch the mask they give; a later answer to earlier points is dropped. */
async function points(wanted) {
  const { photo } = state;
  state.points = wanted;
  $("undo").disabled = $("clear").disabled = wanted.length === 0;
  photoView.show(photo, state.mask, wanted);
  report("Finding the product …");
  try {
    const answer = await invoke({ task: "mask", image: photo.base64, ...(wanted.length ? { points: wanted } : {}) });
    if (state.photo !== photo || state.points !== wanted) return;
    state.mask = await readMask(photo, pictureUrl(answer.images[0].image, answer.format));
    state.product = cutOut(photo, state.mask);
    report("The product is in colour: click to correct it.");
  } catch (error) {
    if (state.photo !== photo || state.points !== wanted) return;
    state.mask = null;
    state.product = null;
    report(error.message, true);
  }
  photoView.show(photo, state.mask, wanted);
  drawPlacement();
}

// The placement

function drawPlacement() {
  $("place-empty").hidden = state.product !== null;
  $("place-work").hidden = state.product === null;
  if (!state.product) return;
  const size = $("format").value === "" && state.native ? state.native : canvasSize();
  state.placement = inside(state.placement, state.product, size);
  $("scale").value = state.placement.scale;
  const { product, placement, backdrop } = state;
  placementView.show({ product, size, placement, byHand: chosen("placement") === "hand", backdrop });
}

// The request

function request(seed, count) {
  const placement = chosen("placement");
  const { scale, x, y } = state.placement;
  return {
    task: "advert",
    image: state.photo.base64,
    ...(state.points.length ? { points: state.points } : {}),
    ...fields(),
    ...(placement === "random" ? {} : { placement: placement === "hand" ? { scale, x, y } : placement }),
    num_images: count,
    seed,
  };
}

function whole() {
  if (!state.photo) {
    show("product");
    $("file").focus();
    report("First drop a photo.", true);
    return false;
  }
  return $("order").reportValidity();
}

function firstSeed() {
  return $("seed").value === "" ? crypto.getRandomValues(new Uint32Array(1))[0] : Number($("seed").value);
}

async function make() {
  if (!whole()) return;
  const count = Number($("num_images").value);
  show("adverts");
  document.querySelector(".stage").scrollIntoView();
  report(count === 1 ? "Making one advert …" : `Making ${count} adverts …`);
  $("make").disabled = true;
  const stages = state.mask ? [{ name: "mask", url: photoUrl() }] : [];
  const seed = firstSeed();
  state.last = seed;
  await adverts.make(request(seed, count), seed, count, stages);
  $("make").disabled = false;
}

/** The photo with the mask in colour, as the first step of the film. */
function photoUrl() {
  photoView.draw();
  return $("photo").toDataURL("image/jpeg", 0.8);
}

// The request in other words

function drawCopy() {
  const { last } = state;
  const body = request($("seed").value === "" && last !== undefined ? last : firstSeed(), Number($("num_images").value));
  const name = state.photo.name;
  const url = new URL(server.target, location.href).href;
  const target = server.is_url ? url.replace(/\/$/, "") : server.target;
  state.copied = {
    curl: () => asShell(body, name, target, server.is_url),
    python: () => asPython(body, name, target),
    json: () => JSON.stringify(body, null, 2),
  }[chosen("kind")]();
  const short = state.copied.replace(/("image": ")([^"]{60})[^"]+/, "$1$2…");
  $("code").textContent = short;
}

// The tabs

const tabs = [...document.querySelectorAll('[role="tab"]')];

function show(name) {
  for (const tab of tabs) {
    const selected = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(selected));
    tab.tabIndex = selected ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !selected;
  }
  photoView.draw();
  drawPlacement();
}

for (const tab of tabs) {
  tab.addEventListener("click", () => show(tab.id.slice(4)));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    show(next.id.slice(4));
    next.focus();
  });
}

// What a person does

$("file").addEventListener("change", () => takePhoto($("file").files[0]));
$("replace").addEventListener("click", () => $("file").click());
$("undo").addEventListener("click", () => points(state.points.slice(0, -1)));
$("clear").addEventListener("click", () => points([]));
$("scale").addEventListener("input", () => placementView.place({ scale: Number($("scale").value) }));
$("format").addEventListener("change", drawPlacement);
for (const id of ["width", "height"]) $(id).addEventListener("input", drawPlacement);
for (const radio of document.querySelectorAll('[name="placement"]')) radio.addEventListener("change", drawPlacement);
for (const radio of document.querySelectorAll('[name="kind"]')) radio.addEventListener("change", drawCopy);
addEventListener("paste", (event) => takePhoto([...event.clipboardData.files][0]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", kind === "dragover");
    if (kind === "drop") takePhoto(event.dataTransfer.files[0]);
  });
}
$("order").addEventListener("submit", (event) => {
  event.preventDefault();
  make();
});
$("copy-open").addEventListener("click", () => {
  if (!whole()) return;
  drawCopy();
  $("copy").showModal();
});
$("copy-close").addEventListener("click", () => $("copy").close());
$("copy-text").addEventListener("click", async () => {
  await navigator.clipboard.writeText(state.copied);
  $("copy-text").textContent = "Copied";
  setTimeout(() => ($("copy-text").textContent = "Copy"), 1500);
});
addEventListener("resize", () => {
  photoView.draw();
  drawPlacement();
});

$("target").textContent = server.target;
$("shell-name").textContent = server.is_url ? "curl" : "AWS CLI";
build(server);
document.documentElement.dataset.ready = "true";
