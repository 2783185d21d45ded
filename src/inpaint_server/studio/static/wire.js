// What goes to the server, and the same request in other people's words.

export async function about() {
  return (await fetch("api/about")).json();
}

/** Send a request object; throws an Error with the server's own sentence. */
export async function invoke(request) {
  let response;
  try {
    response = await fetch("api/invocations", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(request),
    });
  } catch {
    throw new Error("The studio has stopped: start it again.");
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Error(answer?.error?.message ?? `The server failed (${response.status}).`);
  return answer;
}

export function pictureUrl(base64, format) {
  return `data:image/${format};base64,${base64}`;
}

/** The request for a shell; the photo is a file beside it. */
export function asShell(request, photoName, target, isUrl) {
  if (!isUrl) {
    return [
      "# request.json holds this request as JSON",
      `aws sagemaker-runtime invoke-endpoint --endpoint-name ${quoted(target)} --content-type application/json \\`,
      "    --cli-binary-format raw-in-base64-out --body fileb://request.json answer.json",
    ].join("\n");
  }
  const many = request.num_images > 1;
  const fields = Object.entries(request).filter(([name]) => name !== "image");
  const lines = fields.map(([name, value]) => `    --form-string ${quoted(`${name}=${plain(value)}`)}`);
  const accept = many ? "application/zip" : `image/${request.output_format ?? "png"}`;
  const file = many ? "adverts.zip" : `advert.${request.output_format ?? "png"}`;
  return [
    `curl -F ${quoted(`image=@${photoName}`)}`,
    ...lines,
    `    -H 'Accept: ${accept}' ${quoted(`${target.replace(/\/$/, "")}/invocations`)} -o ${file}`,
  ].join(" \\\n");
}

/** The request for the Python client. */
export function asPython(request, photoName, target) {
  const given = Object.entries(request).filter(([name]) => name !== "image" && name !== "task");
  const fields = given.map(([name, value]) => `        ${name}=${literal(value)},`);
  return [
    "from inpaint_server.client import Client",
    "",
    `with Client(${JSON.stringify(target)}) as client:`,
    "    result = client.advert(",
    `        ${JSON.stringify(photoName)},`,
    ...fields,
    "    )",
    "for picture in result.pictures:",
    '    picture.save(f"advert-{picture.seed}.{picture.format}")',
    "",
  ].join("\n");
}

function plain(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A JSON value as Python writes it. */
function literal(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([name, inner]) => `${JSON.stringify(name)}: ${literal(inner)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}
