// The page: images in, bars and heat maps out. It asks GET metadata and POST invocations, below the address it came from.

const API = document.querySelector("meta[name=thorax-api]").content || ".";
const AT_ONCE = 3; // images on their way at a time; the server makes batches of them
const TRIES = 4; // for a server that is busy
const KINDS = { jpg: "image/jpeg", jpeg: "image/jpeg", png: "image/png", tif: "image/tiff", tiff: "image/tiff", dcm: "application/dicom" };
const $ = (selector, root = document) => root.querySelector(selector);
const percent = (p) => (p > 0 && p < 0.001 ? "<0.1 %" : `${(100 * p).toFixed(1)} %`);
const megabytes = (n) => `${(n / 1e6).toFixed(1)} MB`;

let server = {}; // what GET metadata told
const waiting = []; // cards
let busy = 0;

/** A failure that is told to the user as it is; `again`: to send the same image again may help. */
class Told extends Error {
  constructor(message, again = false) {
    super(message);
    this.again = again;
  }
}

// -- The server ---------------------------------------------------------------------------------------------------------

async function greet() {
  try {
    const answer = await fetch(`${API}/metadata`);
    if (!answer.ok) throw new Told(await reason(answer));
    server = await answer.json();
    $("#server").hidden = true;
    const labels = (server.task === "multilabel" ? server.labels : server.classes) ?? [];
    const named = labels.length > 4 ? `${labels.length} labels` : labels.join(server.task === "multilabel" ? ", " : " or ");
    $("#model").textContent = [server.network, named].filter(Boolean).join(" · ") || "Chest X-ray classifier";
    if (largest() < Infinity) $("#limits").textContent = `JPEG, PNG, TIFF or DICOM, up to ${megabytes(largest())} each; several at once if you like`;
  } catch (error) {
    tell($("#server"), error instanceof Told ? error.message : "The server does not answer. Is it running? Images that you add now can be sent again later.");
  }
}

/** Bytes of an image that the server takes, at most. */
const largest = () => server.limits?.max_request_bytes ?? Infinity;

/** The one line of an error answer. */
async function reason(answer) {
  const text = await answer.text().catch(() => "");
  try {
    const { error, message } = JSON.parse(text);
    return error ?? message ?? `The server answered ${answer.status}.`;
  } catch {
    return answer.status === 413 ? "The image is too large for the server." : `The server answered ${answer.status} ${answer.statusText}`.trim() + ".";
  }
}

/** The answer to one image. A server that is busy is asked again, after the time that it names. */
async function ask({ body, kind }, query = "", doing = () => {}) {
  for (let attempt = 1; ; attempt++) {
    let answer;
    try {
      answer = await fetch(`${API}/invocations${query}`, {
        method: "POST", body, headers: { "Content-Type": kind, Accept: "application/json;verbose" },
      });
    } catch {
      throw new Told("The server does not answer. Check that it runs and that you are connected.", true);
    }
    if (answer.ok) return answer.json();
    if (![429, 503].includes(answer.status) || attempt === TRIES) throw new Told(await reason(answer), answer.status >= 429);
    doing("The server is busy; trying again");
    await new Promise((go) => setTimeout(go, 1000 * Math.min(20, Number(answer.headers.get("Retry-After")) || attempt)));
  }
}

// -- One image -----------------------------------------------------------------------------------------------------------

/** The type of an image by its first bytes, for names can lie. */
async function kindOf(file) {
  const bytes = new Uint8Array(await file.slice(0, 132).arrayBuffer());
  const starts = (...codes) => codes.every((code, i) => bytes[i] === code);
  if (starts(0xff, 0xd8, 0xff)) return KINDS.jpeg;
  if (starts(0x89, 0x50, 0x4e, 0x47)) return KINDS.png;
  if (starts(0x49, 0x49, 0x2a, 0) || starts(0x4d, 0x4d, 0, 0x2a)) return KINDS.tiff;
  if (String.fromCharCode(...bytes.slice(128)) === "DICM") return KINDS.dcm;
  if (!file.size) throw new Told("This file is empty.");
  throw new Told("This is not an image that can be read: choose a JPEG, PNG, TIFF or DICOM file.");
}

/** The image as it is sent: itself, or where it is over the server's limit a smaller JPEG. */
async function fitted(file, kind) {
  const limit = largest();
  if (file.size <= limit) return { body: file, kind };
  const large = `This image has ${megabytes(file.size)}; the server takes up to ${megabytes(limit)}.`;
  const picture = await createImageBitmap(file).catch(() => { throw new Told(`${large} Save it smaller and try again.`); });
  for (let side = 2048; side >= 256; side /= 2) {
    const scale = Math.min(1, side / Math.max(picture.width, picture.height));
    const canvas = Object.assign(document.createElement("canvas"), { width: Math.round(scale * picture.width), height: Math.round(scale * picture.height) });
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    const body = await new Promise((done) => canvas.toBlob(done, KINDS.jpeg, 0.92));
    if (body && body.size <= limit) return { body, kind: KINDS.jpeg, note: `${large} It was sent smaller: ${canvas.width} × ${canvas.height} pixels.` };
  }
  throw new Told(`${large} Save it smaller and try again.`);
}

class Card {
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
    this.doing("Reading the image");
    try {
      this.sent ??= await fitted(this.file, await kindOf(this.file));
      this.show(await ask(this.sent, "", (text) => this.doing(text)));
    } catch (error) {
      this.fail(error);
    }
  }

  doing(text) {
    this.state = "waiting";
    this.element.classList.remove("bare");
    this.find(".problem").hidden = true;
    this.find(".wait").hidden = false;
    this.find(".doing").textContent = text;
  }

  fail(error) {
    if (!(error instanceof Told)) console.error(error);
    this.state = "failed";
    this.element.classList.toggle("bare", this.find(".preview").hidden);
    this.find(".wait").hidden = true;
    this.problem(error, "The answer of the server could not be read.");
  }

  problem(error, otherwise) {
    this.find(".again").hidden = error instanceof Told && !error.again;
    tell(this.find(".problem"), error instanceof Told ? error.message : otherwise, "span");
  }

  show(told) {
    this.state = "done";
    this.find(".wait").hidden = true;
    const rows = told.labels.map((name, i) => ({ name, p: told.probabilities[i], above: Boolean(told.decisions[i]), cut: told.thresholds?.[name] }));
    this.verdict(told.predicted);
    const list = this.find(".labels");
    list.replaceChildren(...rows.map(bar));
    list.classList.toggle("many", rows.length > 4);
    list.hidden = false;
    const options = [...rows].sort((a, b) => b.p - a.p).map(({ name }) => new Option(name, name));
    this.find("select").replaceChildren(...options);
    this.find("select").hidden = rows.length === 1;
    this.find("figcaption").hidden = false;
    const notes = [...(told.warnings ?? []), ...(this.sent.note ? [this.sent.note] : [])];
    this.find(".notes").replaceChildren(...notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    this.find(".notes").hidden = !notes.length;
  }

  /** One of several classes is a text, any number of labels a list. */
  verdict(predicted) {
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
    image.hidden = this.find(".scale").hidden = true;
    const turn = (this.turn = (this.turn ?? 0) + 1); // of several wishes the last one counts
    toggle.textContent = on ? "Heat map …" : "Heat map";
    if (!on) return;
    try {
      this.heat[label] ??= (await ask(this.sent, `?${new URLSearchParams({ explain: true, label })}`)).heat_maps[label];
      if (turn !== this.turn) return;
      image.src = `data:image/png;base64,${this.heat[label]}`;
      await image.decode();
      image.alt = `Heat map of ${label}: image ${this.file.name}, coloured where the network looked`;
      this.layOver(image);
      image.hidden = this.find(".scale").hidden = false;
      this.find(".problem").hidden = true;
    } catch (error) {
      if (turn !== this.turn) return;
      toggle.ariaPressed = "false";
      this.problem(error, "The server gave no heat map.");
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
function bar({ name, p, above, cut }) {
  const row = document.createElement("li");
  row.className = above ? "above" : "";
  row.innerHTML = '<span class="name"></span><span class="value"></span><div class="meter" role="meter" aria-valuemin="0" aria-valuemax="100"><i></i></div>';
  $(".name", row).textContent = name;
  $(".value", row).textContent = percent(p);
  const meter = $(".meter", row), side = above ? "at or above" : "below";
  meter.setAttribute("aria-label", name);
  meter.setAttribute("aria-valuenow", (100 * p).toFixed(1));
  meter.setAttribute("aria-valuetext", percent(p) + (cut === undefined ? "" : `, ${side} the threshold of ${percent(cut)}`));
  $("i", meter).style.width = `${100 * p}%`;
  if (cut !== undefined) {
    const small = document.createElement("small");
    small.innerHTML = "<span>threshold</span> ";
    small.append(percent(cut));
    const mark = document.createElement("b");
    mark.style.left = `${100 * cut}%`;
    $(".value", row).append(small);
    meter.append(mark);
  }
  return row;
}

// -- The list -----------------------------------------------------------------------------------------------------------

function tell(element, text, inside) {
  (inside ? $(inside, element) : element).textContent = text;
  element.hidden = false;
}

function add(files) {
  const cards = [...files].map((file) => new Card(file));
  $("#images").prepend(...cards.map((card) => card.element));
  cards.forEach((card) => { all.add(card); enqueue(card); });
}

const all = new Set();

function enqueue(card) {
  card.doing("Waiting");
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
  if (card.state === "done" && !$("#server").hidden) greet();
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
addEventListener("paste", (event) => { if (event.clipboardData.files.length) add(event.clipboardData.files); });
greet();
