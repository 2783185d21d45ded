// The words and numbers of a request: fixed controls for the usual ones, the schema's own for all others.

const $ = (id) => document.getElementById(id);
const TEXT_FIELDS = ["background_prompt", "foreground_prompt", "negative_prompt"];
const ELSEWHERE = new Set([
  ...TEXT_FIELDS, "task", "image", "mask", "points", "box", "layers", "aspect_ratio", "width", "height", "placement",
  "num_images", "seed", "return_layers",
]);
const AD_FORMATS = { "1:1": [1080, 1080], "4:5": [1080, 1350], "9:16": [1080, 1920], "16:9": [1920, 1080], "1.91:1": [1200, 628] };

/** Build the choices that the server's schema and scenes offer. */
export function build({ fields, scenes }) {
  for (const name of Object.keys(scenes)) $("scene").append(new Option(name.replaceAll("-", " "), name));
  $("scene").addEventListener("change", () => {
    for (const [name, value] of Object.entries(scenes[$("scene").value] ?? {})) if (TEXT_FIELDS.includes(name)) $(name).value = value;
    $("order").dispatchEvent(new Event("input"));
  });
  const ratios = choices(fields.aspect_ratio ?? {}) ?? [];
  for (const ratio of ratios) {
    const size = AD_FORMATS[ratio];
    $("format").add(new Option(size ? `${ratio} (${size.join(" × ")})` : ratio, ratio), $("format").options.length - 1);
  }
  $("format").addEventListener("change", () => ($("own-size").hidden = $("format").value !== "own"));
  for (const [name, schema] of Object.entries(fields)) {
    const control = ELSEWHERE.has(name) ? null : controlFor(name, schema);
    if (control) $("more").append(control);
  }
}

/** The chosen canvas, and whether its size is known before the server answers. */
export function canvasSize() {
  const format = $("format").value;
  if (format === "own") return { width: Number($("width").value) || 512, height: Number($("height").value) || 512 };
  const [width, height] = AD_FORMATS[format] ?? [1, 1];
  return { width, height };
}

/** Every field that was given, as the wire wants it. */
export function fields() {
  const fields = {};
  for (const name of TEXT_FIELDS) if ($(name).value.trim()) fields[name] = $(name).value.trim();
  const format = $("format").value;
  if (format === "own") Object.assign(fields, canvasSize());
  else if (format) fields.aspect_ratio = format;
  for (const input of $("more").querySelectorAll("[data-field]")) {
    const value = input.type === "checkbox" ? input.checked : input.value;
    if (String(value) !== input.dataset.default) fields[input.dataset.field] = input.type === "number" ? Number(value) : value;
  }
  return fields;
}

function controlFor(name, schema) {
  const options = choices(schema);
  const type = options ? "select" : [schema, ...(schema.anyOf ?? [])].map((one) => one.type).find((one) => ["boolean", "integer", "number"].includes(one));
  if (!type) return null;
  const usual = schema.default ?? "";
  const input = document.createElement(type === "select" ? "select" : "input");
  if (type === "select") {
    if (usual === "") input.append(new Option("the usual", ""));
    for (const option of options) input.append(new Option(option, option));
    input.value = usual;
  } else if (type === "boolean") {
    input.type = "checkbox";
    input.checked = usual === true;
  } else {
    const { minimum, maximum } = { ...schema, ...(schema.anyOf ?? []).find((one) => one.type === type) };
    Object.assign(input, { type: "number", min: minimum ?? "", max: maximum ?? "", step: type === "integer" ? 1 : "any" });
    input.value = usual;
  }
  input.dataset.field = name;
  input.dataset.default = String(type === "boolean" ? usual === true : usual);
  return labelled(name, schema.description, input, type === "boolean");
}

function labelled(name, description, input, isCheck) {
  const label = document.createElement("label");
  const title = document.createElement("span");
  title.textContent = (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");
  const hint = document.createElement("small");
  hint.textContent = description ?? "";
  if (isCheck) label.className = "check";
  label.append(...(isCheck ? [input, title, hint] : [title, input, hint]));
  return label;
}

function choices(schema) {
  return [schema, ...(schema.anyOf ?? [])].map((one) => one.enum).find(Boolean);
}
