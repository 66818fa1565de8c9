// The page: images in, bars and heat maps out. It asks GET metadata and POST invocations, below the address it came from.

const API = document.querySelector("meta[name=thorax-api]").content || ".";
const AT_ONCE = 3; // images on their way at a time; the server makes batches of them
const TRIES = 4; // for a server that is busy
const $ = (selector, root = document) => root.querySelector(selector);
const percent = (p) => (p > 0 && p < 0.001 ? "<0.1 %" : `${(100 * p).toFixed(1)} %`);
const megabytes = (n) => `${(n / 1e6).toFixed(1)} MB`;

let server = {}; // the reply of GET metadata
let kinds = []; // of kinds.json: the kinds of images that are read; empty: the server decides
let kindsLoaded; // a promise
const waiting = []; // cards
let busy = 0;

/** A failure whose message the page shows as it is; `retryable`: sending the same image again may help. */
class PageError extends Error {
  constructor(message, retryable = false) {
    super(message);
    this.retryable = retryable;
  }
}

// -- The server ---------------------------------------------------------------------------------------------------------

/** Reads which kinds of images there are, for the file chooser and the words below it. */
async function loadKinds() {
  kinds = await fetch("kinds.json").then((answer) => (answer.ok ? answer.json() : [])).catch(() => []);
  $("#choose").accept = kinds.flatMap((kind) => [kind.content_type, ...kind.endings]).join(",");
  showLimits();
}

/** "JPEG, PNG ... or DICOM". */
const namesOfKinds = () => kinds.map((kind) => kind.name).join(", ").replace(/, ([^,]*)$/, " or $1");

function showLimits() {
  const size = sizeLimit() < Infinity ? `up to ${megabytes(sizeLimit())} each` : "";
  $("#limits").textContent = `${[namesOfKinds(), size].filter(Boolean).join(", ") || "Any number of images"}; several at once if you like`;
}

/** Asks the server for its labels and limits. */
async function loadMetadata() {
  try {
    const answer = await fetch(`${API}/metadata`);
    if (!answer.ok) throw new PageError(await errorText(answer));
    server = await answer.json();
    $("#server").hidden = true;
    const labels = (server.task === "multilabel" ? server.labels : server.classes) ?? [];
    const named = labels.length > 4 ? `${labels.length} labels` : labels.join(server.task === "multilabel" ? ", " : " or ");
    $("#model").textContent = [server.network, named].filter(Boolean).join(" · ") || "Chest X-ray classifier";
    showLimits();
  } catch (error) {
    showMessage($("#server"), error instanceof PageError ? error.message : "The server does not answer. Is it running? Images that you add now can be sent again later.");
  }
}

/** The largest image that the server takes, in bytes. */
const sizeLimit = () => server.limits?.max_request_bytes ?? Infinity;

/** The message of an error response. */
async function errorText(answer) {
  const text = await answer.text().catch(() => "");
  try {
    const { error, message } = JSON.parse(text);
    return error ?? message ?? `The server answered ${answer.status}.`;
  } catch {
    return answer.status === 413 ? "The image is too large for the server." : `The server answered ${answer.status} ${answer.statusText}`.trim() + ".";
  }
}

/** The response to one image. A busy server is asked again, after the time that it names. */
async function predict({ body, kind }, query = "", showProgress = () => {}) {
  for (let attempt = 1; ; attempt++) {
    let answer;
    try {
      answer = await fetch(`${API}/invocations${query}`, {
        method: "POST", body, headers: { "Content-Type": kind, Accept: "application/json;verbose" },
      });
    } catch {
      throw new PageError("The server does not answer. Check that it runs and that you are connected.", true);
    }
    if (answer.ok) return answer.json();
    if (![429, 503].includes(answer.status) || attempt === TRIES) throw new PageError(await errorText(answer), answer.status >= 429);
    showProgress("The server is busy; trying again");
    await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(20, Number(answer.headers.get("Retry-After")) || attempt)));
  }
}

// -- One image -----------------------------------------------------------------------------------------------------------

/** The kind of an image by its first bytes, whatever its name; undefined for none of those that are known. */
async function kindOf(file) {
  await kindsLoaded;
  const bytes = new Uint8Array(await file.slice(0, 160).arrayBuffer());
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [...kinds].reverse().find((kind) => kind.marks.some(([offset, mark]) => hex.startsWith(mark, 2 * offset)));
}

/** The content type of an image. */
async function contentTypeOf(file) {
  if (!file.size) throw new PageError("This file is empty.");
  const kind = await kindOf(file);
  if (!kind && kinds.length) throw new PageError(`This is not an image that can be read: choose a ${namesOfKinds()} file.`);
  return kind?.content_type ?? "application/octet-stream";
}

/** The image to upload: the file, or where it is over the server's limit a smaller JPEG. */
async function fitToLimit(file, kind) {
  const limit = sizeLimit();
  if (file.size <= limit) return { body: file, kind };
  const large = `This image has ${megabytes(file.size)}; the server takes up to ${megabytes(limit)}.`;
  const picture = await createImageBitmap(file).catch(() => { throw new PageError(`${large} Save it smaller and try again.`); });
  for (let side = 2048; side >= 256; side /= 2) {
    const scale = Math.min(1, side / Math.max(picture.width, picture.height));
    const canvas = Object.assign(document.createElement("canvas"), { width: Math.round(scale * picture.width), height: Math.round(scale * picture.height) });
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    const body = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
    if (body && body.size <= limit) return { body, kind: "image/jpeg", note: `${large} It was sent smaller: ${canvas.width} × ${canvas.height} pixels.` };
  }
  throw new PageError(`${large} Save it smaller and try again.`);
}

/** One image of the list, with its scores and heat maps. */
class ImageCard {
  constructor(file) {
    this.file = file;
    this.heat = {}; // by label
    this.element = $("#image").content.firstElementChild.cloneNode(true);
    this.element.setAttribute("aria-label", file.name);
    const heading = this.find("h2");
    heading.textContent = heading.title = file.name;
    this.find(".remove").setAttribute("aria-label", `Remove ${file.name}`);
    this.find(".remove").onclick = () => this.remove();
    this.find(".again").onclick = () => (this.state === "done" ? this.showHeat(true) : enqueue(this));
    this.find(".toggle").onclick = () => this.showHeat(this.find(".toggle").ariaPressed !== "true");
    this.find("select").onchange = () => this.showHeat(true);
    this.preview();
  }

  find(selector) { return $(selector, this.element); }

  preview() {
    this.url = URL.createObjectURL(this.file);
    const image = this.find(".preview");
    image.onload = () => { image.hidden = false; this.find(".blank").hidden = true; };
    image.onerror = async () => {
      const kind = await kindOf(this.file).catch(() => undefined);
      if (kind) this.find(".blank").textContent = `${kind.name}: browsers do not show this kind of image. It is scored all the same.`;
    };
    image.alt = `Image ${this.file.name}`;
    image.src = this.url;
  }

  remove() {
    const next = this.element.nextElementSibling ?? this.element.previousElementSibling;
    this.gone = true;
    URL.revokeObjectURL(this.url);
    this.element.remove();
    ($(".remove", next ?? undefined) ?? $("#choose")).focus();
    count();
  }

  async send() {
    this.showProgress("Reading the image");
    try {
      this.upload ??= await fitToLimit(this.file, await contentTypeOf(this.file));
      this.show(await predict(this.upload, "", (text) => this.showProgress(text)));
    } catch (error) {
      this.fail(error);
    }
  }

  showProgress(text) {
    this.state = "waiting";
    this.element.classList.remove("bare");
    this.find(".problem").hidden = true;
    this.find(".wait").hidden = false;
    this.find(".doing").textContent = text;
  }

  fail(error) {
    if (!(error instanceof PageError)) console.error(error);
    this.state = "failed";
    this.element.classList.toggle("bare", this.find(".preview").hidden);
    this.find(".wait").hidden = true;
    this.showProblem(error, "The answer of the server could not be read.");
  }

  showProblem(error, otherwise) {
    this.find(".again").hidden = error instanceof PageError && !error.retryable;
    showMessage(this.find(".problem"), error instanceof PageError ? error.message : otherwise, "span");
  }

  show(prediction) {
    this.state = "done";
    this.find(".wait").hidden = true;
    const rows = prediction.labels.map((name, i) => ({ name, p: prediction.probabilities[i], above: Boolean(prediction.decisions[i]), threshold: prediction.thresholds?.[name] }));
    this.showPredicted(prediction.predicted);
    const list = this.find(".labels");
    list.replaceChildren(...rows.map(labelRow));
    list.classList.toggle("many", rows.length > 4);
    list.hidden = false;
    const options = [...rows].sort((a, b) => b.p - a.p).map(({ name }) => new Option(name, name));
    this.find("select").replaceChildren(...options);
    this.find("select").hidden = rows.length === 1;
    this.find("figcaption").hidden = false;
    const notes = [...(prediction.warnings ?? []), ...(this.upload.note ? [this.upload.note] : [])];
    this.find(".notes").replaceChildren(...notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    this.find(".notes").hidden = !notes.length;
  }

  /** One of several classes is a text, any number of labels a list. */
  showPredicted(predicted) {
    const several = Array.isArray(predicted);
    const small = Object.assign(document.createElement("small"), { textContent: several ? "At or above their thresholds" : "The model’s label for this image" });
    const strong = Object.assign(document.createElement("strong"), { textContent: several ? predicted.join(", ") || "None of the labels" : predicted });
    this.find(".verdict").replaceChildren(small, strong);
    this.find(".verdict").hidden = false;
  }

  /** A heat map is asked for once, when it is first wanted. */
  async showHeat(on) {
    const toggle = this.find(".toggle"), image = this.find(".heat"), label = this.find("select").value;
    toggle.ariaPressed = String(on);
    image.hidden = this.find(".scale").hidden = this.find(".empty").hidden = true;
    const turn = (this.turn = (this.turn ?? 0) + 1); // of several clicks the last one counts
    toggle.textContent = on ? "Heat map …" : "Heat map";
    if (!on) return;
    try {
      this.heat[label] ??= await predict(this.upload, `?${new URLSearchParams({ explain: true, label })}`);
      if (turn !== this.turn) return;
      const empty = this.heat[label].empty_heat_maps?.includes(label);
      this.find(".empty").textContent = `No region speaks for ${label}: the heat map is empty.`;
      this.find(".empty").hidden = !empty;
      if (empty) return;
      image.src = `data:image/png;base64,${this.heat[label].heat_maps[label]}`;
      await image.decode();
      image.alt = `Heat map of ${label}: image ${this.file.name}, coloured where the network looked`;
      this.layOver(image);
      image.hidden = this.find(".scale").hidden = false;
      this.find(".problem").hidden = true;
    } catch (error) {
      if (turn !== this.turn) return;
      toggle.ariaPressed = "false";
      this.showProblem(error, "The server gave no heat map.");
    } finally {
      if (turn === this.turn) toggle.textContent = "Heat map";
    }
  }

  /** The map has the network's size: where the whole image was stretched to it, it is stretched back over the image. */
  layOver(heatMap) {
    const preview = this.find(".preview");
    const stretched = server.preprocessing?.fit === "stretch" && !preview.hidden;
    heatMap.style.aspectRatio = stretched ? `${preview.naturalWidth} / ${preview.naturalHeight}` : "";
    heatMap.classList.toggle("stretched", stretched);
    heatMap.classList.toggle("wide", stretched && preview.naturalWidth > preview.naturalHeight);
  }
}

/** One label: its name, its probability as a number and as a bar, and the mark of its threshold. */
function labelRow({ name, p, above, threshold }) {
  const row = document.createElement("li");
  row.className = above ? "above" : "";
  row.innerHTML = '<span class="name"></span><span class="value"></span><div class="meter" role="meter" aria-valuemin="0" aria-valuemax="100"><i></i></div>';
  $(".name", row).textContent = name;
  $(".value", row).textContent = percent(p);
  const meter = $(".meter", row), side = above ? "at or above" : "below";
  meter.setAttribute("aria-label", name);
  meter.setAttribute("aria-valuenow", (100 * p).toFixed(1));
  meter.setAttribute("aria-valuetext", percent(p) + (threshold === undefined ? "" : `, ${side} the threshold of ${percent(threshold)}`));
  $("i", meter).style.width = `${100 * p}%`;
  if (threshold !== undefined) {
    const small = document.createElement("small");
    small.innerHTML = "<span>threshold</span> ";
    small.append(percent(threshold));
    const mark = document.createElement("b");
    mark.style.left = `${100 * threshold}%`;
    $(".value", row).append(small);
    meter.append(mark);
  }
  return row;
}

// -- The list -----------------------------------------------------------------------------------------------------------

/** Shows an element with a text, put into the part of it that the selector `inside` names. */
function showMessage(element, text, inside) {
  (inside ? $(inside, element) : element).textContent = text;
  element.hidden = false;
}

function add(files) {
  const cards = [...files].map((file) => new ImageCard(file));
  $("#images").prepend(...cards.map((card) => card.element));
  cards.forEach((card) => { all.add(card); enqueue(card); });
}

const all = new Set();

function enqueue(card) {
  card.showProgress("Waiting");
  waiting.push(card);
  next();
}

async function next() {
  count();
  if (busy >= AT_ONCE || !waiting.length) return;
  busy++;
  const card = waiting.shift();
  if (!card.gone) await card.send();
  busy--;
  if (card.state === "done" && !$("#server").hidden) loadMetadata();
  next();
}

function count() {
  const cards = [...all].filter((card) => !card.gone);
  const of = (state) => cards.filter((card) => card.state === state).length;
  const images = (n) => (n === 1 ? "1 image" : `${n} images`);
  const parts = [of("done") && `${images(of("done"))} scored`, of("waiting") && `${of("waiting")} under way`, of("failed") && `${of("failed")} failed`];
  $("#status").textContent = parts.filter(Boolean).join(", ");
  $("#clear").hidden = cards.length < 2;
}

$("#choose").onchange = ({ target }) => { add(target.files); target.value = ""; };
$("#clear").onclick = () => { for (const card of all) if (!card.gone) card.remove(); all.clear(); count(); };
addEventListener("dragover", (event) => { event.preventDefault(); $("#drop").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("#drop").classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("#drop").classList.remove("over");
  add(event.dataTransfer.files);
});
kindsLoaded = loadKinds();
addEventListener("paste", (event) => { if (event.clipboardData.files.length) add(event.clipboardData.files); });
loadMetadata();
