// A run: variations by seed, each shown step by step as its parts come in, looked at large and compared.

import { invoke, pictureUrl } from "./wire.js";

const $ = (id) => document.getElementById(id);

/** Variations of one request. `onStatus(text, isBad)` reports progress; `onBackdrop(url)` of the first background. */
export class Adverts {
  constructor({ onStatus, onBackdrop, onKeep }) {
    Object.assign(this, { onStatus, onBackdrop });
    this.variations = [];
    this.shown = null;
    this.run = 0;
    $("wipe").addEventListener("input", () => $("other").style.setProperty("--wipe", `${$("wipe").value}%`));
    $("compare").addEventListener("change", () => this.draw());
    $("keep").addEventListener("click", () => onKeep(this.shown.seed));
  }

  /** Ask for every variation side by side: its background first, then all of it. */
  async make(request, seed, count, stages) {
    this.run += 1;
    const run = this.run;
    const seeds = Array.from({ length: count }, (_, index) => (seed + index) % 2 ** 32);
    this.variations = seeds.map((one) => ({ seed: one, stages: [...stages], doing: "painting the background", error: "" }));
    this.shown = this.variations[0];
    this.step = null;
    $("compare").value = "";
    $("adverts-empty").hidden = true;
    $("adverts-work").hidden = false;
    this.draw();
    await Promise.all(this.variations.map((variation) => this.one(run, request, variation)));
    if (run !== this.run) return;
    const failed = this.variations.filter((variation) => variation.error);
    if (failed.length) this.onStatus(failed[0].error, true);
    else this.onStatus(count === 1 ? "The advert is done." : `All ${count} adverts are done.`);
  }

  async one(run, request, variation) {
    const { image: _i, mask: _m, points: _p, placement: _w, layers: _l, ...scene } = request;
    const body = { ...scene, task: "background", num_images: 1, seed: variation.seed };
    try {
      const background = await invoke(body);
      if (run !== this.run) return;
      const url = pictureUrl(background.images[0].image, background.format);
      this.add(variation, "background", url, "painting what is around the product");
      if (variation === this.variations[0]) this.onBackdrop(url, background);
      const answer = await invoke({ ...request, num_images: 1, seed: variation.seed, return_layers: true });
      if (run !== this.run) return;
      const [image] = answer.images;
      variation.stages = variation.stages.filter((stage) => stage.name !== "background");
      if (image.layers?.background) this.add(variation, "background", pictureUrl(image.layers.background, answer.format));
      image.layers?.passes.forEach((canvas, index) => this.add(variation, `pass ${index + 1}`, pictureUrl(canvas, answer.format)));
      Object.assign(variation, { format: answer.format, warnings: answer.warnings, doing: "" });
      this.add(variation, "advert", pictureUrl(image.image, answer.format));
    } catch (error) {
      Object.assign(variation, { error: error.message, doing: "" });
    }
    const done = this.variations.filter((one) => !one.doing).length;
    if (run === this.run && done < this.variations.length) this.onStatus(`${done} of ${this.variations.length} done.`);
    this.draw();
  }

  add(variation, name, url, doing = variation.doing) {
    variation.stages.push({ name, url });
    variation.doing = doing;
    this.draw();
  }

  draw() {
    const { shown } = this;
    const stage = shown.stages.find((one) => one.name === this.step) ?? shown.stages.at(-1);
    $("large").alt = stage ? `${stage.name}, seed ${shown.seed}` : "";
    if (stage) $("large").src = stage.url;
    $("shown").textContent = `Seed ${shown.seed}${stage ? `, ${stage.name}` : ""}`;
    $("working").hidden = !shown.doing && !shown.error;
    $("working").firstElementChild.textContent = shown.error || `Now ${shown.doing} …`;
    $("keep").disabled = false;
    this.offer(stage, shown);
    this.drawCompare(shown);
    fill($("film"), shown.stages.map((one) => this.stageButton(one, stage)), "li");
    fill($("variations"), this.variations.map((one) => this.variationButton(one)));
  }

  offer(stage, shown) {
    const link = $("download");
    const ready = stage?.name === "advert";
    link.setAttribute("aria-disabled", String(!ready));
    if (!ready) return link.removeAttribute("href");
    link.href = stage.url;
    link.download = `advert-${shown.seed}.${shown.format}`;
  }

  drawCompare(shown) {
    const others = this.variations.filter((one) => one !== shown && finished(one));
    const wanted = $("compare").value;
    $("compare-label").hidden = others.length === 0 || !finished(shown);
    $("compare").replaceChildren(new Option("nothing", ""), ...others.map((one) => new Option(`seed ${one.seed}`, one.seed)));
    const other = others.find((one) => String(one.seed) === wanted);
    $("compare").value = other ? wanted : "";
    $("other").hidden = $("wipe").hidden = !other || !finished(shown);
    if (!other) return;
    $("other").src = finished(other).url;
    $("other").alt = `advert, seed ${other.seed}`;
  }

  stageButton(one, current) {
    return thumbnail(one.url, one.name, one === current, () => {
      this.step = one.name;
      this.draw();
    });
  }

  variationButton(one) {
    const text = one.error ? `${one.seed}: failed` : `${one.seed}${one.doing ? " …" : ""}`;
    return thumbnail(one.stages.at(-1)?.url, text, one === this.shown, () => {
      this.shown = one;
      this.step = null;
      this.draw();
    }, one.error);
  }
}

function finished(variation) {
  return variation.stages.find((stage) => stage.name === "advert");
}

function thumbnail(url, text, pressed, onClick, error = "") {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("aria-pressed", String(pressed));
  const picture = document.createElement(url ? "img" : "div");
  if (url) Object.assign(picture, { src: url, alt: "" });
  else picture.className = "none";
  const label = document.createElement("span");
  label.textContent = text;
  label.className = error ? "bad" : "";
  button.append(picture, label);
  button.addEventListener("click", onClick);
  return button;
}

/** Replace a list's children, and leave the keyboard where it was. */
function fill(list, buttons, wrap) {
  const focused = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...buttons.map((button) => {
    if (!wrap) return button;
    const item = document.createElement(wrap);
    item.append(button);
    return item;
  }));
  if (focused >= 0) buttons[Math.min(focused, buttons.length - 1)]?.focus();
}
